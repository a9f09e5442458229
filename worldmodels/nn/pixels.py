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


class UnitRange(PixelScaling):
    """Bytes to [0, 1]: the scale of a decoder that ends in a sigmoid."""

    def __init__(self, obs_shape: ObsShape):
        super().__init__()

    def forward(self, obs: UInt8[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch C h w"]:
        """Bytes / 255."""
        return obs.float().div_(255)

    def inverse(self, image: Float[Tensor, "*batch C h w"]) -> UInt8[Tensor, "*batch C h w"]:
        """Rounds to the nearest byte."""
        return _to_bytes(image.float())


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


class Standardized(PixelScaling):
    """Subtracts the data's mean image and divides each pixel by its standard deviation.

    Every pixel that ever changes then carries the same weight: a small ball that visits each of
    them rarely counts as much as a paddle that stands on its own for half of the time.

    For data that is complete before training: a pixel that the fitted frames never show changing
    is divided by ``floor`` for ever, so ``train`` refuses it where a policy goes on to collect. A
    shift (``pad``) would show the scale of one place at another, so models refuse that, too.

    Args:
        obs_shape: ``(C, h, w)``.
        scale: standard deviation of the result where the data changes.
        floor: pixels whose standard deviation (bytes / 255) is smaller are divided by this, so
            that noise stays small.

    Raises:
        ValueError: when a number is not above 0.
    """

    def __init__(self, obs_shape: ObsShape, scale: float = 1.0, floor: float = 0.02):
        super().__init__()
        for name, number in (("scale", scale), ("floor", floor)):
            if not number > 0:
                raise ValueError(f"Standardized: {name}={number}: choose a number above 0")
        self.scale, self.floor = scale, floor
        self.register_buffer("mean", torch.full(obs_shape, 0.5))
        self.register_buffer("std", torch.ones(obs_shape))
        self.mean: Tensor
        self.std: Tensor

    def fit(self, frames: UInt8[Tensor, "B C h w"]) -> None:
        """Takes mean and standard deviation of every pixel of ``frames``."""
        std, mean = torch.std_mean(frames.float() / 255, 0, correction=0)
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=self.floor) / self.scale)

    def forward(self, obs: UInt8[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch C h w"]:
        """(Bytes / 255 - mean) / std * scale."""
        return obs.float().div_(255).sub_(self.mean).div_(self.std)

    def inverse(self, image: Float[Tensor, "*batch C h w"]) -> UInt8[Tensor, "*batch C h w"]:
        """Multiplies, adds the mean again and rounds."""
        return _to_bytes(image.float() * self.std + self.mean)


def _to_bytes(unit: Tensor) -> Tensor:
    return unit.mul(255).round_().clamp_(0, 255).to(torch.uint8)
