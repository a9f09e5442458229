"""Observations to pictures that a person can look at."""

import numpy as np
from einops import repeat
from jaxtyping import UInt8
from matplotlib import colormaps


def to_pictures(
    obs: UInt8[np.ndarray, "*batch C h w"], scale: int = 1
) -> UInt8[np.ndarray, "*batch y x 3"]:
    """RGB pictures of frames, each pixel drawn as ``scale`` x ``scale`` without smoothing.

    One channel becomes grey; of a stack of frames the newest is shown (the last three channels,
    or the last one where their number is no multiple of 3).

    Raises:
        ValueError: if ``scale`` is below 1.
    """
    if scale < 1:
        raise ValueError(f"scale={scale}: give a whole number of at least 1")
    channels = obs.shape[-3]
    newest = obs[..., -3:, :, :] if channels % 3 == 0 else obs[..., -1:, :, :]
    copies = 3 // newest.shape[-3]
    return repeat(newest, "... C h w -> ... (h i) (w j) (C k)", i=scale, j=scale, k=copies)


def error_pictures(
    prediction: UInt8[np.ndarray, "*batch C h w"],
    truth: UInt8[np.ndarray, "*batch C h w"],
    scale: int = 1,
) -> UInt8[np.ndarray, "*batch y x 3"]:
    """The largest absolute error over a pixel's channels, from black (0) to yellow (255)."""
    difference = np.abs(
        to_pictures(prediction, scale).astype(np.int16) - to_pictures(truth, scale)
    ).max(-1)
    table = (colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
    return table[difference]


def scale_for(obs: UInt8[np.ndarray, "*batch C h w"], pixels: int = 192) -> int:
    """The whole factor that brings frames closest to ``pixels`` on their longer side."""
    return max(1, round(pixels / max(obs.shape[-2:])))
