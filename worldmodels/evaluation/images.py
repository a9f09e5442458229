"""Image similarity on bytes: PSNR and SSIM per frame."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

_WINDOW, _SIGMA = 11, 1.5


def squared_error(
    first: UInt8[Tensor, "*batch C h w"], second: UInt8[Tensor, "*batch C h w"]
) -> Float[Tensor, "*batch"]:
    """Mean squared error per frame, in squared grey levels."""
    return (first.float() - second.float()).square().mean((-1, -2, -3))


def to_psnr(error: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Peak signal-to-noise ratio in dB of a mean squared error of bytes.

    Errors under 1e-3 squared grey levels (equal frames) count as 1e-3: 78 dB.
    """
    return 10 * torch.log10(255**2 / error.clamp(min=1e-3))


def masked_squared_error(
    first: UInt8[Tensor, "*batch C h w"],
    second: UInt8[Tensor, "*batch C h w"],
    mask: Bool[Tensor, "*batch h w"],
) -> Float[Tensor, "*batch"]:
    """Mean squared error over the marked pixels; NaN where a frame has none."""
    error = (first.float() - second.float()).square().mean(-3)
    return (error * mask).sum((-1, -2)) / mask.sum((-1, -2))


def ssim(
    first: UInt8[Tensor, "*batch C h w"], second: UInt8[Tensor, "*batch C h w"]
) -> Float[Tensor, "*batch"]:
    """Structural similarity per frame, mean over pixels and channels.

    Raises:
        ValueError: when a frame is smaller than the window.

    Reference: Wang et al., 2004, equation 13 (Gaussian window of 11 pixels, sigma 1.5).
    """
    *batch, _, height, width = first.shape
    if min(height, width) < _WINDOW:
        raise ValueError(
            f"frames of {height} x {width} pixels: SSIM needs at least {_WINDOW} x {_WINDOW}"
        )
    x, y = (frames.reshape(-1, 1, *frames.shape[-2:]).float() for frames in (first, second))
    moments = _blur(torch.cat([x, y, x * x, y * y, x * y], 1))
    mean_x, mean_y, square_x, square_y, product = moments.unbind(1)
    variance_x, variance_y = square_x - mean_x**2, square_y - mean_y**2
    covariance = product - mean_x * mean_y
    small, large = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    luminance = (2 * mean_x * mean_y + small) / (mean_x**2 + mean_y**2 + small)
    structure = (2 * covariance + large) / (variance_x + variance_y + large)
    return (luminance * structure).mean((-1, -2)).reshape(*batch, -1).mean(-1)


def moving_pixels(frames: UInt8[Tensor, "T C h w"], threshold: int = 16) -> Bool[Tensor, "T h w"]:
    """Pixels that differ from the episode's background (each pixel's median over time)."""
    background = frames.median(0).values
    difference = (frames.int() - background.int()).abs().amax(1)
    return difference > threshold


def _blur(images: Tensor) -> Tensor:
    positions = torch.arange(_WINDOW, dtype=images.dtype, device=images.device) - _WINDOW // 2
    weights = torch.exp(-(positions**2) / (2 * _SIGMA**2))
    weights = weights / weights.sum()
    channels = images.shape[1]
    row = weights.expand(channels, 1, 1, _WINDOW)
    rows = F.conv2d(images, row, groups=channels)
    return F.conv2d(rows, rearrange(row, "C i a b -> C i b a"), groups=channels)
