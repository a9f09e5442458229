"""Features to images: the contract, and the mirror image of the convolutional encoder."""

from abc import ABC, abstractmethod

import torch
from einops import pack, rearrange, unpack
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.nn.blocks import initialise, zero_init
from worldmodels.nn.encoders import (
    ChannelNorm,
    check_image_shape,
    resolve_stages,
)
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
