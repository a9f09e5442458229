"""The reward curve that runs along under a dream."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from worldmodels.viz.dream import DreamRecord
from worldmodels.viz.theme import BLUE, FAINT, INK, LINE, ORANGE, PAPER, css

_DPI = 100
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 8, 26, 42


class Trace(NamedTuple):
    """A drawn curve: its picture, the column of each row, and the rows of pixels it spans."""

    picture: UInt8[np.ndarray, "h w 3"]
    columns: Float[np.ndarray, " T"]
    top: int
    bottom: int


def reward_trace(record: DreamRecord, width: int, height: int) -> Trace:
    """Draws true and predicted rewards over the rows of a record, ``width`` x ``height`` pixels."""
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=css(PAPER))
    canvas = FigureCanvasAgg(figure)
    box = (_LEFT / width, _BOTTOM / height, 1 - (_LEFT + _RIGHT) / width)
    axes = figure.add_axes((*box, 1 - (_TOP + _BOTTOM) / height), facecolor=css(PAPER))
    _draw_curves(axes, record)
    _style(axes, record)
    canvas.draw()
    picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    rows = record.start + np.arange(len(record.reward))
    points = axes.transData.transform(np.stack([rows, np.zeros_like(rows)], 1))
    return Trace(picture, points[:, 0], _TOP, picture.shape[0] - _BOTTOM)


def played(trace: Trace, step: int) -> UInt8[np.ndarray, "h w 3"]:
    """The curve with a cursor at row ``step``; what is still to come is dimmed."""
    picture = trace.picture.copy()
    inside = slice(trace.top, trace.bottom)
    column = round(float(trace.columns[step]))
    future = picture[inside, column + 2 : -_RIGHT].astype(float)
    picture[inside, column + 2 : -_RIGHT] = np.array(PAPER) + 0.3 * (future - np.array(PAPER))
    picture[inside, max(column - 1, 0) : column + 1] = INK
    return picture


def _draw_curves(axes: Axes, record: DreamRecord) -> None:
    rows = record.start + np.arange(len(record.reward))
    last = record.context - 1
    axes.axvspan(rows[0] - 0.5, rows[last] + 0.5, color=css(BLUE), alpha=0.12, linewidth=0)
    axes.plot(rows, record.reward, color=css(INK), linewidth=2.4, label="true reward")
    seen = record.reconstruction_reward[: record.context]
    axes.plot(
        rows[: record.context], seen, color=css(BLUE), linewidth=1.6, label="read from frames"
    )
    futures = len(record.dream_reward)
    for number, future in enumerate(record.dream_reward):
        # Joined to the last filtered value, so that the eye can follow where the dream departs.
        line = np.concatenate([seen[-1:], future])
        label = "predicted in the dream" if futures == 1 else f"predicted in {futures} dreams"
        label = label if number == 0 else "_"
        alpha = 0.95 if number == 0 else 0.5
        axes.plot(rows[last:], line, color=css(ORANGE), linewidth=1.4, alpha=alpha, label=label)


def _style(axes: Axes, record: DreamRecord) -> None:
    axes.set_xlim(record.start - 0.5, record.start + len(record.reward) - 0.5)
    axes.margins(y=0.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    axes.tick_params(colors=css(FAINT), labelsize=8, length=3)
    axes.set_xlabel(
        "agent steps since the start of the episode", color=css(FAINT), fontsize=8.5, labelpad=2
    )
    axes.set_ylabel("reward per step", color=css(FAINT), fontsize=8.5)
    axes.grid(axis="y", color=css(LINE), linewidth=0.5, alpha=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(css(LINE))
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=3,
        frameon=False,
        fontsize=8.5,
        labelcolor=css(INK),
        borderaxespad=0.1,
        borderpad=0.1,
        handlelength=1.6,
        columnspacing=1.6,
    )
