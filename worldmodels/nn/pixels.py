"""Bytes to the floats that encoders read, and back: the only place that scales pixels."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from worldmodels.types import ObsShape


class PixelScaling(nn.Module, ABC):
    """Maps frames of bytes to floats around 0, and back."""

    def fit(self, frames: UInt8[Tensor, "B C h w"]) -> None:
        """Adapts to a sample of the data, once, before training."""

    @abstractmethod
    def forward(self, obs: UInt8[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch C h w"]:
        """Bytes 0..255 to floats."""

    @abstractmethod
    def inverse(self, image: Float[Tensor, "*batch C h w"]) -> UInt8[Tensor, "*batch C h w"]:
        """Floats to bytes, clipped."""


class HalfRange(PixelScaling):
    """Bytes to [-0.5, 0.5]: what pretrained backbones expect of this project."""

    def __init__(self, obs_shape: ObsShape):
        super().__init__()

    def forward(self, obs: UInt8[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch C h w"]:
        """Bytes / 255 - 0.5."""
        return obs.float().div_(255).sub_(0.5)

    def inverse(self, image: Float[Tensor, "*batch C h w"]) -> UInt8[Tensor, "*batch C h w"]:
        """Rounds to the nearest byte."""
        return _to_bytes(image.float() + 0.5)


class Centered(PixelScaling):
    """Subtracts the data's mean image and scales the rest.

    What does not move carries no information; without this, small models spend their capacity on
    the background and the latent collapses.

    Args:
        obs_shape: ``(C, h, w)``.
        scale: factor on what remains.
    """

    def __init__(self, obs_shape: ObsShape, scale: float = 4.0):
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", torch.full(obs_shape, 0.5))
        self.mean: Tensor

    def fit(self, frames: UInt8[Tensor, "B C h w"]) -> None:
        """Takes the mean image of ``frames``."""
        self.mean.copy_(frames.float().mean(0) / 255)

    def forward(self, obs: UInt8[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch C h w"]:
        """(Bytes / 255 - mean) * scale."""
        return obs.float().div_(255).sub_(self.mean).mul_(self.scale)

    def inverse(self, image: Float[Tensor, "*batch C h w"]) -> UInt8[Tensor, "*batch C h w"]:
        """Adds the mean again and rounds."""
        return _to_bytes(image.float() / self.scale + self.mean)


def _to_bytes(unit: Tensor) -> Tensor:
    return unit.mul(255).round_().clamp_(0, 255).to(torch.uint8)
