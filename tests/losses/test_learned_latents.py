"""A dot moves under the actions: without a decoder, latents learn where it is."""

from functools import partial

import pytest
import torch

from worldmodels.dynamics import GaussianRSSM
from worldmodels.losses import (
    BalancedKL,
    Continues,
    InfoNCE,
    LatentConsistency,
    RedundancyReduction,
    Reward,
)
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.types import ActionSpace, Batch
from worldmodels.world_model import WorldModel


def moving_dot(rows, steps, draw):
    """Frames of a soft dot that each action moves, no reward, and where it is, in [-1, 1]."""
    action = torch.rand(rows, steps, 2, generator=draw) * 2 - 1
    action[:, 0] = 0
    at = torch.rand(rows, 2, generator=draw) * 2 - 1
    path = []
    for t in range(steps):
        at = (at + 0.5 * action[:, t]).clamp(-1, 1)
        path.append(at)
    position = torch.stack(path, 1)
    grid = torch.linspace(-1.3, 1.3, 16)
    y, x = (grid - position[..., axis, None] for axis in (0, 1))
    dot = torch.exp(-(y[..., :, None].square() + x[..., None, :].square()) / 0.08)
    obs = (255 * dot).to(torch.uint8)[:, :, None].repeat(1, 1, 3, 1, 1)
    none, is_first = torch.zeros(rows, steps), torch.zeros(rows, steps, dtype=torch.bool)
    is_first[:, 0] = True
    return Batch(obs, action, none, is_first, torch.zeros_like(is_first)), position


@torch.no_grad()
def read_out(model):
    """R^2 of a linear map from features to positions, fitted to one batch, on another one."""
    draw = torch.Generator().manual_seed(99)
    fit, held_out = [
        (torch.nn.functional.pad(feature, (0, 1), value=1).double(), position.double())
        for batch, positions in (moving_dot(64, 8, draw), moving_dot(64, 8, draw))
        for feature, position in [
            (
                model.observe(batch.obs, batch.action, batch.is_first).feature.flatten(0, 1),
                positions.flatten(0, 1),
            )
        ]
    ]
    feature, position = fit
    ridge = 1e-3 * torch.eye(feature.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(feature.mT @ feature + ridge, feature.mT @ position)
    feature, position = held_out
    error = (feature @ weights - position).square().sum()
    return 1 - (error / (position - position.mean(0)).square().sum()).item()


def trained(*terms, updates=150):
    """R^2 before and after training, and the last update's metrics."""
    torch.manual_seed(0)
    model = WorldModel(
        (3, 16, 16),
        ActionSpace(2, False),
        encoder=partial(ConvEncoder, depth=4),
        dynamics=partial(GaussianRSSM, stoch=8, deter=32, hidden=32),
        decoder=None,
        terms=(*terms, Reward(), Continues(), BalancedKL()),
    )
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    before, draw = read_out(model), torch.Generator().manual_seed(0)
    for _ in range(updates):
        losses, _ = model.loss(moving_dot(16, 8, draw)[0])
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        model.update_target()
    return before, read_out(model), losses.metrics


@pytest.mark.usefixtures("without_shape_checks")
@pytest.mark.parametrize("term", [InfoNCE, RedundancyReduction, LatentConsistency])
def test_latents_learn_where_the_dot_is(term):
    before, after, metrics = trained(term())
    assert before < 0.3
    assert after > 0.7
    assert metrics["embed_std"] > 0.2


@pytest.mark.usefixtures("without_shape_checks")
def test_heads_and_kl_alone_do_not_learn_it():
    _, after, metrics = trained()
    assert after < 0.3
    assert metrics["kl"] < 1
