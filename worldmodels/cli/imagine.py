"""`worldmodels imagine`: a video of what a run's model imagines, beside what really happened."""

from collections.abc import Sequence
from pathlib import Path

from worldmodels.cli.evaluate import PLANNER
from worldmodels.cli.status import announce
from worldmodels.config import OptionParser


def imagine_parser() -> OptionParser:
    """The options of ``imagine``."""
    parser = OptionParser(prog="worldmodels imagine", description=__doc__)
    add = parser.add_argument
    add("run", type=Path)
    add("--out", type=Path, default=Path("dream.mp4"), help=".mp4, .gif or .webp")
    add("--context", type=int, default=5, help="frames seen")
    add("--horizon", type=int, default=45, help="imagined steps")
    add("--futures", type=int, default=2, help="sequences imagined from the same state")
    add("--start", type=int, default=0, help="first row of the episode")
    add("--data", type=Path | None, default=None, help="take the episode from this data set")
    add("--episode", type=int, default=0, help="which one of the data set")
    add("--seed", type=int, default=1000, help="of the episode that is played")
    add("--planner", type=str | None, default=None, help=PLANNER)
    add("--policy", action="store_true", help="the run's policy acts in what is imagined")
    return parser


def imagine(arguments: Sequence[str]) -> None:
    """Writes the video."""
    options = imagine_parser().read(arguments).as_dict()
    run = options.pop("run")
    announce("imagine", f"loading {run}")
    # Imported on use: the first line above need not wait for torch.
    from worldmodels.evaluation import imagine as imagine_run

    print(imagine_run(run, **options))
