from functools import partial

import pytest
import torch
from known_worlds import pixel_model, pixels

from worldmodels.behaviours import ModelFree
from worldmodels.behaviours.model_free import complete_memory
from worldmodels.behaviours.sac import SAC
from worldmodels.dynamics.frame_stack import FrameStack
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.types import ActionSpace, Batch, Losses
from worldmodels.world_model import LatentModel

SPACE = ActionSpace(1, False)


def latent_model(frames=2):
    dynamics = partial(FrameStack, frames=frames, size=4)
    return LatentModel((3, 16, 16), SPACE, partial(ConvEncoder, depth=2), dynamics)


def test_a_memory_is_complete_after_a_first_frame_or_enough_frames():
    is_first = torch.tensor([[False, False, True, False], [True, False, False, False]])
    assert complete_memory(is_first, 3).tolist() == [[False, False, True, True], [True] * 4]


def test_transitions_from_an_incomplete_memory_do_not_count():
    model = latent_model(frames=3)
    behaviour = ModelFree(model.feature_dim, SPACE, partial(SAC, hidden=8, layers=1))
    seen = []

    def loss(transitions):
        seen.append(transitions)
        return Losses(torch.zeros(()), {})

    behaviour.algorithm.loss = loss
    batch = pixels(SPACE, rows=2, steps=5)
    is_first = torch.tensor([[False, False, False, True, False], [True] + [False] * 4])
    behaviour.loss(model, batch := batch._replace(is_first=is_first), model.loss(batch)[1])
    # The first row lacks frames before its third; none of its transitions leads to a first frame.
    assert seen[0].weight.tolist() == [[0, 0, 0, 1], [1, 1, 1, 1]]


def test_a_frame_stack_keeps_the_newest_embeddings():
    stack = FrameStack(3, 1, frames=2, size=4)
    first, second = torch.rand(2, 1, 3)
    state = stack.posterior(stack.initial(1), first)
    state = stack.posterior(stack.prior(state, torch.ones(1, 1)), second)
    expected = torch.cat([stack.reduce(first), stack.reduce(second)], -1)
    torch.testing.assert_close(stack.feature(state), expected)


def test_the_critics_gradient_alone_reaches_the_encoder():
    torch.manual_seed(0)
    model = latent_model()
    behaviour = ModelFree(model.feature_dim, SPACE, partial(SAC, hidden=8, layers=1))
    # Last layers start at zero, which would stop every gradient.
    with torch.no_grad():
        for parameter in behaviour.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    obs = torch.randint(0, 256, (2, 4, 3, 16, 16), dtype=torch.uint8)
    is_first = torch.zeros(2, 4, dtype=torch.bool)
    is_first[:, 0] = True
    batch = Batch(obs, torch.rand(2, 4, 1), torch.rand(2, 4), is_first, torch.zeros_like(is_first))
    losses, posterior = model.loss(batch)
    assert losses.total == 0
    behaviour.loss(model, batch, posterior).total.backward()
    reached = [p.grad is not None and bool(p.grad.any()) for p in model.encoder.parameters()]
    assert all(reached)


def test_a_world_model_is_refused():
    model, batch = pixel_model(SPACE), pixels(SPACE)
    behaviour = ModelFree(model.feature_dim, SPACE)
    with pytest.raises(TypeError, match="give --model LatentModel, or --behaviour MBPO"):
        behaviour.loss(model, batch, model.loss(batch)[1])


def test_a_negative_pad_is_named():
    with pytest.raises(ValueError, match="pad=-1: choose 0 or more"):
        LatentModel((3, 16, 16), SPACE, pad=-1)
