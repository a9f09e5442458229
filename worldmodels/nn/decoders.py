"""Features to images: the contract, and the mirror image of the convolutional encoder."""

from abc import ABC, abstractmethod
from itertools import pairwise
from math import gcd

import torch
from einops import pack, rearrange, unpack
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.nn.blocks import MLP, BlockLinear, RMSNorm, initialise, zero_init
from worldmodels.nn.encoders import (
    CHANNELS,
    ChannelNorm,
    ChannelRMSNorm,
    check_image_shape,
    check_odd,
    pooled_sides,
    resolve_stages,
)
from worldmodels.nn.precision import precise
from worldmodels.types import ObsShape


class Decoder(nn.Module, ABC):
    """Turns latent features into images (the mean of a normal over pixels).

    Subclasses take ``(feature_dim, obs_shape)`` first, everything else has a default.
    """

    @abstractmethod
    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch C h w"]:
        """Images in the scale that the encoder reads, under any leading axes."""

    def squared_error(
        self, feature: Float[Tensor, "*batch F"], image: Float[Tensor, "*batch C h w"]
    ) -> Float[Tensor, "*batch"]:
        """Squared error summed over an image's pixels."""
        return (self(feature).float() - image).square().sum((-1, -2, -3))


class ConvDecoder(Decoder):
    """A linear layer, then transposed convolutions that double the image up to its exact size.

    Windows of 4 at stride 2 cover every pixel equally often, so there is no checkerboard; an odd
    size is met by one more row or column.

    Reference for ``upscale``: Shi et al., 2016 (sub-pixel convolution).

    Args:
        feature_dim: F.
        obs_shape: ``(C, h, w)``, at least 16 pixels a side.
        depth: channels before the last stage.
        stages: number of doublings; when None, as many as ``ConvEncoder`` has halvings.
        upscale: the last stage stops at squares of this side and paints each of them with as many
            pixels as it holds, at a fraction of the cost of further stages. No square is flat: it
            has to take away the mean image's fine lines where a frame lacks them.

    Raises:
        ValueError: if the image is too small or ``stages`` does not fit it.
    """

    def __init__(
        self,
        feature_dim: int,
        obs_shape: ObsShape,
        depth: int = 16,
        stages: int | None = None,
        upscale: int = 1,
    ):
        super().__init__()
        check_image_shape(obs_shape, upscale)
        self.obs_shape, self.upscale = obs_shape, upscale
        height, width = (-(-side // upscale) for side in obs_shape[1:])
        stages = resolve_stages(stages, min(height, width))
        self.small_shape = (depth * 2 ** (stages - 1), height >> stages, width >> stages)
        channels, small_height, small_width = self.small_shape
        self.seed = nn.Linear(feature_dim, channels * small_height * small_width)
        self.seed_norm = nn.Sequential(ChannelNorm(channels), nn.SiLU())
        self.stages = nn.Sequential()
        for stage in range(stages - 1, -1, -1):
            before = depth * 2**stage
            odd = ((height >> stage) % 2, (width >> stage) % 2)
            after = depth * 2 ** (stage - 1) if stage else obs_shape[0] * upscale**2
            self.stages.append(
                nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, output_padding=odd)
            )
            if stage:
                self.stages.append(nn.Sequential(ChannelNorm(after), nn.SiLU()))
        initialise(self)
        # An untrained decoder shows the mean image: noise beside small differences from it would
        # have to be unlearned first, which costs hundreds of updates.
        output = self.stages[-1]
        assert isinstance(output, nn.ConvTranspose2d)
        zero_init(output)
        self.stages.to(memory_format=torch.channels_last)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch C h w"]:
        """Images under any leading axes."""
        features, batch = pack([feature], "* F")
        _, height, width = self.small_shape
        small = rearrange(self.seed(features), "B (h w C) -> B C h w", h=height, w=width)
        images = self.stages(self.seed_norm(small))
        if self.upscale > 1:
            squares = {"p": self.upscale, "q": self.upscale}
            images = rearrange(images, "B (C p q) h w -> B C (h p) (w q)", **squares)
            images = images[..., : self.obs_shape[1], : self.obs_shape[2]]
        return unpack(images, batch, "* C h w")[0]


class BlockDecoder(Decoder):
    """Memory and latent meet in a small image, which is doubled four times and ends in a sigmoid.

    The memory (the first ``deter`` numbers of a feature) is drawn by a block-diagonal layer, the
    rest by a perceptron; their sum is a small image of ``4 * depth`` channels. A doubling repeats
    every pixel, then convolves. Images are in [0, 1]: give the model ``pixels: UnitRange``.

    Args:
        feature_dim: F.
        obs_shape: ``(C, h, w)`` with sides that are multiples of 16.
        depth: unit of the channels, which are 4, 4, 3 and 2 times as many.
        units: half of the perceptron's width.
        deter: size of the memory at a feature's beginning; when None, four fifths of the feature
            in whole blocks, as in every size of the paper.
        blocks: of the layer that reads the memory.
        kernel: odd size of every convolution's window.

    Raises:
        ValueError: when a size does not fit.

    Reference: Hafner et al., 2025 (DreamerV3, Nature), released code.
    """

    def __init__(
        self,
        feature_dim: int,
        obs_shape: ObsShape,
        depth: int = 16,
        units: int = 256,
        deter: int | None = None,
        blocks: int = 8,
        kernel: int = 5,
    ):
        super().__init__()
        self.height, self.width = pooled_sides(obs_shape)
        check_odd("BlockDecoder", kernel)
        self.deter = 4 * feature_dim // (5 * blocks) * blocks if deter is None else deter
        if not 0 < self.deter < feature_dim or self.deter % blocks:
            raise ValueError(
                f"BlockDecoder: deter={self.deter} of feature_dim={feature_dim}: give the "
                f"dynamics' deter, a multiple of blocks={blocks} below feature_dim"
            )
        channels = [depth * count for count in reversed(CHANNELS)]
        if channels[0] % blocks:
            raise ValueError(
                f"BlockDecoder: depth={depth} makes {channels[0]} channels, which do not divide "
                f"into blocks={blocks}: choose a multiple of {blocks // gcd(blocks, CHANNELS[-1])}"
            )
        small = channels[0] * self.height * self.width
        self.blocks = blocks
        self.from_deter = BlockLinear(self.deter, small, blocks)
        rest = feature_dim - self.deter
        self.from_stoch = MLP(rest, small, hidden=2 * units, layers=1, norm=RMSNorm)
        self.seed_norm = nn.Sequential(ChannelRMSNorm(channels[0]), nn.SiLU())
        self.stages = nn.Sequential()
        for before, after in pairwise(channels):
            self.stages.append(
                nn.Sequential(
                    nn.Upsample(scale_factor=2),
                    nn.Conv2d(before, after, kernel, padding=kernel // 2),
                    ChannelRMSNorm(after),
                    nn.SiLU(),
                )
            )
        self.output = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(channels[-1], obs_shape[0], kernel, padding=kernel // 2),
        )
        initialise(self)
        self.to(memory_format=torch.channels_last)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch C h w"]:
        """Images in [0, 1] under any leading axes."""
        features, batch = pack([feature], "* F")
        deter, stoch = features.split([self.deter, features.shape[-1] - self.deter], -1)
        sides = {"h": self.height, "w": self.width}
        # A block of the memory draws some of the channels at every place.
        drawn = rearrange(
            self.from_deter(deter), "B (G h w C) -> B (G C) h w", G=self.blocks, **sides
        )
        small = drawn + rearrange(self.from_stoch(stoch), "B (h w C) -> B C h w", **sides)
        small = small.contiguous(memory_format=torch.channels_last)
        images = self.output(self.stages(self.seed_norm(small)))  # B C h w
        # Never in bfloat16, where values near 1 are further apart than two bytes.
        return unpack(precise(images).sigmoid(), batch, "* C h w")[0]
