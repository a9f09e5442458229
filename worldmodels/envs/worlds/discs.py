"""Many small discs at once: balls, targets, and chains of discs that make thick curves."""

import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from worldmodels.envs.worlds.drawing import SIDE, Colour


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
    cells = first[:, :, :, None] + span
    square = ((cells + 0.5 - centres[:, :, :, None]) ** 2).astype(np.float32)
    square[(cells < 0) | (cells >= SIDE)] = np.inf
    square = square[:, :, 1, :, None] + square[:, :, 0, None, :]
    seen = np.flatnonzero(square < (radius + 0.5) ** 2)
    corner = SIDE**2 * np.arange(len(frames))[:, None] + first @ np.array([1, SIDE])
    patch = SIDE * span[:, None] + span
    pixel = (corner[:, :, None, None] + patch).reshape(-1)[seen]
    share = np.minimum(radius + 0.5 - np.sqrt(square.reshape(-1)[seen]), 1.0)
    if centres.shape[1] > 1:
        largest = np.zeros(len(frames) * SIDE**2, dtype=np.float32)
        np.maximum.at(largest, pixel, share)
        share = largest[pixel]
    _mix(frames, pixel, share, colour)


def _mix(
    frames: UInt8[np.ndarray, "N h w C"],
    pixel: Int[np.ndarray, " P"],
    share: Float32[np.ndarray, " P"],
    colour: Colour,
) -> None:
    """Mixes ``colour`` into pixels, counted through all frames; equal ones have equal shares."""
    below = frames.reshape(-1, 3).take(pixel, axis=0)
    mixed = below + share[:, None] * (np.array(colour, dtype=np.float32) - below)
    # Three bytes as one item: several times faster than rows of three.
    whole = frames.reshape(-1, 3).view("V3")[:, 0]
    whole[pixel] = np.rint(mixed).astype(np.uint8).view("V3")[:, 0]
