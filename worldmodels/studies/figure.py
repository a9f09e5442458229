"""A study's figure: every seed of every variant, with means and intervals."""

import textwrap
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worldmodels.studies.results import Results
from worldmodels.viz.theme import SERIES


def variant_panels(results: Results, measures: Mapping[str, str], title: str) -> Figure:
    """One panel per measure, one row per variant that has it.

    Args:
        results: the numbers.
        measures: label and unit of each measure, by name; others are left out.
        title: above all panels.
    """
    shown = {name: label for name, label in measures.items() if _variants_with(results, name)}
    columns = min(2, len(shown))
    rows = -(-len(shown) // columns)
    most = max(len(_variants_with(results, name)) for name in shown)
    size = (5.4 * columns, (0.42 * most + 0.9) * rows + 0.7)
    figure = Figure(size, layout="constrained", facecolor="white")
    wrapped = "\n".join(textwrap.wrap(title, 48 * columns))
    figure.suptitle(wrapped, fontsize=11, fontweight="bold")
    colours = {variant: SERIES[k % len(SERIES)] for k, variant in enumerate(results.variants())}
    for place, (name, label) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        _draw_measure(axes, results, name, colours)
        axes.set_xlabel(textwrap.fill(label, 56), fontsize=8)
        axes.set_title(name, fontsize=10, loc="left")
    return figure


def _variants_with(results: Results, measure: str) -> list[str]:
    return [variant for variant in results.variants() if measure in results.measures(variant)]


def _draw_measure(axes: Axes, results: Results, measure: str, colours: Mapping[str, str]) -> None:
    variants = _variants_with(results, measure)
    for place, variant in enumerate(reversed(variants)):
        values, interval = results.values(variant, measure), results.interval(variant, measure)
        colour = colours[variant]
        axes.hlines(place, interval.low, interval.high, color=colour, linewidth=6, alpha=0.35)
        axes.plot(values, np.full(len(values), place), "|", color=colour, markersize=9, alpha=0.7)
        axes.plot(interval.mean, place, "o", color=colour, markersize=6)
        axes.annotate(
            f"{interval.mean:.4g}",
            (interval.mean, place),
            (0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    axes.set_yticks(np.arange(len(variants)), variants[::-1], fontsize=9)
    axes.set_ylim(-0.5, len(variants) - 0.25)
    axes.tick_params(axis="x", labelsize=8)
    axes.margins(x=0.12)
    axes.grid(axis="x", color="#e4e6ea", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
