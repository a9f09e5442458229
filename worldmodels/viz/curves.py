"""What runs have learned over time: figure and table of their ``metrics.jsonl``."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from rich.table import Table

from worldmodels.viz.plots import learning_curves, save_figure
from worldmodels.viz.text import table_text

X_LABELS = {"step": "environment steps", "update": "updates"}

Rows = list[dict[str, int | float]]


class Curves(NamedTuple):
    """Metrics of runs over time. ``str`` gives a table for each metric.

    Attributes:
        runs: every logged line of each run.
        metrics: the names of those that are shown.
        x: what is on the x axis, ``step`` or ``update``.
    """

    runs: dict[Path, Rows]
    metrics: tuple[str, ...]
    x: str

    def __str__(self) -> str:
        return "\n".join(table_text(self.table(name)) for name in self.metrics)

    __repr__ = __str__

    def table(self, metric: str) -> Table:
        """How often each run logged a metric, its last value, and the mean of the last three."""
        columns = ("run", "logged", f"last {self.x}", "last", "mean of last 3")
        table = Table(*columns, title=metric)
        for run, rows in self.runs.items():
            logged = [(row[self.x], row[metric]) for row in rows if {self.x, metric} <= row.keys()]
            values = [value for _, value in logged]
            last = [f"{logged[-1][0]:,}", f"{values[-1]:.4g}"] if logged else ["-", "-"]
            late = f"{sum(values[-3:]) / 3:.4g}" if len(values) >= 3 else "-"
            table.add_row(str(run), str(len(logged)), *last, late)
        return table

    def figure(self) -> Figure:
        """A plot for each metric; seeds of one job are thin lines under their mean.

        Raises:
            ValueError: when no run has logged one of the metrics.
        """
        labels = {name: re.sub("[/_]", " ", name) for name in self.metrics}
        return learning_curves(jobs_of(self.runs), labels, X_LABELS[self.x], self.x)

    def save(self, path: Path | str) -> Path:
        """Writes the figure as .png, .svg or .pdf."""
        save_figure(self.figure(), path)
        return Path(path)


def curves(
    runs: Sequence[Path | str], metrics: Sequence[str] = ("eval/return_mean",), x: str = "step"
) -> Curves:
    """Reads what runs have logged.

    Args:
        runs: run folders. Those whose names differ in the number at their end (``dreamer-0``,
            ``dreamer-1``) are seeds of one job.
        metrics: what to show.
        x: over environment steps (``step``) or over updates (``update``).

    Raises:
        FileNotFoundError: when a folder holds no metrics.
        ValueError: for another ``x``.
    """
    if x not in X_LABELS:
        raise ValueError(f"x={x}: choose one of {', '.join(X_LABELS)}")
    return Curves({Path(run): _rows(Path(run)) for run in runs}, tuple(metrics), x)


def jobs_of(runs: Mapping[Path, Rows]) -> dict[str, list[Rows]]:
    """The metrics of every run, by the name that its seeds share."""
    jobs: dict[str, list[Rows]] = {}
    for run, rows in runs.items():
        jobs.setdefault(re.sub(r"[-_]\d+$", "", run.resolve().name), []).append(rows)
    return jobs


def _rows(run: Path) -> Rows:
    file = run / "metrics.jsonl"
    if not file.exists():
        raise FileNotFoundError(f"{run} holds no metrics.jsonl: give a folder that fit has written")
    return [json.loads(line) for line in file.read_text().splitlines()]
