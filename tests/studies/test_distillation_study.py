import time

import pytest
import torch

from worldmodels.agent import Agent
from worldmodels.behaviours.base import StartStates
from worldmodels.dynamics import GaussianRSSM
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC
from worldmodels.studies.distillation import (
    BLIND,
    CHEAPER,
    CLONE,
    DECOY,
    HEIR,
    PLANNER,
    RETURN,
    STUDENT,
    TREASURE,
    DistillationStudy,
    decision_ms,
    nothing,
)
from worldmodels.studies.dreaming import Pupil
from worldmodels.studies.results import Results
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel


def tiny_model():
    torch.manual_seed(0)
    return WorldModel(
        (3, 64, 64),
        ActionSpace(4, True),
        encoder=lambda shape: ConvEncoder(shape, depth=2, downscale=8),
        decoder=lambda size, shape: ConvDecoder(size, shape, depth=2, upscale=8),
        dynamics=lambda embed, action: GaussianRSSM(embed, action, stoch=2, deter=4, hidden=4),
    )


def pupil(model, guide):
    return Pupil(model, CEM(model.action_space, 2, 64, 2, 8), guide, every=5, lessons=16)


def test_the_teacher_follows_the_value_that_it_is_given():
    model = tiny_model()
    state = model.dynamics.initial(1)
    teacher = pupil(model, lambda feature: 100 * feature[..., 0])
    with torch.no_grad():
        # Rewards of an untrained model are 0: only the value tells the plans apart.
        label = teacher.teach(model, StartStates(state, torch.ones(1))).action[0].argmax()
        plans = torch.eye(4)[torch.cartesian_prod(torch.arange(4), torch.arange(4))][None]
        deter = torch.stack(
            [
                s.deter[:, 0]
                for s in model.dynamics.unroll(model.dynamics.spread(state, 16), plans[0])
            ]
        )[-1]
    assert label == deter.argmax() // 4


def test_without_a_value_all_plans_of_an_untrained_model_are_equal():
    model = tiny_model()
    assert torch.equal(nothing(torch.rand(2, 3, 5)), torch.zeros(2, 3))
    blind = pupil(model, nothing)
    assert torch.equal(blind.value(torch.rand(3, 6)), torch.zeros(3))


def test_the_students_value_is_not_the_teachers():
    model = tiny_model()
    taught = pupil(model, nothing)
    learned = {id(p) for group in taught.parameter_groups() for p in group.parameters}
    assert {id(p) for p in taught.actor.parameters()} <= learned


def test_nothing_is_learned_about_a_value_that_is_given():
    model = tiny_model()
    state = model.dynamics.initial(3)
    taught = pupil(model, nothing)
    loss = taught.value_loss(model, StartStates(state, torch.ones(3)))
    assert loss.item() == 0.0
    assert not loss.requires_grad


def test_a_lesson_has_as_many_states_as_asked_for():
    model = tiny_model()
    taught = Pupil(model, CEM(model.action_space, 2, 8, 1, 2), nothing, every=5, lessons=6)
    with torch.no_grad():
        labels = taught.teach(model, StartStates(model.dynamics.initial(9), torch.ones(9)))
    assert len(labels.action) == 6


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
        HEIR: {TREASURE: treasure, DECOY: decoy},
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
