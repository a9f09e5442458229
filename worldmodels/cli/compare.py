"""`worldmodels compare`: planners and policies on one world model, from the same start states."""

import json
from collections.abc import Sequence
from pathlib import Path

from worldmodels.cli.status import announce
from worldmodels.config import OptionParser

PLANNERS = (
    "a,b,c: names, class paths or YAML files; default: all. The run's own planner is listed too; "
    "so are the policy and the guided planner of a run with a behaviour ('policy': these alone)"
)


def compare_parser() -> OptionParser:
    """The options of ``compare``."""
    parser = OptionParser(prog="worldmodels compare", description=__doc__)
    add = parser.add_argument
    add("run", type=Path)
    add("--planners", type=str, default="", help=PLANNERS)
    add("--episodes", type=int, default=10, help="played by each")
    add("--seed", type=int, default=1000, help="of the first episode")
    add("--out", type=Path | None, default=None, help="default: RUN/compare")
    add("--json", action="store_true", help="print JSON instead of a table")
    return parser


def compare(arguments: Sequence[str]) -> None:
    """Compares, and writes compare.json and compare.png."""
    options = compare_parser().read(arguments)
    announce("compare", f"loading {options.run}")
    # Imported on use: the first line above need not wait for torch.
    from worldmodels.evaluation import compare as compare_run

    comparison = compare_run(
        options.run,
        [name.strip() for name in options.planners.split(",") if name.strip()],
        episodes=options.episodes,
        seed=options.seed,
        on_row=lambda row: announce("compare", f"{row.name} earns {row.returns}"),
    )
    files = comparison.save(options.run / "compare" if options.out is None else options.out)
    if options.json:
        print(json.dumps(comparison.as_dict()))
    else:
        print(comparison)
        print(f"wrote {files[0]} and {files[1].name}")
