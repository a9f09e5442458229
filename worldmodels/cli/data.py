"""`worldmodels data inspect FOLDER`: what a data set holds."""

from collections.abc import Sequence
from pathlib import Path

from worldmodels.cli.status import announce
from worldmodels.config import OptionParser


def data(arguments: Sequence[str]) -> None:
    """`worldmodels data inspect FOLDER`: what a data set holds."""
    parser = OptionParser(prog="worldmodels data", description=data.__doc__)
    parser.add_argument("action", choices=["inspect"])
    parser.add_argument("folder", type=Path)
    folder = parser.read(arguments).folder
    announce("data", f"reading {folder}")
    # Imported on use: the first line above need not wait for torch.
    from worldmodels.replay.inspect import inspect_dataset

    print("\n".join(inspect_dataset(folder).lines()))
