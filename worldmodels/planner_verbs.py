"""The command line's verbs about planners: compare and bench."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from worldmodels.checkpoint import read_about
from worldmodels.config import OptionParser
from worldmodels.envs.make import make_env
from worldmodels.evaluation.agents import agents
from worldmodels.evaluation.bench import bench_plan
from worldmodels.evaluation.compare import Comparison, compare, comparison_table
from worldmodels.evaluation.statistics import bootstrap_interval
from worldmodels.viz.bands import Interval
from worldmodels.viz.comparison import Measure, comparison_chart
from worldmodels.viz.plots import save_figure

_PLANNERS = (
    "a,b,c; default: all. The policy and the guided planner of a run with a behaviour are listed "
    "too; 'policy' lists these alone"
)


def compare_planners(arguments: Sequence[str]) -> None:
    """Compares planners and policies on one world model, from the same start states."""
    parser = OptionParser(prog="worldmodels compare", description=compare_planners.__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--planners", type=str, default="", help=_PLANNERS)
    parser.add_argument("--episodes", type=int, default=10, help="played by each")
    parser.add_argument("--seed", type=int, default=1000, help="of the first episode")
    parser.add_argument("--out", type=Path | None, default=None, help="default: RUN/compare")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.read(arguments)
    names = [name.strip() for name in options.planners.split(",") if name.strip()]
    players = agents(options.run, names)
    # Whole episodes from given seeds: one copy at a time.
    env = make_env(**(read_about(options.run)["env"] | {"num_envs": 1}))
    compared = compare(players, env, options.episodes, options.seed)
    env.close()
    report = {
        "run": str(options.run),
        "episodes": options.episodes,
        "seed": options.seed,
        "horizon": players[0].agent.controller.planner.horizon,
        "compared": {row.name: row.as_dict() for row in compared},
    }
    folder = options.run / "compare" if options.out is None else options.out
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compare.json").write_text(json.dumps(report, indent=1))
    save_figure(comparison_chart(_measures(compared), str(options.run)), folder / "compare.png")
    if options.json:
        print(json.dumps(report))
        return
    Console().print(comparison_table(compared))
    Console().print(f"wrote {folder}/compare.json and compare.png", soft_wrap=True)


def bench(arguments: Sequence[str]) -> None:
    """`worldmodels bench plan`: the speed and memory of planning on the reference load."""
    parser = OptionParser(prog="worldmodels bench", description=bench.__doc__)
    parser.add_argument("load", choices=["plan"])
    parser.add_argument("--repeats", type=int, default=5, help="decisions to time")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.read(arguments)
    measured = bench_plan(options.repeats)
    print(json.dumps(measured.as_dict()) if options.json else "\n".join(measured.lines()))


def _measures(compared: Sequence[Comparison]) -> list[Measure]:
    def exact(values: dict[str, float]) -> dict[str, Interval]:
        return {name: Interval(value, value, value) for name, value in values.items()}

    return [
        Measure("return", {row.name: bootstrap_interval(row.returns) for row in compared}),
        Measure("promised - realised return", {row.name: row.gap() for row in compared}),
        Measure("ms per decision", exact({row.name: row.decision_ms for row in compared}), True),
        Measure(
            "model evaluations per decision",
            exact({row.name: row.evaluations for row in compared}),
            True,
        ),
    ]
