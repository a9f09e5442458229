"""The command line's verb curves: what runs have learned over time, in one figure."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from worldmodels.config import OptionParser
from worldmodels.training.metrics import read_metrics
from worldmodels.training.run import RunFolder
from worldmodels.viz.plots import learning_curves, save_figure

X_LABELS = {"step": "environment steps", "update": "updates"}

Rows = list[dict[str, int | float]]


def curves(arguments: Sequence[str]) -> None:
    """Draws metrics of runs over time.

    Runs whose names differ in the number at their end (`dreamer-0`, `dreamer-1`) are seeds of one
    job: thin lines under their mean.
    """
    parser = OptionParser(prog="worldmodels curves", description=curves.__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--metrics", type=str, default="eval/return_mean", help="a,b,c")
    parser.add_argument("--x", type=str, default="step", choices=list(X_LABELS))
    parser.add_argument("--out", type=Path, default=Path("curves.png"))
    options = parser.read(arguments)
    names = [name.strip() for name in options.metrics.split(",") if name.strip()]
    told = {run: _rows(run) for run in options.runs}
    labels = {name: re.sub("[/_]", " ", name) for name in names}
    figure = learning_curves(jobs_of(told), labels, X_LABELS[options.x], options.x)
    save_figure(figure, options.out)
    console = Console()
    for name in names:
        console.print(_table(told, name, options.x))
    console.print(f"wrote {options.out}", soft_wrap=True)


def jobs_of(runs: Mapping[Path, Rows]) -> dict[str, list[Rows]]:
    """The metrics of every run, by the name that its seeds share."""
    jobs: dict[str, list[Rows]] = {}
    for run, rows in runs.items():
        jobs.setdefault(re.sub(r"[-_]\d+$", "", run.resolve().name), []).append(rows)
    return jobs


def _rows(run: Path) -> Rows:
    file = RunFolder(run).metrics
    if not file.exists():
        raise FileNotFoundError(f"{run} holds no metrics.jsonl: give a folder that fit has written")
    return read_metrics(file)


def _table(runs: Mapping[Path, Rows], metric: str, x: str) -> Table:
    """How often a run told of a metric, its last value, and the mean of the last three."""
    table = Table("run", "told", f"last {x}", "last", "mean of last 3", title=metric)
    for run, rows in runs.items():
        told = [(row[x], row[metric]) for row in rows if metric in row and x in row]
        values = [value for _, value in told]
        known = [f"{told[-1][0]:,}", f"{values[-1]:.4g}"] if told else ["-", "-"]
        late = f"{sum(values[-3:]) / 3:.4g}" if len(values) >= 3 else "-"
        table.add_row(str(run), str(len(told)), *known, late)
    return table
