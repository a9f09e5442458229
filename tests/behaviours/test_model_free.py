from functools import partial

import pytest
import torch

from worldmodels.behaviours.model_free import ModelFree, Perception, complete_memory
from worldmodels.behaviours.sac import SAC
from worldmodels.dynamics.frame_stack import FrameStack
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.types import ActionSpace, Batch


def test_a_memory_is_complete_after_a_first_frame_or_enough_frames():
    is_first = torch.tensor([[False, False, True, False], [True, False, False, False]])
    assert complete_memory(is_first, 3).tolist() == [[False, False, True, True], [True] * 4]


def test_a_frame_stack_keeps_the_newest_embeddings():
    stack = FrameStack(3, 1, frames=2, size=4)
    first, second = torch.rand(2, 1, 3)
    state = stack.posterior(stack.initial(1), first)
    state = stack.posterior(stack.prior(state, torch.ones(1, 1)), second)
    expected = torch.cat([stack.reduce(first), stack.reduce(second)], -1)
    torch.testing.assert_close(stack.feature(state), expected)


def test_the_critics_gradient_alone_reaches_the_encoder():
    torch.manual_seed(0)
    space = ActionSpace(1, False)
    eyes = Perception((3, 16, 16), space, partial(ConvEncoder, depth=2), size=4)
    behaviour = ModelFree(eyes.dynamics.feature_dim, space, partial(SAC, hidden=8, layers=1))
    # Last layers start at zero, which would stop every gradient.
    with torch.no_grad():
        for parameter in behaviour.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    obs = torch.randint(0, 256, (2, 4, 3, 16, 16), dtype=torch.uint8)
    is_first = torch.zeros(2, 4, dtype=torch.bool)
    is_first[:, 0] = True
    batch = Batch(obs, torch.rand(2, 4, 1), torch.rand(2, 4), is_first, torch.zeros_like(is_first))
    losses, posterior = eyes.loss(batch)
    assert losses.total == 0
    behaviour.loss(eyes, batch, posterior).total.backward()
    reached = [p.grad is not None and bool(p.grad.any()) for p in eyes.encoder.parameters()]
    assert all(reached)


def test_a_negative_shift_is_named():
    with pytest.raises(ValueError, match="shift=-1: choose 0 pixels or more"):
        Perception((3, 16, 16), ActionSpace(1, False), shift=-1)
