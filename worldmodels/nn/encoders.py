"""Images to embeddings: the contract, and a strided convolution network for any image size."""

from abc import ABC, abstractmethod
from functools import reduce
from itertools import pairwise
from operator import add

import torch
from einops import pack, rearrange, unpack
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.nn.blocks import RMSNorm, initialise
from worldmodels.types import ObsShape


class Encoder(nn.Module, ABC):
    """Turns images into embeddings.

    Subclasses take ``obs_shape`` as their first argument, everything else has a default.
    Images are floats of about [-0.5, 0.5] (or whitened ones, around 0).

    Attributes:
        embed_dim: E, the size of an embedding.
    """

    embed_dim: int

    @abstractmethod
    def forward(self, image: Float[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch E"]:
        """Embeds images under any leading axes; rows never influence each other."""


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel: one kernel on channels-last memory."""

    def forward(self, input: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Normalises each pixel's channels."""
        pixels = super().forward(rearrange(input, "B C h w -> B h w C"))
        return rearrange(pixels, "B h w C -> B C h w")


class ChannelRMSNorm(RMSNorm):
    """RMS norm over the channels of each pixel."""

    def forward(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Divides each pixel's channels by their root mean square."""
        pixels = super().forward(rearrange(x, "B C h w -> B h w C"))
        return rearrange(pixels, "B h w C -> B C h w")


def check_image_shape(obs_shape: ObsShape, scale: int) -> None:
    """Refuses images that strided convolutions cannot read.

    Raises:
        ValueError: if a side is under 16 pixels, or under 8 after division by ``scale``.
    """
    side = min(obs_shape[1:])
    if side < 16:
        raise ValueError(
            f"obs_shape={tuple(obs_shape)}: images need at least 16 pixels a side; resize them"
        )
    if scale < 1 or side // scale < 8:
        raise ValueError(
            f"scale {scale} on obs_shape={tuple(obs_shape)}: choose 1 to {side // 8}, "
            "so that 8 pixels a side are left"
        )


def resolve_stages(stages: int | None, side: int) -> int:
    """How often ``side`` is halved: as asked, or until it is at most 7 (4 to 7 are left).

    Raises:
        ValueError: if so many halvings leave nothing.
    """
    if stages is None:
        return next(count for count in range(1, side) if side >> count <= 7)
    if not 1 <= stages < side.bit_length():
        raise ValueError(
            f"stages={stages}: a smaller side of {side} pixels allows 1 to {side.bit_length() - 1}"
        )
    return stages


def average_squares(
    images: Float[Tensor, "*batch C h w"], side: int
) -> Float[Tensor, "*batch C small_h small_w"]:
    """Shrinks images: each square of ``side`` pixels becomes its mean, partial ones too."""
    if any(length % side for length in images.shape[-2:]):
        small = F.avg_pool2d(images.flatten(0, -4), side, ceil_mode=True)
        return small.unflatten(0, images.shape[:-3])
    # Rows, then columns: three times as fast as the pooling kernel on a CPU.
    rows = reduce(add, (images[..., row::side, :] for row in range(side)))
    return reduce(add, (rows[..., column::side] for column in range(side))) / side**2


class ConvEncoder(Encoder):
    """Strided convolutions that halve the image and double the channels, then flatten.

    Args:
        obs_shape: ``(C, h, w)``, at least 16 pixels a side.
        depth: channels after the first stage.
        stages: number of halvings; when None, until the smaller side is 4 to 7.
        kernel: even size of every convolution's window.
        downscale: side of the squares that are averaged before the first convolution.

    Raises:
        ValueError: if the image is too small, or ``stages`` or ``kernel`` does not fit it.
    """

    def __init__(
        self,
        obs_shape: ObsShape,
        depth: int = 16,
        stages: int | None = None,
        kernel: int = 4,
        downscale: int = 1,
    ):
        super().__init__()
        check_image_shape(obs_shape, downscale)
        if kernel < 2 or kernel % 2:
            raise ValueError(f"kernel={kernel}: choose an even window such as 4")
        height, width = (-(-side // downscale) for side in obs_shape[1:])
        stages = resolve_stages(stages, min(height, width))
        self.downscale = downscale
        channels = [obs_shape[0]] + [depth * 2**stage for stage in range(stages)]
        self.stages = nn.Sequential()
        for before, after in pairwise(channels):
            conv = nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2 - 1)
            self.stages.append(nn.Sequential(conv, ChannelNorm(after), nn.SiLU()))
        initialise(self)
        # Channels-last weights keep the activations channels-last from end to end.
        self.stages.to(memory_format=torch.channels_last)
        self.embed_dim = channels[-1] * (height >> stages) * (width >> stages)

    def forward(self, image: Float[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch E"]:
        """Embeds images under any leading axes."""
        images, batch = pack([image], "* C h w")
        if self.downscale > 1:
            images = average_squares(images, self.downscale)
        images = images.contiguous(memory_format=torch.channels_last)
        embed = rearrange(self.stages(images), "B C h w -> B (h w C)")
        return unpack(embed, batch, "* E")[0]


HALVINGS = 4
"""How often ``PoolEncoder`` halves a frame, and ``BlockDecoder`` doubles one."""

CHANNELS = (2, 3, 4, 4)
"""Channels after each halving, in units of ``depth``."""


def pooled_sides(obs_shape: ObsShape) -> tuple[int, int]:
    """Height and width of a frame after all halvings.

    Raises:
        ValueError: when a side does not divide by 16.
    """
    height, width = obs_shape[1:]
    if min(height, width) < 2**HALVINGS or height % 2**HALVINGS or width % 2**HALVINGS:
        raise ValueError(
            f"obs_shape={tuple(obs_shape)}: PoolEncoder and BlockDecoder halve a frame "
            f"{HALVINGS} times, so its sides must be multiples of {2**HALVINGS}: resize it to "
            f"{tuple(max(1, round(side / 2**HALVINGS)) * 2**HALVINGS for side in (height, width))}"
        )
    return height // 2**HALVINGS, width // 2**HALVINGS


class PoolEncoder(Encoder):
    """Four times convolution, 2x2 max pool, RMS norm and SiLU, then flattened.

    It reads images in [0, 1] (``pixels: UnitRange``) and centres them at 0 itself.

    Args:
        obs_shape: ``(C, h, w)`` with sides that are multiples of 16.
        depth: unit of the channels, which are 2, 3, 4 and 4 times as many.
        kernel: odd size of every convolution's window.

    Raises:
        ValueError: when a side or ``kernel`` does not fit.

    Reference: Hafner et al., 2025 (DreamerV3, Nature), released code.
    """

    def __init__(self, obs_shape: ObsShape, depth: int = 16, kernel: int = 5):
        super().__init__()
        height, width = pooled_sides(obs_shape)
        check_odd("PoolEncoder", kernel)
        channels = [obs_shape[0]] + [depth * count for count in CHANNELS]
        self.stages = nn.Sequential()
        for before, after in pairwise(channels):
            conv = nn.Conv2d(before, after, kernel, padding=kernel // 2)
            self.stages.append(
                nn.Sequential(conv, nn.MaxPool2d(2), ChannelRMSNorm(after), nn.SiLU())
            )
        initialise(self)
        self.stages.to(memory_format=torch.channels_last)
        self.embed_dim = channels[-1] * height * width

    def forward(self, image: Float[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch E"]:
        """Embeds images in [0, 1] under any leading axes."""
        images, batch = pack([image - 0.5], "* C h w")
        images = images.contiguous(memory_format=torch.channels_last)
        embed = rearrange(self.stages(images), "B C h w -> B (h w C)")
        return unpack(embed, batch, "* E")[0]


def check_odd(owner: str, kernel: int) -> None:
    """Refuses windows without a middle.

    Raises:
        ValueError: naming the owner, the size and the fix.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"{owner}: kernel={kernel}: choose an odd window such as 5")
