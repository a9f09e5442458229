"""The dream video: what happened, what the model saw, what it dreamt, and how wrong it was."""

from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from worldmodels.viz.dream import DreamRecord, check_dream
from worldmodels.viz.frames import error_pictures, scale_for, to_pictures
from worldmodels.viz.theme import BLUE, FAINT, INK, LINE, ORANGE, PAPER, Colour, fitted_font, font
from worldmodels.viz.trace import Trace, played, reward_trace

_MARGIN, _GAP, _BORDER = 18, 12, 4
_HEADER, _LABELS, _TRACE = 40, 46, 168
_NARROWEST = 116  # pixels that a column's title needs to be legible


class Look(NamedTuple):
    """How a panel is marked in one phase: the line under its title, and its border."""

    note: str
    border: Colour


class Column(NamedTuple):
    """One panel of the row, with its look while the model is shown frames and while it dreams."""

    title: str
    context: Look
    dream: Look
    pictures: UInt8[np.ndarray, "T h w 3"]


class Phase(NamedTuple):
    """One of the two phases: its name, its colour, and the page with all that does not move."""

    name: str
    colour: Colour
    page: Image.Image


def dream_panels(
    record: DreamRecord, title: str = "", scale: int | None = None
) -> UInt8[np.ndarray, "T y x 3"]:
    """The frames of the dream video, one per row of the record.

    From left to right: the truth, the reconstruction (which goes on seeing every frame), each
    future, and the absolute error of the first future. Blue borders mark panels that are shown
    frames, orange ones those that dream. Below, the true and predicted rewards.

    Args:
        record: what to show.
        title: a line at the top right, such as the environment's name.
        scale: how many pixels wide each pixel is drawn (None: so that a panel is close to
            192 pixels).

    Raises:
        ValueError: for a record whose parts do not fit together, or ``scale`` below 1.
    """
    check_dream(record)
    columns = _columns(record, scale_for(record.truth) if scale is None else scale)
    looks = [column.context for column in columns], [column.dream for column in columns]
    context = Phase("CONTEXT", BLUE, _page(columns, looks[0], title))
    dream = Phase("DREAM", ORANGE, _page(columns, looks[1], title))
    trace = reward_trace(record, context.page.width - 2 * _MARGIN, _TRACE)
    steps = range(len(record.truth))
    seen = [_frame(context, columns, trace, t, record.context) for t in steps[: record.context]]
    dreamt = [_frame(dream, columns, trace, t, record.context) for t in steps[record.context :]]
    return np.stack(seen + dreamt)


def _columns(record: DreamRecord, scale: int) -> list[Column]:
    seen = record.reconstruction[: record.context]
    futures = [np.concatenate([seen, future]) for future in record.dream]
    names = ["dream"] if len(futures) == 1 else [f"dream {n + 1}" for n in range(len(futures))]
    true, watching = Look("what happened", LINE), Look("sees every frame", BLUE)
    dreaming = Look("sees actions only", ORANGE)
    wrong = Look(f"|{names[0]} - truth|", LINE)
    return [
        Column("truth", true, true, to_pictures(record.truth, scale)),
        Column("reconstruction", watching, watching, to_pictures(record.reconstruction, scale)),
        *(
            Column(name, watching, dreaming, to_pictures(future, scale))
            for name, future in zip(names, futures, strict=True)
        ),
        Column("error", wrong, wrong, error_pictures(futures[0], record.truth, scale)),
    ]


def _page(columns: list[Column], looks: list[Look], title: str) -> Image.Image:
    """What stays the same from frame to frame: paper, title, labels and borders."""
    height, width = (size + 2 * _BORDER for size in columns[0].pictures.shape[1:3])
    # Few small panels must still leave room for the header and the curve's legend.
    wide = max(2 * _MARGIN + len(columns) * _pitch(columns) - _GAP, 480)
    rows = _MARGIN + _HEADER + _LABELS + height + _GAP + _TRACE
    page = Image.new("RGB", (wide, rows), PAPER)
    draw = ImageDraw.Draw(page)
    letters = fitted_font(title, 15, wide // 2)
    draw.text((wide - _MARGIN, _MARGIN + 12), title, FAINT, letters, "rm")
    room, top = _pitch(columns) - 4, _MARGIN + _HEADER
    for number, (column, look) in enumerate(zip(columns, looks, strict=True)):
        left, _ = _corner(columns, number)
        centre = left + width // 2 - _BORDER
        letters = fitted_font(column.title, 16, room, bold=True)
        draw.text((centre, top + 12), column.title, INK, letters, "mm")
        draw.text((centre, top + 31), look.note, FAINT, fitted_font(look.note, 13, room), "mm")
        box = (
            left - _BORDER,
            top + _LABELS,
            left + width - _BORDER - 1,
            top + _LABELS + height - 1,
        )
        draw.rectangle(box, fill=look.border)
    return page


def _frame(
    phase: Phase, columns: list[Column], trace: Trace, step: int, context: int
) -> UInt8[np.ndarray, "y x 3"]:
    picture = phase.page.copy()
    counter = f"frame {step + 1} of {context}"
    if step >= context:
        counter = f"step {step + 1 - context} of {len(trace.columns) - context}"
    _draw_mark(ImageDraw.Draw(picture), phase, counter)
    for number, column in enumerate(columns):
        picture.paste(Image.fromarray(column.pictures[step]), _corner(columns, number))
    curve = Image.fromarray(played(trace, step))
    picture.paste(curve, (_MARGIN, picture.height - curve.height - 2))
    return np.asarray(picture)


def _draw_mark(draw: ImageDraw.ImageDraw, phase: Phase, counter: str) -> None:
    """The phase's name on its colour, and the count of steps within it."""
    letters = font(15, bold=True)
    end = _MARGIN + letters.getlength(phase.name) + 22
    draw.rounded_rectangle((_MARGIN, _MARGIN, end, _MARGIN + 24), 5, fill=phase.colour)
    draw.text(((_MARGIN + end) / 2, _MARGIN + 12), phase.name, PAPER, letters, "mm")
    draw.text((end + 12, _MARGIN + 12), counter, INK, font(15), "lm")


def _pitch(columns: list[Column]) -> int:
    """Pixels from one column to the next."""
    return max(columns[0].pictures.shape[2] + 2 * _BORDER, _NARROWEST) + _GAP


def _corner(columns: list[Column], number: int) -> tuple[int, int]:
    """Where the top left pixel of a column's pictures goes: (x, y)."""
    slack = _pitch(columns) - _GAP - columns[0].pictures.shape[2]
    return _MARGIN + number * _pitch(columns) + slack // 2, _MARGIN + _HEADER + _LABELS + _BORDER
