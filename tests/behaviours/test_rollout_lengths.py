from functools import partial

import pytest
import torch
from known_worlds import Place, chain

from worldmodels.behaviours import DQN, MBPO, LinearLength, ValidatedLength
from worldmodels.behaviours.lengths import open_loop_error
from worldmodels.types import ActionSpace, Batch
from worldmodels.world_model import Observed


def test_a_linear_length_grows_between_two_updates():
    length = LinearLength(first=1, last=5, begin=100, end=200)
    assert [length(update) for update in (0, 100, 125, 150, 200, 999)] == [1, 1, 2, 3, 5, 5]
    shrinks = LinearLength(first=5, last=1, begin=0, end=4)
    assert [shrinks(update) for update in range(6)] == [5, 4, 3, 2, 1, 1]


def test_a_validated_length_stops_before_the_first_step_that_is_too_wrong():
    length = ValidatedLength(longest=4, tolerance=0.2)
    assert length(0) == 1
    length.update(torch.tensor([0.1, 0.2, 0.3, 0.1]))
    assert length(0) == 2
    again = ValidatedLength(longest=4, tolerance=0.2)
    again.load_state_dict(length.state_dict())
    assert again(0) == 2
    length.update(torch.tensor([0.9, 0.1, 0.1, 0.1]))
    assert length(0) == 1


def walked(places, first):
    """A sequence of places on the chain, one row a step, always by choice 1."""
    steps = len(places)
    flags = torch.zeros(1, steps, dtype=torch.bool)
    action = torch.eye(2)[torch.ones(1, steps, dtype=torch.int64)]
    obs = torch.zeros(1, steps, 3, 16, 16, dtype=torch.uint8)
    return Batch(obs, action, torch.zeros(1, steps), torch.tensor([first]), flags)


def test_the_open_loop_error_is_the_fraction_of_variance_unexplained():
    model = chain()
    # What really happens: every other step to the right fails, which the model does not know.
    recorded = torch.eye(6)[torch.tensor([[0, 1, 1, 2, 2]])]
    batch = walked(range(5), [True, False, False, False, False])
    posterior = Place(recorded)
    model.observe = lambda *arguments: Observed(recorded, posterior, posterior, recorded)
    # From 0 it expects 1, 2 and 1, 1 is recorded; twice from 1 it expects 2, 3 for 1, 2 and 2, 2.
    after = torch.eye(6)[torch.tensor([[1, 1], [1, 2], [2, 2]])]
    variance = (after - after.mean((0, 1))).square().sum(-1).mean()
    expected = torch.tensor([0 + 2 + 0, 2 + 2 + 2]) / 3 / variance
    torch.testing.assert_close(open_loop_error(model, batch, 2), expected)


def test_the_open_loop_error_skips_resets_and_says_when_nothing_is_left():
    model = chain()
    batch = walked(range(4), [False, False, True, False])
    with pytest.raises(ValueError, match="no sequence of 4 rows has 2 steps without a reset"):
        open_loop_error(model, batch, 2)
    assert open_loop_error(model, batch, 1).shape == (1,)


def test_the_length_follows_validation():
    behaviour = MBPO(6, ActionSpace(2, True), DQN, partial(ValidatedLength, 2, tolerance=0.5))
    assert behaviour.validates
    assert not MBPO(6, ActionSpace(2, True), DQN).validates
    model = chain()
    batch = walked(range(4), [True, False, False, False])
    # The stub believes its own predictions: no error at all.
    logged = behaviour.validate(model, batch)
    assert behaviour.length(0) == 2
    assert {name: value.item() for name, value in logged.items()} == {
        "open_loop_error/1": 0,
        "open_loop_error/2": 0,
    }
