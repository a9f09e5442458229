"""`worldmodels demo`: from nothing to a dream, on a built-in world, in minutes on a CPU."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from worldmodels.config import OptionParser
from worldmodels.training.demo import demo as play


def demo(arguments: Sequence[str]) -> None:
    """Collects, learns, plans, corrects itself, and shows its dream."""
    parser = OptionParser(prog="worldmodels demo", description=demo.__doc__)
    parser.add_function_arguments(play)
    told = play(**parser.read(arguments).as_dict())
    table = Table(title="From pixels to a dream", show_header=False)
    for name, value in told.facts().items():
        table.add_row(name, value)
    files = ("dream.mp4", "dream.png", "open_loop.png", "model/", "metrics.csv")
    table.add_row("files", ", ".join(f"{told.run.path}/{name}" for name in files))
    Console().print(table)
