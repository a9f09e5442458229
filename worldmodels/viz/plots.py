"""Figures on white paper: errors over the horizon, learning curves, comparisons.

Each function returns a matplotlib ``Figure`` made without pyplot, so that nothing is kept open and
no display is needed; ``save_figure`` writes it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from worldmodels.replay.files import whole_file
from worldmodels.viz.bands import Band
from worldmodels.viz.theme import SERIES

_ENDS = ("_low", "_high")


class Panel(NamedTuple):
    """One plot of a figure: bands by label, and the y axis with its unit."""

    title: str
    y_label: str
    bands: Mapping[str, Band]


def save_figure(figure: Figure, path: Path | str) -> None:
    """Writes a figure as .png, .svg or .pdf, in full or not at all.

    Raises:
        ValueError: for another suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"figure path '{path}' must end in .png, .svg or .pdf")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150)


def error_by_horizon(panels: Sequence[Panel], title: str = "") -> Figure:
    """Bands over the steps since the last frame that the model saw; step 1 is the first unseen.

    Every panel's bands keep their colour: the same label, the same colour.
    """
    figure, grid = _grid(len(panels), title)
    colours = _colours(label for panel in panels for label in panel.bands)
    for axes, panel in zip(grid, panels, strict=True):
        for label, band in panel.bands.items():
            steps = np.arange(1, len(band.mean) + 1)
            _draw_band(axes, steps, band, colours[label], label)
        _label(axes, "agent steps since the last seen frame", panel.y_label, panel.title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _legend(figure, grid)
    return figure


def learning_curves(
    runs: Mapping[str, Sequence[Sequence[Mapping[str, float | int]]]],
    metrics: Mapping[str, str],
    x_label: str = "environment steps",
    x: str = "step",
    title: str = "",
) -> Figure:
    """One plot per metric over environment steps.

    Args:
        runs: by label, the rows of each seed's ``metrics.jsonl``. One seed is drawn as a line,
            with its interval where rows hold ``*_low`` and ``*_high`` beside ``*_mean``; several
            seeds as thin lines under their mean over the steps that all of them reached.
        metrics: the names of the metrics and, for each, the label of its y axis with the unit.
        x_label: the x axis with its unit.
        x: the metric on the x axis.
        title: above all plots.

    Raises:
        ValueError: if no run holds one of ``metrics``.
    """
    figure, grid = _grid(len(metrics), title)
    colours = _colours(runs)
    for axes, (name, y_label) in zip(grid, metrics.items(), strict=True):
        drawn = [_draw_runs(axes, seeds, x, name, colours[key], key) for key, seeds in runs.items()]
        if not any(drawn):
            known = {
                key for seeds in runs.values() for rows in seeds for row in rows for key in row
            }
            raise ValueError(f"metric '{name}' is in no run: choose of {', '.join(sorted(known))}")
        _label(axes, x_label, y_label)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    _legend(figure, grid)
    return figure


def _figure(width: float, height: float, title: str) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold")
    return figure


def _grid(count: int, title: str) -> tuple[Figure, list[Axes]]:
    """``count`` plots in rows of at most three (two where that fills the rows)."""
    columns = 2 if count in (2, 4) else min(3, count)
    rows = -(-count // columns)
    figure = _figure(4.7 * columns, 3.1 * rows + 0.5, title)
    return figure, [figure.add_subplot(rows, columns, n + 1) for n in range(count)]


def _colours(labels: Iterable[str]) -> dict[str, str]:
    known = list(dict.fromkeys(labels))
    return {label: SERIES[number % len(SERIES)] for number, label in enumerate(known)}


def _draw_band(axes: Axes, x: np.ndarray, band: Band, colour: str, label: str) -> None:
    axes.plot(x, band.mean, color=colour, linewidth=2, label=label)
    axes.fill_between(x, band.low, band.high, color=colour, alpha=0.18, linewidth=0)


def _draw_runs(
    axes: Axes,
    seeds: Sequence[Sequence[Mapping[str, float | int]]],
    x: str,
    name: str,
    colour: str,
    label: str,
) -> bool:
    """Draws one label's seeds; says whether there was anything to draw."""
    curves = [curve for curve in (_curve(rows, x, name) for rows in seeds) if curve.size]
    if not curves:
        return False
    if len(curves) == 1:
        steps, means = curves[0]
        low, high = (_curve(seeds[0], x, name.removesuffix("_mean") + end) for end in _ENDS)
        axes.plot(steps, means, color=colour, linewidth=2, label=label)
        if low.shape == curves[0].shape:
            axes.fill_between(steps, low[1], high[1], color=colour, alpha=0.18, linewidth=0)
        return True
    for steps, means in curves:
        axes.plot(steps, means, color=colour, linewidth=0.8, alpha=0.4)
    shared = _shared_steps(curves)
    mean = np.mean([np.interp(shared, *curve) for curve in curves], axis=0)
    axes.plot(shared, mean, color=colour, linewidth=2.2, label=f"{label} (mean of {len(curves)})")
    return True


def _shared_steps(curves: Sequence[np.ndarray]) -> np.ndarray:
    first, last = max(c[0, 0] for c in curves), min(c[0, -1] for c in curves)
    steps = np.unique(np.concatenate([curve[0] for curve in curves]))
    return steps[(steps >= first) & (steps <= last)]


def _curve(rows: Sequence[Mapping[str, float | int]], x: str, name: str) -> np.ndarray:
    """Steps and values of one metric, ``2 T``; rows without it are left out."""
    return np.array([(row[x], row[name]) for row in rows if name in row and x in row]).T


def _label(axes: Axes, x_label: str, y_label: str, title: str = "") -> None:
    axes.set_xlabel(x_label, fontsize=9)
    axes.set_ylabel(y_label, fontsize=9)
    axes.set_title(title, fontsize=10, loc="left")
    axes.tick_params(labelsize=8)
    axes.grid(color="#e4e6ea", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, grid: Sequence[Axes]) -> None:
    """One legend under all plots: each label once."""
    handles = {}
    for axes in grid:
        handles |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
