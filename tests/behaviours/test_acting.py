"""Acting by policy, by planner and by both, in a world where every answer is known."""

from functools import partial

import pytest
import torch
from known_worlds import SHAPE, chain
from torch import Tensor

from worldmodels.agent import Agent
from worldmodels.behaviours.base import Behaviour
from worldmodels.checkpoint import build_agent
from worldmodels.nn.distributions import OneHotStraightThrough
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import MPC, RandomShooting
from worldmodels.planning.base import Plan, Planner
from worldmodels.types import ActionSpace
from worldmodels.world_model import LatentModel

CHOICES = ActionSpace(2, True)
LEFT, RIGHT = torch.eye(2)


class Opinion(Behaviour):
    """Goes right with probability 3/4, and gives place 2 the value 10."""

    def __init__(self):
        super().__init__()
        self.logits = torch.tensor([0.25, 0.75]).log()

    def loss(self, world_model, batch, posterior):
        raise AssertionError("acting learns nothing")

    def policy(self, feature):
        return OneHotStraightThrough(self.logits.expand(*feature.shape[:-1], 2))

    def value(self, feature: Tensor) -> Tensor:
        return 10 * feature[..., 2]

    def parameter_groups(self):
        return []


class Witness(Planner):
    """Scores the proposals, keeps them and executes the best."""

    def plan(self, score, state, init, generator=None, proposals=None):
        self.proposals, self.scores = proposals, score(state, proposals)
        best = self.scores.argmax(1)
        actions = proposals[torch.arange(len(best)), best]
        return Plan(actions, actions, self.scores.max(1).values, 1, proposals[:, :0])


def shooting():
    return RandomShooting(CHOICES, horizon=2, candidates=64)


def agent(actor, noise=0.0):
    return Agent(chain(0.8), actor, noise).eval()


def decide(acting, rows=1, explore=False, seed=0):
    obs = torch.zeros(rows, *SHAPE, dtype=torch.uint8)
    return acting.act(obs, torch.ones(rows, dtype=torch.bool), acting.initial(rows, seed), explore)


def test_an_agent_knows_its_behaviour_whether_it_acts_or_guides():
    opinion = Opinion()
    policy, planner = agent(opinion), agent(MPC(shooting()))
    guided = agent(MPC(shooting(), guide=opinion))
    assert policy.behaviour is opinion
    assert planner.behaviour is None
    assert guided.behaviour is opinion
    names = [each.actor.name for each in (policy, planner, guided)]
    assert names == ["policy", "planner", "guided planner"]


def test_a_behaviour_acts_alone_and_guides_a_planner_beside_it():
    def build(**parts):
        def model(obs_shape, space):
            return chain(0.8)

        return build_agent(SHAPE, CHOICES, model, **parts).actor

    def behaviour(feature_dim, space):
        return Opinion()

    def planner(space):
        return shooting()

    assert build().name == "planner"
    assert build(planner=planner).name == "planner"
    assert build(behaviour=behaviour).name == "policy"
    assert build(behaviour=behaviour, planner=planner).name == "guided planner"


def test_the_planner_alone_sees_only_its_horizon():
    # Two steps from place 0: only the 0.1 for staying.
    action, state = decide(agent(MPC(shooting())))
    assert torch.equal(action[0], LEFT)
    assert state.actor.value.item() == pytest.approx(0.1 + 0.8 * 0.1)


def test_the_value_at_the_horizon_changes_the_decision():
    # Right and right again reaches place 2: 0.64 * 10 against 0.1 + 0.08.
    action, state = decide(agent(MPC(shooting(), guide=Opinion())))
    assert torch.equal(action[0], RIGHT)
    assert state.actor.value.item() == pytest.approx(6.4)


def test_the_policys_rollouts_join_the_candidates():
    witness = Witness(CHOICES, 2)
    decide(agent(MPC(witness, guide=Opinion(), proposals=64)), rows=2)
    assert witness.proposals.shape == (2, 64, 2, 2)
    share = witness.proposals[..., 1].mean().item()
    assert share == pytest.approx(0.75, abs=0.1)
    twice = witness.proposals[..., 1].sum(-1) == 2
    torch.testing.assert_close(witness.scores[twice], torch.full((int(twice.sum()),), 6.4))


def test_the_guided_planner_works_without_proposals():
    action, _ = decide(agent(MPC(shooting(), guide=Opinion(), proposals=0)))
    assert torch.equal(action[0], RIGHT)


def test_the_policy_acts_by_its_mode_and_explores_by_sampling():
    acting = agent(Opinion())
    assert torch.equal(decide(acting, rows=50)[0], RIGHT.expand(50, 2))
    share = decide(acting, rows=4000, explore=True)[0][:, 1].mean().item()
    assert share == pytest.approx(0.75, abs=0.03)
    # Noise comes on top: half of the actions are drawn evenly.
    noisy = decide(agent(Opinion(), noise=0.5), rows=4000, explore=True)[0]
    assert noisy[:, 1].mean().item() == pytest.approx(0.5 * 0.75 + 0.5 * 0.5, abs=0.03)


def test_a_policy_acts_without_a_world_model_and_a_planner_does_not():
    model = LatentModel(SHAPE, CHOICES, partial(ConvEncoder, depth=2))
    assert torch.equal(decide(Agent(model, Opinion(), 0.0).eval())[0][0], RIGHT)
    with pytest.raises(ValueError, match="LatentModel predicts nothing, so nothing can plan in it"):
        Agent(model, MPC(shooting()))


def test_negative_proposals_are_refused():
    with pytest.raises(ValueError, match="proposals=-1: choose 0 or more"):
        MPC(shooting(), guide=Opinion(), proposals=-1)
