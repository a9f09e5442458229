from functools import partial

import pytest
import torch
from known_worlds import pixel_model, pixels

from worldmodels.behaviours import ModelFree
from worldmodels.behaviours.sac import SAC
from worldmodels.dynamics.frame_stack import FrameStack
from worldmodels.nn.augment import randomly_shifted
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.types import ActionSpace, Batch, Losses
from worldmodels.world_model import LatentModel

SPACE = ActionSpace(1, False)


def latent_model(frames=2, **options):
    dynamics = partial(FrameStack, frames=frames, size=4)
    return LatentModel((3, 16, 16), SPACE, partial(ConvEncoder, depth=2), dynamics, **options)


def learned_from(model, batch, **options):
    """The transitions that a behaviour shows its algorithm, and the features of the batch."""
    behaviour = ModelFree(model.feature_dim, SPACE, partial(SAC, hidden=8, layers=1), **options)
    seen = []
    behaviour.algorithm.loss = lambda t: seen.append(t) or Losses(torch.zeros(()), {})
    torch.manual_seed(0)
    posterior = model.loss(batch)[1]
    behaviour.loss(model, batch, posterior)
    return seen[0], model.feature(posterior)


def test_transitions_from_an_incomplete_memory_do_not_count():
    model = latent_model(frames=3)
    is_first = torch.tensor([[False, False, False, True, False], [True] + [False] * 4])
    batch = pixels(SPACE, rows=2, steps=5)._replace(is_first=is_first)
    # The first row lacks frames before its third; none of its transitions leads to a first frame.
    assert learned_from(model, batch)[0].weight.tolist() == [[0, 0, 0, 1], [1, 1, 1, 1]]


def test_transitions_from_rows_that_warm_up_do_not_count():
    is_first = torch.tensor([[False] * 5, [True] + [False] * 4])
    batch = pixels(SPACE, rows=2, steps=5)._replace(is_first=is_first)
    seen, _ = learned_from(latent_model(frames=2, burn_in=3), batch)
    assert seen.weight.tolist() == [[0, 0, 0, 1], [1, 1, 1, 1]]


def test_a_value_learns_from_states_under_another_shift():
    model, batch = latent_model(pad=3), pixels(SPACE, rows=3, steps=5)
    seen, feature = learned_from(model, batch)
    assert torch.equal(seen.feature, feature[:, :-1])
    assert seen.feature.requires_grad
    assert not seen.after.requires_grad
    # The second draw of shifts by hand; every draw is one call of the generator.
    torch.manual_seed(0)
    torch.randint(-3, 4, (3, 2))
    image = randomly_shifted(model.pixels(batch.obs), 3)
    embed = model.dynamics.reduce(model.encoder(image))
    expected = torch.cat([embed[:, :-1], embed[:, 1:]], -1)  # the frame before, and the frame
    torch.testing.assert_close(seen.after, expected)
    assert not torch.allclose(seen.after, feature[:, 1:])


@pytest.mark.parametrize(
    ("pad", "frozen", "options"),
    [(3, False, {"independent_shifts": False}), (0, False, {}), (3, True, {})],
)
def test_otherwise_both_sides_of_a_transition_are_seen_alike(pad, frozen, options):
    model, batch = latent_model(pad=pad), pixels(SPACE, rows=3, steps=5)
    model.requires_grad_(not frozen)
    seen, feature = learned_from(model, batch, **options)
    assert torch.equal(seen.after, feature[:, 1:])


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
