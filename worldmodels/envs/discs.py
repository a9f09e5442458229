"""Many small discs at once: balls, targets, and chains of discs that make thick curves."""

import numpy as np
from jaxtyping import Float, UInt8

from worldmodels.envs.drawing import SIDE, Colour


def draw_discs(
    frames: UInt8[np.ndarray, "N h w C"],
    centres: Float[np.ndarray, "N P 2"],
    radius: float,
    colour: Colour,
) -> None:
    """Draws the union of P anti-aliased discs into each frame, in place; parts outside are cut off.

    ``centres`` are (x, y) in pixels. Where discs overlap, a pixel takes the larger coverage, so a
    chain of discs a pixel apart is a smooth thick line.
    """
    span = np.arange(int(2 * radius + 1) + 1)
    first = np.ceil(centres - radius - 1.0).astype(np.int64)
    columns, rows = first[:, :, 0, None] + span, first[:, :, 1, None] + span
    across = (columns + 0.5 - centres[:, :, 0, None]) ** 2
    down = (rows + 0.5 - centres[:, :, 1, None]) ** 2
    distance = np.sqrt(down[:, :, :, None] + across[:, :, None, :])
    inside_x, inside_y = ((line >= 0) & (line < SIDE) for line in (columns, rows))
    seen = (distance < radius + 0.5) & inside_y[:, :, :, None] & inside_x[:, :, None, :]
    frame = np.arange(len(frames))[:, None, None, None] * SIDE**2
    pixel = (frame + (SIDE * rows)[:, :, :, None] + columns[:, :, None, :])[seen]
    share = np.minimum(radius + 0.5 - distance[seen], 1.0)
    if centres.shape[1] > 1:
        largest = np.zeros(len(frames) * SIDE**2)
        np.maximum.at(largest, pixel, share)
        share = largest[pixel]
    # A pixel that several discs cover is written several times, always with the same value.
    flat = frames.reshape(-1, 3)
    below = flat[pixel]
    flat[pixel] = np.rint(below + share[:, None] * (np.array(colour) - below)).astype(np.uint8)
