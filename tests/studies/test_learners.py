import numpy as np
import pytest
import torch

from worldmodels.studies.any_learner import LEARNERS, AnyLearner, model_free, with_model
from worldmodels.studies.augmentation import EVERY, FULL, MORE, START, TWIN, Augmentation
from worldmodels.studies.dreaming import Remembered
from worldmodels.studies.learners import RETURN, ChoiceBox, QuickBox, Wanderer, some
from worldmodels.studies.results import Results
from worldmodels.studies.rollout_length import AUTOMATIC, LENGTHS, RolloutLengths, fixed
from worldmodels.types import Batch


def passed(study, arms):
    seeds = [{arm: {RETURN: value + seed} for arm, value in arms.items()} for seed in range(2)]
    return [check.passed for check in study.verdict(Results(seeds))]


def test_augmentation_asks_for_an_order_and_a_fifth_of_the_steps():
    arms = {EVERY: 20.0, START: 12.0, FULL: 9.0, TWIN: 11.0, MORE: 18.0}
    assert passed(Augmentation(), arms) == [True, True, True]
    assert passed(Augmentation(), arms | {FULL: 13.0, MORE: 21.0}) == [True, False, False]
    assert passed(Augmentation(), arms | {START: 20.5}) == [False, True, True]


def test_rollout_length_asks_for_an_inner_best_and_an_automatic_one_near_it():
    arms = {fixed(n): value for n, value in zip(LENGTHS, [10.0, 15.0, 19.5, 14.0, 8.0])}
    # Means are half above: the best is 20, 95 % of it 19.
    assert passed(RolloutLengths(), arms | {AUTOMATIC: 18.6}) == [True, True]
    assert passed(RolloutLengths(), arms | {AUTOMATIC: 18.4}) == [True, False]
    assert passed(RolloutLengths(), arms | {fixed(1): 20.0, AUTOMATIC: 20.0}) == [False, True]


def test_any_learner_asks_each_to_beat_its_own_twin():
    arms = {with_model(name): 10.0 for name in LEARNERS}
    twins = {model_free(name): value for name, value in zip(LEARNERS, [9.0, 10.0, 11.0])}
    assert passed(AnyLearner(), arms | twins) == [True, False, False]


def test_choices_push_like_the_numbers_they_stand_for():
    choices, box = ChoiceBox(), QuickBox()
    state = box.reset(np.random.default_rng(0), 5)
    pushed = choices.step(state, np.arange(5))
    same = box.step(state, np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]], dtype=float))
    assert np.array_equal(pushed.state.position, same.state.position)
    assert np.array_equal(pushed.reward, same.reward)


@pytest.mark.parametrize("world", [QuickBox, ChoiceBox])
def test_a_wanderer_repeats_an_action_half_of_the_time_until_the_episode_ends(world):
    wanderer, obs = Wanderer(world.action_space), torch.zeros(400, 3, 1, 1, dtype=torch.uint8)
    first, later = torch.ones(400, dtype=torch.bool), torch.zeros(400, dtype=torch.bool)
    _, state = wanderer.act(obs, first, wanderer.initial(400, 3))
    action, after = wanderer.act(obs, later, state)
    repeated = (action.numpy() == state.heading.astype(np.float32)).all(1).mean()
    chance = 1 / 5 if world is ChoiceBox else 0
    assert repeated == pytest.approx(0.5 + 0.5 * chance, abs=0.08)
    assert np.array_equal(after.heading, state.heading)
    assert not np.array_equal(wanderer.act(obs, first, after)[1].heading, state.heading)


def test_some_sequences_are_halves_whose_states_belong_to_their_rows():
    number = torch.arange(24.0).reshape(3, 8)
    batch = Batch(*(number for _ in Batch._fields))
    # A state is any named tuple of tensors.
    state = Batch(*(10 * number for _ in Batch._fields))
    torch.manual_seed(0)
    drawn = some(Remembered(batch, state), 200)
    assert drawn.batch.reward.shape == (200, 4)
    assert torch.equal(drawn.posterior.reward, 10 * drawn.batch.reward)
    assert (drawn.batch.reward.diff(dim=1) == 1).all()
    # All halves come up: of each of the three sequences, from each of the five rows.
    assert len(drawn.batch.reward[:, 0].unique()) == 15
