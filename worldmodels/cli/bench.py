"""`worldmodels bench plan`: the speed and memory of planning on the reference load."""

import json
from collections.abc import Sequence

from worldmodels.cli.status import announce
from worldmodels.config import OptionParser


def bench(arguments: Sequence[str]) -> None:
    """`worldmodels bench plan`: the speed and memory of planning on the reference load."""
    parser = OptionParser(prog="worldmodels bench", description=bench.__doc__)
    parser.add_argument("load", choices=["plan"])
    parser.add_argument("--repeats", type=int, default=5, help="decisions to time")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.read(arguments)
    announce("bench", f"planning {options.repeats} times, which takes about a minute")
    # Imported on use: the first line above need not wait for torch.
    from worldmodels.evaluation.bench import bench_plan

    measured = bench_plan(options.repeats)
    print(json.dumps(measured.as_dict()) if options.json else measured)
