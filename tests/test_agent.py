"""From a frame to an action: what is remembered, what is random, and what is reset."""

from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from worldmodels import precision
from worldmodels.agent import Agent, ByGuidedPlanner, ByPlanner, rounded_score
from worldmodels.behaviours import ActorCritic
from worldmodels.dynamics import Dynamics, EnsembleRSSM, GaussianRSSM
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.objectives import Minimum
from worldmodels.planning import CEM
from worldmodels.planning.mpc import MPC
from worldmodels.rollout import PlanScore
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

SHAPE, SPACE = (3, 16, 16), ActionSpace(1, False)


class Position(NamedTuple):
    x: Tensor


class Walk(Dynamics):
    """x moves by the action, and frames are ignored: the latent adds up what the agent did."""

    def __init__(self, embed_dim, action_dim):
        super().__init__()
        self.feature_dim = 1

    def initial(self, batch):
        return Position(torch.zeros(batch, 1))

    def prior(self, state, action):
        return Position(state.x + action)

    def posterior(self, prior, embed):
        return prior

    def kl(self, posterior, prior):
        return posterior.x[..., 0] * 0

    def feature(self, state):
        return state.x


def agent_with(dynamics, noise=0.3, replan_every=1, space=SPACE):
    torch.manual_seed(0)
    model = WorldModel(
        SHAPE,
        space,
        encoder=partial(ConvEncoder, depth=2),
        decoder=partial(ConvDecoder, depth=2),
        dynamics=dynamics,
    )
    planner = CEM(space, horizon=3, candidates=8, iterations=2, elites=3)
    return Agent(model, MPC(planner, replan_every), noise).eval()


RSSM = partial(GaussianRSSM, stoch=4, deter=8, hidden=8)


def frames(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, *SHAPE), generator=generator).to(torch.uint8)


def flags(*values):
    return torch.tensor(values, dtype=torch.bool)


def assert_rows_equal(state, row, single):
    """Row ``row`` of a state is what ``single`` holds."""
    for both, alone in zip(state.latent, single.latent):
        torch.testing.assert_close(both[row], alone[0])
    torch.testing.assert_close(state.action[row], single.action[0])
    for name in ("params", "actions", "elites", "remaining", "value"):
        both, alone = getattr(state.plan, name), getattr(single.plan, name)
        torch.testing.assert_close(both[row], alone[0])


@pytest.mark.parametrize("explore", [False, True])
def test_the_same_state_and_frames_give_the_same_action(explore):
    agent = agent_with(RSSM)
    _, state = agent.act(frames(2), flags(1, 1), agent.initial(2, seed=3), explore)
    torch.manual_seed(1)
    first, after = agent.act(frames(2, 1), flags(0, 0), state, explore)
    torch.manual_seed(2)
    again, after_again = agent.act(frames(2, 1), flags(0, 0), state, explore)
    assert torch.equal(first, again)
    assert torch.equal(after.latent.stoch, after_again.latent.stoch)


@pytest.mark.parametrize("native", [False, True])
def test_plans_are_scored_in_bfloat16_where_there_is_much_to_multiply(native, monkeypatch):
    monkeypatch.setattr(precision, "has_bfloat16_units", lambda: native)
    model = agent_with(RSSM).world_model
    rows = -(-precision.LEAST_WORK // model.dynamics.feature_dim**2)

    def rounds(batch, plans, rollouts=1):
        def score(actions):
            return torch.full(actions.shape[:2], float(torch.is_autocast_enabled("cpu")))

        ask = rounded_score(model, PlanScore(score, rollouts))
        return bool(ask(torch.zeros(batch, plans, 3, 1)).all())

    assert not rounds(1, rows - 1)
    assert rounds(1, rows) == native
    assert rounds(2, rows // 2 + 1) == native
    assert rounds(1, rows // 3 + 1, rollouts=3) == native


def test_the_planner_scores_by_the_chosen_aggregation():
    shapes = []

    class Seen(Minimum):
        def __call__(self, returns):
            shapes.append(tuple(returns.shape))
            return super().__call__(returns)

    agent = agent_with(Walk)
    agent.acting = ByPlanner(aggregation=Seen())
    agent.act(frames(2), flags(True, True), agent.initial(2, seed=0))
    assert {shape[0] for shape in shapes} == {2}
    assert {shape[2] for shape in shapes} == {1}


@pytest.mark.parametrize("acting", [ByPlanner(), ByGuidedPlanner(proposals=2)])
def test_the_memory_cap_counts_every_particle(acting, monkeypatch):
    dynamics = partial(EnsembleRSSM, members=3, stoch=4, deter=8, hidden=8)
    model = agent_with(dynamics).world_model
    planner = CEM(SPACE, 3, candidates=8, iterations=2, elites=3, max_candidates_per_call=12)
    behaviour = ActorCritic(model.dynamics.feature_dim, SPACE, hidden=8)
    agent = Agent(model, MPC(planner), behaviour=behaviour, acting=acting).eval()
    asked, score = [], model.score
    monkeypatch.setattr(model, "score", lambda *a: (asked.append(a[1].shape), score(*a))[1])
    _, after = agent.act(frames(2), torch.ones(2, dtype=torch.bool), agent.initial(2, 0))
    assert max(shape[0] * shape[1] * 3 for shape in asked) == 12
    assert after.plan.evaluations.tolist() == [sum(shape[1] for shape in asked)] * 2
