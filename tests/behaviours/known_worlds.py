"""Worlds whose optimal values are known, as world models with nothing to learn."""

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from worldmodels.dynamics import Dynamics, GaussianRSSM
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import Head
from worldmodels.types import ActionSpace, Batch
from worldmodels.world_model import WorldModel

SHAPE = (3, 16, 16)


class Place(NamedTuple):
    onehot: Tensor


class Stub(Dynamics):
    """Ignores frames: the latent state is the true state of the subclass's world."""

    def initial(self, batch):
        return Place(torch.eye(self.feature_dim)[torch.zeros(batch, dtype=torch.int64)])

    def posterior(self, prior, embed):
        return prior

    def kl(self, posterior, prior):
        return posterior.onehot[..., 0] * 0

    def feature(self, state):
        return state.onehot


class Chain(Stub):
    """Places 0..5 in a row; choice 0 goes left, choice 1 goes right; 0 holds at the left end."""

    places = 6

    def __init__(self, embed_dim, action_dim):
        super().__init__()
        self.feature_dim = self.places

    def prior(self, state, action):
        left = torch.cat([state.onehot[:, :2].sum(1, keepdim=True), state.onehot[:, 2:]], 1)
        left = torch.nn.functional.pad(left, (0, 1))
        right = torch.nn.functional.pad(state.onehot[:, :-1], (1, 0))
        right = torch.cat([right[:, :-1], right[:, -1:] + state.onehot[:, -1:]], 1)
        # No action is a reset: the place stays.
        rest = (1 - action.sum(1, keepdim=True)) * state.onehot
        return Place(action[:, :1] * left + action[:, 1:] * right + rest)


class Coins(Head):
    """Arriving at 0 pays 0.1, arriving at 5 pays 1."""

    def __init__(self, feature_dim):
        super().__init__()

    def forward(self, feature):
        return 0.1 * feature[..., 0] + feature[..., -1]

    def loss(self, feature, target):
        return (self(feature) - target).square()


class EndsRight(Coins):
    """The task ends at 5."""

    def forward(self, feature):
        return 1 - feature[..., -1]


def optimal_chain_values(discount, sweeps=200):
    """Value iteration, place by place; the last place is terminal and has no value of its own."""
    value = [0.0] * Chain.places
    for _ in range(sweeps):
        for place in range(Chain.places - 1):
            outcomes = []
            for target in (max(place - 1, 0), place + 1):
                reward = 0.1 if target == 0 else 1.0 if target == Chain.places - 1 else 0.0
                outcomes.append(reward + discount * value[target])
            value[place] = max(outcomes)
    return torch.tensor(value)


class Aim(Stub):
    """One place; the feature carries the last action, which the reward depends on."""

    def __init__(self, embed_dim, action_dim):
        super().__init__()
        self.feature_dim = 2

    def prior(self, state, action):
        return Place(torch.cat([torch.ones_like(action), action], 1))


class Target(Coins):
    """1 for the action 0.5, less by the square of the distance."""

    def forward(self, feature):
        return 1 - (feature[..., 1] - 0.5).square()


class Forever(Coins):
    def forward(self, feature):
        return torch.ones_like(feature[..., 0])


def known(space, dynamics, reward, continues, discount):
    return WorldModel(
        SHAPE, space, encoder=partial(ConvEncoder, depth=2), decoder=partial(ConvDecoder, depth=2),
        dynamics=dynamics, reward=reward, continues=continues, discount=discount,
    )  # fmt: skip


def chain(discount=0.8):
    return known(ActionSpace(2, True), Chain, Coins, EndsRight, discount)


def aim(discount=0.8):
    return known(ActionSpace(1, False), Aim, Target, Forever, discount)


def replayed(features, terminal=None):
    """A batch of one step a row, in the states given; only what behaviours read is filled in."""
    rows = len(features)
    flags = torch.zeros(rows, 1, dtype=torch.bool)
    ends = flags if terminal is None else terminal[:, None]
    obs = torch.zeros(rows, 1, *SHAPE, dtype=torch.uint8)
    batch = Batch(obs, torch.zeros(rows, 1, 1), torch.zeros(rows, 1), ~flags, ends)
    return batch, Place(features[:, None])


def everywhere_on_the_chain(copies=4):
    places = torch.eye(Chain.places).repeat(copies, 1)
    return replayed(places, terminal=places[:, -1].bool())


def train(behaviour, model, batch, posterior, updates):
    groups = [{"params": g.parameters, "lr": g.learning_rate} for g in behaviour.parameter_groups()]
    optimiser = torch.optim.Adam(groups)
    for _ in range(updates):
        losses = behaviour.loss(model, batch, posterior)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        behaviour.update_target()
    return losses.metrics


LATENT = partial(GaussianRSSM, stoch=4, deter=8, hidden=8)


def pixel_model(space, dynamics=LATENT):
    """A small world model, every weight of which passes gradients."""
    torch.manual_seed(0)
    encoder, decoder = partial(ConvEncoder, depth=2), partial(ConvDecoder, depth=2)
    model = WorldModel(SHAPE, space, encoder=encoder, decoder=decoder, dynamics=dynamics)
    for parameter in model.parameters():
        # Heads start at zero, and a zero passes no gradient that could leak.
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def pixels(space, rows=3, steps=4, ended=False):
    """A batch of noise."""
    generator = torch.Generator().manual_seed(0)
    first = torch.zeros(rows, steps, dtype=torch.bool)
    first[:, 0] = True
    return Batch(
        torch.randint(0, 256, (rows, steps, *SHAPE), generator=generator).to(torch.uint8),
        torch.zeros(rows, steps, space.dim),
        torch.rand(rows, steps, generator=generator),
        first,
        torch.full((rows, steps), ended),
    )
