"""`worldmodels evaluate`: how much a run's agent earns, how far ahead its model predicts right."""

import json
from collections.abc import Sequence
from pathlib import Path

from worldmodels.cli.status import announce
from worldmodels.config import OptionParser

PLANNER = "act by this planner: its name, class path, or a YAML file with class_path and init_args"


def evaluate_parser() -> OptionParser:
    """The options of ``evaluate``."""
    parser = OptionParser(prog="worldmodels evaluate", description=__doc__)
    add = parser.add_argument
    add("run", type=Path)
    add("--episodes", type=int, default=10, help="to play")
    add("--context", type=int, default=5, help="frames seen before a prediction")
    add("--horizon", type=int, default=45, help="predicted steps")
    add("--sequences", type=int, default=50, help="predictions to average over")
    add("--data", type=Path | None, default=None, help="predict this data set's episodes instead")
    add("--seed", type=int, default=1000, help="of the first episode")
    add("--planner", type=str | None, default=None, help=PLANNER)
    add("--policy", action="store_true", help="act by the run's policy alone")
    add("--json", action="store_true", help="print JSON instead of tables")
    return parser


def evaluate(arguments: Sequence[str]) -> None:
    """Evaluates a run, and writes evaluation.json and evaluation.png into its folder."""
    options = evaluate_parser().read(arguments).as_dict()
    run, as_json = options.pop("run"), options.pop("json")
    announce("evaluate", f"loading {run}")
    # Imported on use: the first line above need not wait for torch.
    from worldmodels.evaluation import evaluate as evaluate_run

    report = evaluate_run(run, **options)
    files = report.save(run)
    if as_json:
        print(json.dumps(report.as_dict()))
    else:
        print(report)
        print("wrote " + " and ".join([str(files[0]), *(file.name for file in files[1:])]))
