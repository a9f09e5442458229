"""Anti-aliased drawing for the built-in worlds.

Image coordinates are pixels: x runs right and y runs down from the top left corner of the frame,
and the pixel in row r and column c has its centre at (c + 0.5, r + 0.5).
"""

from collections.abc import Callable

import numpy as np
from einops import reduce
from jaxtyping import Bool, Float, Int, UInt8

SIDE = 64
"""Height and width of every frame of the built-in worlds."""

Colour = tuple[int, int, int]
"""Red, green and blue, 0..255."""

Region = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Says which of the points (x, y) belong to a shape."""

_SAMPLES = 8


def to_pixels(place: Float[np.ndarray, "*batch 2"], scale: float) -> Float[np.ndarray, "*batch 2"]:
    """Image coordinates of places (x to the right, y upwards, (0, 0) in the frame's middle).

    ``scale`` is in pixels per unit of length.
    """
    return SIDE / 2 + scale * place * np.array([1.0, -1.0])


def gradient(top: Colour, bottom: Colour) -> UInt8[np.ndarray, "h w C"]:
    """A background that fades from ``top`` to ``bottom``."""
    share = np.linspace(0.0, 1.0, SIDE)[:, None, None]
    rows = (1 - share) * np.array(top) + share * np.array(bottom)
    return np.broadcast_to(np.rint(rows).astype(np.uint8), (SIDE, SIDE, 3)).copy()


def fill(
    image: UInt8[np.ndarray, "h w C"], region: Region, colour: Colour
) -> UInt8[np.ndarray, "h w C"]:
    """``image`` with a region painted over it; slow and exact, for backgrounds drawn once."""
    points = (np.arange(SIDE * _SAMPLES) + 0.5) / _SAMPLES
    inside: Bool[np.ndarray, "y x"] = region(points[None, :], points[:, None])
    covered = np.broadcast_to(inside, (points.size, points.size)).astype(float)
    share = reduce(covered, "(h s) (w t) -> h w 1", "mean", s=_SAMPLES, t=_SAMPLES)
    return np.rint(image + share * (np.array(colour) - image)).astype(np.uint8)


def draw_capsule(
    frames: UInt8[np.ndarray, "N h w C"],
    start: Float[np.ndarray, "N 2"],
    end: Float[np.ndarray, "N 2"],
    radius: float,
    colour: Colour,
) -> None:
    """Draws a thick line with round ends into each frame, in place; parts outside are cut off.

    ``start`` and ``end`` are (x, y) in pixels; where they agree the capsule is a disc. Only the
    pixels along the line are touched, which makes this cheap for long thin shapes.
    """
    x, y = _pixels_along(start, end, radius + 0.5)
    along = end - start
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    from_x = x + 0.5 - start[:, 0, None]
    from_y = y + 0.5 - start[:, 1, None]
    share = (from_x * along[:, 0, None] + from_y * along[:, 1, None]) / length[:, None]
    share = np.clip(share, 0.0, 1.0)
    distance = np.hypot(from_x - share * along[:, 0, None], from_y - share * along[:, 1, None])
    _blend(frames, x, y, radius + 0.5 - distance, colour)


def draw_box(
    frames: UInt8[np.ndarray, "N h w C"],
    centre: Float[np.ndarray, "N 2"],
    half_size: tuple[float, float],
    colour: Colour,
) -> None:
    """Draws an upright rectangle into each frame, in place; parts outside are cut off.

    ``centre`` and ``half_size`` are (x, y) in pixels.
    """
    first = np.floor(centre - half_size - 0.5).astype(np.int64)
    columns, rows = (np.arange(int(2 * half) + 3) for half in half_size)
    x = first[:, 0, None] + columns
    y = first[:, 1, None] + rows
    cover_x = np.clip(half_size[0] + 0.5 - np.abs(x + 0.5 - centre[:, 0, None]), 0.0, 1.0)
    cover_y = np.clip(half_size[1] + 0.5 - np.abs(y + 0.5 - centre[:, 1, None]), 0.0, 1.0)
    shape = (len(frames), rows.size * columns.size)
    x = np.broadcast_to(x[:, None, :], (len(frames), rows.size, columns.size)).reshape(shape)
    y = np.broadcast_to(y[:, :, None], (len(frames), rows.size, columns.size)).reshape(shape)
    _blend(frames, x, y, (cover_y[:, :, None] * cover_x[:, None, :]).reshape(shape), colour)


def _pixels_along(
    start: Float[np.ndarray, "N 2"], end: Float[np.ndarray, "N 2"], reach: float
) -> tuple[Int[np.ndarray, "N P"], Int[np.ndarray, "N P"]]:
    """Columns and rows of pixels that include all within ``reach`` of each segment.

    Walks the axis along which the segment is longer, so that the band across it is at most
    sqrt(2) times as wide as the line.
    """
    steep = np.abs(end - start)[:, 1] > np.abs(end - start)[:, 0]
    start = np.where(steep[:, None], start[:, ::-1], start)
    end = np.where(steep[:, None], end[:, ::-1], end)
    run = end[:, 0] - start[:, 0]
    slope = (end[:, 1] - start[:, 1]) / np.where(run == 0, 1.0, run)
    steps = np.arange(int(np.abs(run).max() + 2 * reach) + 2)
    half_band = int(np.ceil(np.sqrt(2) * reach))
    major = np.floor(np.minimum(start[:, 0], end[:, 0]) - reach)[:, None] + steps
    centre = start[:, 1, None] + (major + 0.5 - start[:, 0, None]) * slope[:, None]
    minor = np.floor(centre)[:, :, None] + np.arange(-half_band, half_band + 1)
    major = np.broadcast_to(major[:, :, None], minor.shape)
    shape = (len(start), -1)
    major, minor = (axis.reshape(shape).astype(np.int64) for axis in (major, minor))
    return np.where(steep[:, None], minor, major), np.where(steep[:, None], major, minor)


def _blend(
    frames: UInt8[np.ndarray, "N h w C"],
    x: Int[np.ndarray, "N P"],
    y: Int[np.ndarray, "N P"],
    coverage: Float[np.ndarray, "N P"],
    colour: Colour,
) -> None:
    """Mixes ``colour`` into distinct pixels of each frame by ``coverage`` (clipped to [0, 1])."""
    seen = (coverage > 0) & (x >= 0) & (x < SIDE) & (y >= 0) & (y < SIDE)
    frame = np.broadcast_to(np.arange(len(frames))[:, None], x.shape)
    where = (frame[seen], y[seen], x[seen])
    share = np.minimum(coverage[seen], 1.0)[:, None]
    below = frames[where]
    frames[where] = np.rint(below + share * (np.array(colour) - below)).astype(np.uint8)
