import time
from functools import partial

import pytest
import torch

from worldmodels.agent import Agent
from worldmodels.behaviours import Distillation
from worldmodels.behaviours.base import StartStates
from worldmodels.dynamics import GaussianRSSM
from worldmodels.envs.make import make_env
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC
from worldmodels.replay.collect import RandomAgent, collect_episodes
from worldmodels.replay.store import DatasetSpec, EpisodeStore
from worldmodels.studies.distillation import (
    BLIND,
    BLIND_STUDENT,
    CHEAPER,
    CLONE,
    DECOY,
    PLANNER,
    RETURN,
    STUDENT,
    TREASURE,
    DistillationStudy,
    decision_ms,
)
from worldmodels.studies.fitted_value import FittedValue
from worldmodels.studies.results import Results
from worldmodels.studies.students import Queries, Source, fitted_value, student
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel


def tiny_model():
    torch.manual_seed(0)
    return WorldModel(
        (3, 64, 64),
        ActionSpace(4, True),
        encoder=partial(ConvEncoder, depth=2, downscale=8),
        decoder=partial(ConvDecoder, depth=2, upscale=8),
        dynamics=partial(GaussianRSSM, stoch=2, deter=4, hidden=4),
    )


PLANNER_OF_TWO = partial(CEM, horizon=2, candidates=64, iterations=2, elites=8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Four random episodes of the maze, and an untrained model of it."""
    folder = tmp_path_factory.mktemp("maze")
    env = make_env("worldmodels/DetourMaze-v0", 4, time_limit=6)
    store = EpisodeStore(folder / "data", DatasetSpec.of(env))
    agent = RandomAgent(env.action_space)
    collect_episodes(env, agent, 4, 0, True, "random", 0, store.append)
    store.close()
    return Source(folder, tiny_model(), folder / "data", sequences=1, seed=0)


def digest(module):
    return [parameter.detach().clone() for parameter in module.parameters()]


def same(before, after):
    return all(torch.equal(*pair) for pair in zip(before, after, strict=True))


@pytest.fixture(scope="module")
def value(source):
    return fitted_value(source, updates=2)


@pytest.fixture(scope="module")
def taught(source, value):
    queries = Queries(rounds=2, states=6)
    return student(source, "taught", PLANNER_OF_TWO, 4, queries, value.critic)


def test_the_teacher_follows_the_value_that_it_is_given():
    model = tiny_model()
    state = model.dynamics.initial(1)
    teacher = Distillation(model.feature_dim, model.action_space, PLANNER_OF_TWO)
    teacher.value = lambda feature: 100 * feature[..., 0]
    with torch.no_grad():
        # Rewards of an untrained model are 0: only the value tells the plans apart.
        labels = teacher.query_teacher(model, StartStates(state, torch.ones(1)))
        plans = torch.eye(4)[torch.cartesian_prod(torch.arange(4), torch.arange(4))]
        starts = model.dynamics.plan_starts(state, 16)
        deter = model.dynamics.predict(starts, plans, 16).deter[:, -1, 0]
    assert labels.action[0].argmax() == deter.argmax() // 4


def test_a_value_and_a_student_learn_inside_the_model_which_stays_as_it_is(source, value, taught):
    assert same(digest(tiny_model()), digest(source.model))
    torch.manual_seed(0)
    for learned, untrained in (
        (value.critic.head, FittedValue(6, source.model.action_space).critic.head),
        (taught.actor, Distillation(6, source.model.action_space, hidden=128).actor),
    ):
        assert not same(digest(learned), digest(untrained))


def test_the_student_is_asked_as_often_and_in_as_many_states_as_was_said(taught):
    # Two rounds of queries in four updates, in six states each.
    assert taught.query_every == 2
    assert taught.memory.written == 12


def test_the_students_value_is_the_given_one_and_does_not_learn(value, taught):
    feature = torch.rand(5, 6)
    assert torch.equal(taught.value(feature), value.value(feature))
    assert same(digest(taught.critic.head), digest(value.critic.head))


def test_without_a_value_it_is_0_everywhere(source):
    blind = student(source, "blind", PLANNER_OF_TWO, 1, Queries(1, 2))
    assert blind.value(torch.rand(3, 6)).abs().max() < 1e-6


class Slow(Agent):
    """Works for four milliseconds at every decision, and then waits for others."""

    def act(self, obs, is_first, state, explore=False):
        start = time.process_time()
        while time.process_time() - start < 0.004:
            pass
        time.sleep(0.05)
        return torch.zeros(len(obs), 4), state


def test_a_decision_costs_what_it_works_from_frame_to_action_and_not_what_it_waits():
    model = tiny_model()
    agent = Slow(model, MPC(CEM(model.action_space, 2, 8, 1, 2)))
    assert 4.0 <= decision_ms(agent, 5) < 40.0


def judged(planner, returned, cheaper, treasure, decoy):
    numbers = {
        PLANNER: {TREASURE: planner, RETURN: 10.0},
        STUDENT: {RETURN: returned, CHEAPER: cheaper},
        CLONE: {RETURN: 0.0},
        BLIND: {TREASURE: 0.0},
        BLIND_STUDENT: {TREASURE: treasure, DECOY: decoy},
    }
    return [check.passed for check in DistillationStudy().verdict(Results([numbers]))]


@pytest.mark.parametrize(
    ("numbers", "passed"),
    [
        ((0.9, 9.5, 100.0, 0.0, 0.9), [True] * 5),
        ((0.8, 9.4, 99.0, 0.1, 0.8), [False] * 5),
        ((1.0, 10.0, 20.0, 0.0, 1.0), [True, True, False, True, True]),
    ],
)
def test_each_condition_of_the_rule_can_fail(numbers, passed):
    assert judged(*numbers) == passed
