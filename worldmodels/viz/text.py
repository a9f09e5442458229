"""Tables as text."""

import shutil
from io import StringIO

from rich.console import Console
from rich.table import Table


def table_text(table: Table) -> str:
    """A table in plain characters, as wide as the terminal (120 columns without one)."""
    width = shutil.get_terminal_size((120, 24)).columns
    console = Console(file=StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
