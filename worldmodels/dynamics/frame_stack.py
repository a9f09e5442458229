"""A state that remembers frames and predicts nothing: what model-free learners see."""

from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.dynamics.base import Dynamics
from worldmodels.nn.blocks import initialise


class FrameStackState(NamedTuple):
    """The newest K frames' embeddings, oldest first; zeros where there was no frame yet."""

    embeds: Float[Tensor, "*batch K E"]


class FrameStack(Dynamics):
    """Joins the newest frames' embeddings, each reduced by a layer of its own.

    Actions change nothing: what they lead to is seen, not predicted.

    Args:
        embed_dim: E, size of a frame's embedding.
        action_dim: A.
        frames: K.
        size: of a reduced embedding.

    Raises:
        ValueError: when there is no frame.

    Reference: Mnih et al., 2015, for frame stacks; Yarats et al., 2021 (DrQ), for the reduction.
    """

    def __init__(self, embed_dim: int, action_dim: int, frames: int = 2, size: int = 64):
        super().__init__()
        if frames < 1:
            raise ValueError(f"frames={frames}: remember 1 frame or more")
        self.frames, self.size, self.feature_dim = frames, size, frames * size
        self.reduce = nn.Sequential(nn.Linear(embed_dim, size), nn.LayerNorm(size), nn.Tanh())
        initialise(self)

    def initial(self, batch: int) -> FrameStackState:
        """No frame yet."""
        like = next(self.parameters())
        return FrameStackState(like.new_zeros(batch, self.frames, self.size))

    def prior(self, state: FrameStackState, action: Float[Tensor, "B A"]) -> FrameStackState:
        """The same memory."""
        return state

    def posterior(self, prior: FrameStackState, embed: Float[Tensor, "B E"]) -> FrameStackState:
        """The newest frame takes the place of the oldest."""
        newest = self.reduce(embed)[:, None]  # B 1 E
        return FrameStackState(torch.cat([prior.embeds[:, 1:], newest], 1))  # B K E

    def kl(self, posterior: FrameStackState, prior: FrameStackState) -> Float[Tensor, "*batch"]:
        """0: there is no prediction to be wrong."""
        return torch.zeros_like(posterior.embeds[..., 0, 0])

    def feature(self, state: FrameStackState) -> Float[Tensor, "*batch F"]:
        """All embeddings, joined."""
        return rearrange(state.embeds, "... K E -> ... (K E)")
