"""Acting by planner, by policy and by both, in a world where every answer is known."""

import pytest
import torch
from known_worlds import SHAPE, chain
from torch import Tensor

from worldmodels.agent import Agent, ByGuidedPlanner, ByPlanner, ByPolicy
from worldmodels.behaviours.base import Behaviour
from worldmodels.nn.distributions import OneHotStraightThrough
from worldmodels.planning import MPC, RandomShooting
from worldmodels.planning.base import Plan, Planner
from worldmodels.types import ActionSpace

CHOICES = ActionSpace(2, True)
LEFT, RIGHT = torch.eye(2)


class Opinion(Behaviour):
    """Goes right with probability 3/4, and finds place 2 value 10."""

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
    """Scores the proposals, keeps what it saw and executes the best."""

    def __init__(self):
        super().__init__(CHOICES, 2, 100)

    def plan(self, score, init, generator=None, proposals=None):
        self.proposals, self.scores = proposals, score(proposals)
        best = self.scores.argmax(1)
        actions = proposals[torch.arange(len(best)), best]
        return Plan(actions, actions, self.scores.max(1).values, 1, proposals[:, :0])


def agent(acting=None, planner=None, behaviour=None, noise=0.0):
    shooting = RandomShooting(CHOICES, horizon=2, candidates=64)
    return Agent(chain(0.8), MPC(planner or shooting), noise, behaviour, acting).eval()


def decide(actor, rows=1, explore=False, seed=0):
    obs = torch.zeros(rows, *SHAPE, dtype=torch.uint8)
    return actor.act(obs, torch.ones(rows, dtype=torch.bool), actor.initial(rows, seed), explore)


def test_a_behaviour_acts_when_there_is_one_and_the_planner_otherwise():
    assert type(agent().acting) is ByPlanner
    assert type(agent(behaviour=Opinion()).acting) is ByPolicy


def test_the_planner_alone_sees_only_its_horizon():
    # Two steps from place 0: only the 0.1 for staying.
    assert torch.equal(decide(agent(ByPlanner(), behaviour=Opinion()))[0][0], LEFT)


def test_the_value_at_the_horizon_changes_the_decision():
    # Right and right again reaches place 2: 0.64 * 10 against 0.1 + 0.08.
    action, state = decide(agent(ByGuidedPlanner(), behaviour=Opinion()))
    assert torch.equal(action[0], RIGHT)
    assert state.plan.value.item() == pytest.approx(6.4)


def test_the_policys_rollouts_join_the_candidates():
    witness = Witness()
    decide(agent(ByGuidedPlanner(proposals=64), witness, Opinion()), rows=2)
    assert witness.proposals.shape == (2, 64, 2, 2)
    share = witness.proposals[..., 1].mean().item()
    assert share == pytest.approx(0.75, abs=0.1)
    twice = witness.proposals[..., 1].sum(-1) == 2
    torch.testing.assert_close(witness.scores[twice], torch.full((int(twice.sum()),), 6.4))


def test_the_guided_planner_works_without_proposals():
    assert torch.equal(decide(agent(ByGuidedPlanner(0), behaviour=Opinion()))[0][0], RIGHT)


def test_the_policy_acts_by_its_mode_and_explores_by_sampling():
    actor = agent(behaviour=Opinion())
    assert torch.equal(decide(actor, rows=50)[0], RIGHT.expand(50, 2))
    share = decide(actor, rows=4000, explore=True)[0][:, 1].mean().item()
    assert share == pytest.approx(0.75, abs=0.03)
    # Noise comes on top: half of the actions are drawn evenly.
    noisy = decide(agent(behaviour=Opinion(), noise=0.5), rows=4000, explore=True)[0]
    assert noisy[:, 1].mean().item() == pytest.approx(0.5 * 0.75 + 0.5 * 0.5, abs=0.03)


@pytest.mark.parametrize("acting", [ByPolicy(), ByGuidedPlanner()])
def test_acting_by_a_behaviour_needs_one(acting):
    with pytest.raises(ValueError, match="needs a behaviour: give --behaviour ActorCritic"):
        agent(acting)


def test_negative_proposals_are_refused():
    with pytest.raises(ValueError, match="proposals=-1: choose 0 or more"):
        ByGuidedPlanner(-1)
