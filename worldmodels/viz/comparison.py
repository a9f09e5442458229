"""One figure for all agents that act in the same model."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worldmodels.viz.bands import Interval
from worldmodels.viz.theme import SERIES


class Measure(NamedTuple):
    """One plot: an interval per name, and the axis with its unit."""

    label: str
    rows: Mapping[str, Interval]
    logarithmic: bool = False


def comparison_chart(measures: Sequence[Measure], title: str = "") -> Figure:
    """A plot per measure, side by side, with the same names from top to bottom.

    Raises:
        ValueError: when there is nothing to compare.
    """
    names = list(measures[0].rows) if measures else []
    if not names:
        raise ValueError("nothing to compare: give at least one planner or policy")
    size = (3.1 * len(measures) + 1.2, 0.42 * len(names) + 1.6)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold")
    for number, measure in enumerate(measures):
        axes = figure.add_subplot(1, len(measures), number + 1)
        _draw(axes, measure)
        axes.tick_params(labelleft=number == 0)
    return figure


def draw_intervals(axes: Axes, rows: Mapping[str, Interval], colour: str) -> None:
    """A dot and its interval per row, from top to bottom."""
    for place, interval in enumerate(rows.values()):
        axes.hlines(place, interval.low, interval.high, color=colour, linewidth=5, alpha=0.35)
        axes.plot(interval.mean, place, "o", color=colour, markersize=7)
        axes.annotate(
            f"{interval.mean:.3g}",
            (interval.mean, place),
            (0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)


def _draw(axes: Axes, measure: Measure) -> None:
    draw_intervals(axes, measure.rows, SERIES[0])
    if measure.logarithmic:
        # A policy evaluates nothing: zero has its place too.
        axes.set_xscale("symlog")
    axes.set_xlabel(measure.label, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color="#e4e6ea", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
