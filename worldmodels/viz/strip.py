"""The dream on one picture: what moves in the video, side by side."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from worldmodels.viz.dream import DreamRecord, check_dream
from worldmodels.viz.frames import error_pictures, scale_for, to_pictures
from worldmodels.viz.theme import BLUE, FAINT, INK, ORANGE, PAPER, font

_GAP, _SIDE, _TOP = 4, 112, 24


def dream_strip(
    record: DreamRecord, columns: int = 10, scale: int | None = None
) -> UInt8[np.ndarray, "y x 3"]:
    """Truth, reconstruction, dream and error in rows, evenly spaced frames in columns.

    The number over a column is its step within the dream, which starts at 1; 0 and below were
    seen. A blue line marks columns that were seen, an orange one those that were dreamt.

    Args:
        record: what to show; of several futures, the first.
        columns: frames, the first and the last included (all, where there are fewer).
        scale: how many pixels wide each pixel is drawn (None: so that a frame is close to
            64 pixels).

    Raises:
        ValueError: for a record whose parts do not fit together, or fewer than 2 columns.
    """
    check_dream(record)
    if columns < 2:
        raise ValueError(f"columns={columns}: choose at least 2, the first and the last frame")
    rows = _rows(record, scale_for(record.truth, 64) if scale is None else scale)
    last = len(record.truth) - 1
    steps = np.linspace(0, last, min(columns, last + 1)).round().astype(int)
    height, width = (side + _GAP for side in rows["truth"].shape[1:3])
    page = Image.new("RGB", (_SIDE + len(steps) * width, _TOP + len(rows) * height), PAPER)
    draw = ImageDraw.Draw(page)
    for line, (name, pictures) in enumerate(rows.items()):
        top = _TOP + line * height
        draw.text((_SIDE - 8, top + height // 2), name, INK, font(13), "rm")
        for column, step in enumerate(steps):
            page.paste(Image.fromarray(pictures[step]), (_SIDE + column * width, top))
    for column, step in enumerate(steps):
        left, dreamt = _SIDE + column * width, step - record.context + 1
        draw.text((left + width // 2, 10), str(dreamt), FAINT, font(13), "mm")
        mark = (left, _TOP - 4, left + width - _GAP - 1, _TOP - 3)
        draw.rectangle(mark, fill=ORANGE if dreamt > 0 else BLUE)
    return np.asarray(page)


def _rows(record: DreamRecord, scale: int) -> dict[str, UInt8[np.ndarray, "T h w 3"]]:
    seen = record.reconstruction[: record.context]
    dream = np.concatenate([seen, record.dream[0]])
    return {
        "truth": to_pictures(record.truth, scale),
        "reconstruction": to_pictures(record.reconstruction, scale),
        "dream": to_pictures(dream, scale),
        "error": error_pictures(dream, record.truth, scale),
    }
