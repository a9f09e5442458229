"""`worldmodels curves`: what runs have learned over time, in one figure."""

from collections.abc import Sequence
from pathlib import Path

from worldmodels.cli.status import announce
from worldmodels.config import OptionParser


def curves_parser() -> OptionParser:
    """The options of ``curves``."""
    parser = OptionParser(prog="worldmodels curves", description=curves.__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--metrics", type=str, default="eval/return_mean", help="a,b,c")
    parser.add_argument("--x", type=str, default="step", choices=["step", "update"])
    parser.add_argument("--out", type=Path, default=Path("curves.png"))
    return parser


def curves(arguments: Sequence[str]) -> None:
    """Draws metrics of runs over time.

    Runs whose names differ in the number at their end (`dreamer-0`, `dreamer-1`) are seeds of one
    job: thin lines under their mean.
    """
    options = curves_parser().read(arguments)
    announce("curves", f"reading {len(options.runs)} runs")
    # Imported on use: matplotlib takes seconds, too.
    from worldmodels.viz.curves import curves as read_curves

    names = [name.strip() for name in options.metrics.split(",") if name.strip()]
    read = read_curves(options.runs, names, options.x)
    path = read.save(options.out)
    print(read)
    print(f"wrote {path}")
