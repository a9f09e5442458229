"""Standard normal noise over plans, with and without correlation in time."""

import torch
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor


def white(
    candidates: int,
    like: Float[Tensor, "B H A"],
    generator: torch.Generator | None = None,
) -> Float[Tensor, "N H A"]:
    """Independent noise, of the horizon, type and device of ``like``."""
    return torch.randn(
        candidates, *like.shape[1:], generator=generator, dtype=like.dtype, device=like.device
    )


def filtered(noise: Float[Tensor, "N H A"], beta: float) -> Float[Tensor, "N H A"]:
    """Low-pass filters white noise in time: n_t = beta u_t + (1 - beta) n_(t-1), n_(-1) = 0.

    Each step is divided by its own standard deviation, so that the result has the correlation of
    the paper's filter and variance 1 at every step, and ``beta`` does not change the scale of a
    search. ``beta=1`` returns the noise as it is.

    Reference: Nagabandi et al., 2019 (PDDM), equation 4.
    """
    steps = torch.arange(noise.shape[1], device=noise.device)
    lag = steps[:, None] - steps  # H H
    weight = torch.where(lag >= 0, (1 - beta) ** lag.clamp(min=0), 0.0)  # H H
    # The common factor beta of the recursion drops out here.
    weight = weight / weight.norm(dim=1, keepdim=True)
    return einsum(weight.to(noise), noise, "t s, n s a -> n t a")


def coloured(
    candidates: int,
    like: Float[Tensor, "B H A"],
    beta: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "N H A"]:
    """Noise whose power falls with frequency as f^-beta over the horizon, with variance 1.

    0 is white, 1 pink, 2 a random walk's spectrum. The zero frequency gets the power of the lowest
    other one.

    Reference: Timmer and König, 1995; Pinneri et al., 2020 (iCEM), section 3.1.
    """
    horizon = like.shape[1]
    scale = _spectrum(horizon, beta).to(like)  # H//2+1
    normal = torch.randn(
        2, candidates, like.shape[2], len(scale), generator=generator,
        dtype=like.dtype, device=like.device,
    )  # fmt: skip
    series = torch.fft.irfft(torch.complex(normal[0], normal[1]) * scale, n=horizon)  # N A H
    return rearrange(series, "n a h -> n h a")


def _spectrum(horizon: int, beta: float) -> Tensor:
    """Standard deviation of the real and imaginary part of each of H // 2 + 1 coefficients."""
    frequency = torch.fft.rfftfreq(horizon).clamp(min=1 / horizon)
    scale = frequency ** (-beta / 2)
    # Coefficients without an imaginary part (zero, and half the rate of an even horizon) carry
    # their power in the real part alone.
    twice = torch.full_like(scale, 2.0)
    alone = [0, -1] if horizon % 2 == 0 else [0]
    scale[alone] *= 2**0.5
    twice[alone] = 1.0
    variance = (twice * scale.square() * twice).sum() / horizon**2
    return scale / variance.sqrt()
