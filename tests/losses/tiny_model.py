"""The least that a term reads of a world model, with arithmetic that can be done by hand."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from worldmodels.types import Batch


class Position(NamedTuple):
    x: Tensor


class Seen(NamedTuple):
    """What ``WorldModel.observe`` hands to the terms."""

    embed: Tensor
    posterior: Position
    prior: Position
    feature: Tensor


class Walk(nn.Module):
    """x moves by the action; the KL is a difference of positions, so both sides have gradients."""

    feature_dim = 2

    def predict(self, state, actions):
        return Position(state.x[:, None] + actions.cumsum(1))

    def kl(self, posterior, prior):
        return (posterior.x - prior.x).sum(-1)


class Pixels(nn.Module):
    """Frames of bytes as they are."""

    def forward(self, obs):
        return obs.float()


class Encoder(nn.Module):
    """The first two pixels of the first channel, times a learned number."""

    embed_dim = 2

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image):
        return self.scale * image[..., 0, 0, :2]


class Decoder(nn.Module):
    """Every pixel is the first entry of the feature."""

    def squared_error(self, feature, image):
        return (feature[..., 0, None, None, None] - image).square().sum((-1, -2, -3))


class Head(nn.Module):
    def loss(self, feature, target):
        return 0.5 * (feature[..., 0] - target).square()


class Model(nn.Module):
    def __init__(self, decoder=True):
        super().__init__()
        self.encoder, self.dynamics, self.pixels = Encoder(), Walk(), Pixels()
        self.decoder = Decoder() if decoder else None
        self.reward, self.continues = Head(), Head()

    def feature(self, state):
        return state.x


def batch_of(rows, steps, seed=0):
    """Random frames of 2 x 2 pixels, actions and rewards; an episode begins at each first step."""
    draw = torch.Generator().manual_seed(seed)
    is_first = torch.zeros(rows, steps, dtype=torch.bool)
    is_first[:, 0] = True
    return Batch(
        torch.randint(0, 256, (rows, steps, 1, 2, 2), dtype=torch.uint8, generator=draw),
        torch.randn(rows, steps, 2, generator=draw),
        torch.randn(rows, steps, generator=draw),
        is_first,
        torch.rand(rows, steps, generator=draw) < 0.3,
    )


def seen(batch, seed=1):
    """Random states with gradients, and the embedding of the batch's frames by ``Encoder``."""
    draw = torch.Generator().manual_seed(seed)
    shape = (*batch.reward.shape, 2)
    posterior = torch.randn(shape, generator=draw, requires_grad=True)
    prior = torch.randn(shape, generator=draw, requires_grad=True)
    embed = batch.obs.float()[..., 0, 0, :2].requires_grad_()
    return Seen(embed, Position(posterior), Position(prior), posterior)
