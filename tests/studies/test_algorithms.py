from functools import partial

import numpy as np
import pytest
import torch

from worldmodels.behaviours import MBPO, PPO
from worldmodels.replay.store import EpisodeStore
from worldmodels.studies.algorithms import (
    RETURN,
    SAC_SMALL,
    STEPS,
    ChoiceBox,
    QuickBox,
    Wanderer,
    box,
    learn_augmented,
    learn_model,
    learn_model_free,
    learn_on_policy,
    record,
)
from worldmodels.studies.any_learner import ALGORITHMS, AnyLearner, model_free, with_model
from worldmodels.studies.augmentation import EVERY, FREE, FULL, MORE, START, Augmentation
from worldmodels.studies.results import Results
from worldmodels.studies.rollout_length import AUTOMATIC, LENGTHS, RolloutLengths, fixed


def passed(study, variants):
    seeds = [
        {variant: {RETURN: value + seed} for variant, value in variants.items()}
        for seed in range(2)
    ]
    return [check.passed for check in study.verdict(Results(seeds))]


def test_augmentation_asks_for_an_order_and_a_fifth_of_the_steps():
    variants = {EVERY: 20.0, START: 12.0, FULL: 9.0, FREE: 11.0, MORE: 18.0}
    assert passed(Augmentation(), variants) == [True, True, True]
    assert passed(Augmentation(), variants | {FULL: 13.0, MORE: 21.0}) == [True, False, False]
    assert passed(Augmentation(), variants | {START: 20.5}) == [False, True, True]


def test_rollout_length_asks_for_an_inner_best_and_an_automatic_one_near_it():
    variants = {fixed(n): value for n, value in zip(LENGTHS, [10.0, 15.0, 19.5, 14.0, 8.0])}
    # Means are half above: the best is 20, 95 % of it 19.
    assert passed(RolloutLengths(), variants | {AUTOMATIC: 18.6}) == [True, True]
    assert passed(RolloutLengths(), variants | {AUTOMATIC: 18.4}) == [True, False]
    assert passed(RolloutLengths(), variants | {fixed(1): 20.0, AUTOMATIC: 20.0}) == [False, True]


def test_any_learner_asks_each_to_beat_its_own_baseline():
    variants = {with_model(name): 10.0 for name in ALGORITHMS}
    baselines = {model_free(name): value for name, value in zip(ALGORITHMS, [9.0, 10.0, 11.0])}
    assert passed(AnyLearner(), variants | baselines) == [True, False, False]


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


def digest(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(before, after):
    return all(torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Ten episodes of a wanderer, and a model of them after two updates."""
    folder = tmp_path_factory.mktemp("recorded")
    data = record(folder / "data", QuickBox, 10, seed=0)
    return data, learn_model(folder / "model", data, box(QuickBox, 1), 2, seed=0)


def test_an_algorithm_learns_inside_the_model_which_stays_as_it_is(recorded, tmp_path):
    data, model = recorded
    before, mean = digest(model), model.pixels.mean.clone()
    behaviour = partial(MBPO, algorithm=SAC_SMALL, real_ratio=0.1, starts=4)
    once, again = (
        learn_augmented(tmp_path / name, data, model, behaviour, 2, seed=3) for name in "ab"
    )
    assert same(before, digest(model))
    assert torch.equal(model.pixels.mean, mean)
    untrained = behaviour(model.feature_dim, model.action_space)
    assert not same(digest(untrained.algorithm.actor), digest(once.behaviour.algorithm.actor))
    # The seed decides everything, the first weights included.
    assert same(digest(once.behaviour), digest(again.behaviour))
    assert once.actor is once.behaviour


def test_a_model_free_agent_learns_its_encoder_from_the_same_episodes(recorded, tmp_path):
    data, _ = recorded
    one, two = (
        learn_model_free(tmp_path / str(n), data, box(QuickBox, 1), SAC_SMALL, n, seed=3)
        for n in (1, 2)
    )
    assert not same(digest(one.world_model.encoder), digest(two.world_model.encoder))


def test_on_policy_learning_records_a_round_of_its_own_episodes_at_a_time(tmp_path):
    env = box(ChoiceBox, 2)
    learn_on_policy(tmp_path / "own", env, partial(PPO, hidden=4), rounds=3, updates=2, seed=0)
    episodes = list(EpisodeStore(tmp_path / "own" / "replay"))
    assert [episode.rows for episode in episodes] == [STEPS + 1] * 6
    # The first round is random, as an untrained policy is.
    assert [e.policy for e in episodes] == ["random"] * 2 + ["policy"] * 4
