"""From a frame to an action: what is remembered, what is random, and what is reset."""

from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from worldmodels.agent import Agent, explored
from worldmodels.behaviours import ActorCritic
from worldmodels.dynamics import Dynamics, EnsembleRSSM, GaussianRSSM
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC
from worldmodels.planning.objectives import ActionCost, FeatureObjective, Minimum
from worldmodels.types import ActionSpace
from worldmodels.world_model import LatentModel, WorldModel

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
    return Agent(model, MPC(planner, replan_every=replan_every), noise).eval()


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
        both, alone = getattr(state.actor, name), getattr(single.actor, name)
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


def test_noise_differs_from_step_to_step_and_from_seed_to_seed():
    agent = agent_with(RSSM)
    state = agent.initial(1, seed=3)
    others = [state._replace(step=1), state._replace(seed=4)]
    stochs = [agent.act(frames(1), flags(1), s)[1].latent.stoch for s in (state, *others)]
    assert not torch.equal(stochs[0], stochs[1])
    assert not torch.equal(stochs[0], stochs[2])
    assert not torch.equal(stochs[1], stochs[2])


def test_acting_leaves_the_global_generator_as_it_was():
    agent = agent_with(RSSM)
    state = agent.initial(1, seed=0)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    agent.act(frames(1), flags(1), state, explore=True)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("explore", [False, True])
def test_the_filter_uses_the_action_that_was_taken(explore):
    agent = agent_with(Walk)
    state = agent.initial(2, seed=0)
    expected = torch.zeros(2, 1)
    for t in range(4):
        action, state = agent.act(frames(2, t), flags(t == 0, t == 0), state, explore)
        torch.testing.assert_close(state.latent.x, expected)
        assert torch.equal(state.action, action)
        expected = expected + action
    assert state.step == 4
    assert (expected != 0).all()


def test_a_reset_forgets_latent_action_and_plan_of_that_row_only():
    agent = agent_with(Walk, replan_every=3)
    state = agent.initial(2, seed=0)
    _, state = agent.act(frames(2), flags(1, 1), state)
    taken = state.action
    plan = state.actor.actions.clone()
    action, state = agent.act(frames(2), flags(1, 0), state)
    torch.testing.assert_close(state.latent.x, torch.stack([torch.zeros(1), taken[1]]))
    # Row 0 has a new plan with two steps left, row 1 goes on with the old one.
    assert state.actor.remaining.tolist() == [2, 1]
    assert torch.equal(action[1], plan[1, 0])
    assert not torch.equal(action[0], plan[0, 0])


def test_after_a_reset_nothing_of_the_episode_before_is_left():
    agent = agent_with(Walk)
    fresh = agent.initial(1, seed=0)._replace(step=2)
    used = agent.initial(1, seed=0)
    for t in range(2):
        _, used = agent.act(frames(1, t), flags(t == 0), used)
    action, state = agent.act(frames(1, 9), flags(1), used)
    expected, single = agent.act(frames(1, 9), flags(1), fresh)
    assert torch.equal(action, expected)
    assert_rows_equal(state, 0, single)


def test_a_batch_of_two_equals_two_singles():
    agent = agent_with(Walk, replan_every=2)
    resets = [flags(1, 1), flags(0, 0), flags(0, 1), flags(0, 0), flags(1, 0)]
    both = agent.initial(2, seed=0)
    singles = [agent.initial(1, seed=0) for _ in range(2)]
    for t, reset in enumerate(resets):
        obs = frames(2, t)
        action, both = agent.act(obs, reset, both)
        for row in range(2):
            part = slice(row, row + 1)
            alone, singles[row] = agent.act(obs[part], reset[part], singles[row])
            torch.testing.assert_close(action[row], alone[0])
            assert_rows_equal(both, row, singles[row])


def test_continuous_noise_has_its_width_and_stays_inside_the_bounds():
    torch.manual_seed(0)
    noisy = explored(torch.full((20_000, 1), 0.2), ActionSpace(1, False), 0.1)
    assert abs(noisy.mean() - 0.2) < 0.005
    assert abs(noisy.std() - 0.1) < 0.005
    wild = explored(torch.full((1000, 2), 0.9), ActionSpace(2, False), 5.0)
    assert (wild.min(), wild.max()) == (-1, 1)


def test_noise_replaces_its_share_of_discrete_choices():
    torch.manual_seed(0)
    action = torch.zeros(20_000, 4)
    action[:, 2] = 1
    noisy = explored(action, ActionSpace(4, True), 0.4)
    assert torch.equal(noisy.sum(-1), torch.ones(20_000))
    assert set(noisy.unique().tolist()) == {0.0, 1.0}
    # A random choice hits the old one in a quarter of the cases: 0.6 + 0.4 / 4, and 0.1 each.
    share = noisy.mean(0)
    torch.testing.assert_close(share, torch.tensor([0.1, 0.1, 0.7, 0.1]), atol=0.01, rtol=0)


@pytest.mark.parametrize("space", [ActionSpace(2, False), ActionSpace(3, True)])
def test_no_noise_changes_nothing(space):
    action = torch.nn.functional.one_hot(torch.tensor([1, 0]), space.dim).float()
    assert torch.equal(explored(action, space, 0.0), action)


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match=r"Agent: noise=-0\.1: choose 0 or more"):
        agent_with(Walk, noise=-0.1)


def test_the_same_model_pursues_whatever_objective_is_chosen_when_planning():
    place = FeatureObjective(lambda feature: feature[..., 0])
    model, went = agent_with(Walk).world_model, []
    for objective in (place, -place, ActionCost()):
        planner = CEM(SPACE, horizon=3, candidates=200, iterations=6, elites=20)
        agent = Agent(model, MPC(planner, objective=objective))
        action, _ = agent.act(frames(1), flags(True), agent.initial(1, seed=0))
        went.append(action.item())
    assert went == pytest.approx([1.0, -1.0, 0.0], abs=0.1)


def test_the_planner_scores_by_the_chosen_aggregation():
    shapes = []

    class Seen(Minimum):
        def __call__(self, returns):
            shapes.append(tuple(returns.shape))
            return super().__call__(returns)

    agent = agent_with(Walk)
    agent = Agent(agent.world_model, MPC(agent.actor.planner, aggregation=Seen()))
    agent.act(frames(2), flags(True, True), agent.initial(2, seed=0))
    assert {shape[0] for shape in shapes} == {2}
    assert {shape[2] for shape in shapes} == {1}


@pytest.mark.parametrize("guided", [False, True])
def test_the_memory_cap_counts_every_particle(guided, monkeypatch):
    dynamics = partial(EnsembleRSSM, members=3, stoch=4, deter=8, hidden=8)
    model = agent_with(dynamics).world_model
    planner = CEM(SPACE, 3, candidates=8, iterations=2, elites=3)
    guide = ActorCritic(model.feature_dim, SPACE, hidden=8) if guided else None
    agent = Agent(model, MPC(planner, guide, proposals=2, max_rollouts=36)).eval()
    rows, plan_starts = [], model.dynamics.plan_starts

    def counted(state, plans):
        rows.append(2 * 3 * plans)
        return plan_starts(state, plans)

    monkeypatch.setattr(model.dynamics, "plan_starts", counted)
    _, after = agent.act(frames(2), torch.ones(2, dtype=torch.bool), agent.initial(2, 0))
    assert max(rows) == 36
    assert after.actor.evaluations.tolist() == [sum(rows) // 6] * 2


def test_who_acts_and_which_behaviour_is_the_agents():
    model = agent_with(Walk).world_model
    planner, policy = CEM(SPACE, horizon=3), ActorCritic(model.feature_dim, SPACE, hidden=8)
    acting = Agent(model, policy)
    assert (acting.actor, acting.behaviour) == (policy, policy)
    planning = Agent(model, MPC(planner))
    assert (planning.actor.planner, planning.behaviour) == (planner, None)
    guided = Agent(model, MPC(planner, policy))
    assert (guided.actor.guide, guided.behaviour) == (policy, policy)
    names = [agent.actor.name for agent in (acting, planning, guided)]
    assert names == ["policy", "planner", "guided planner"]
    # The behaviour's weights are the agent's, once.
    keys = list(guided.state_dict())
    assert len(keys) == len(set(keys)) == len(model.state_dict()) + len(policy.state_dict())
    assert sum(key.startswith("behaviour.") for key in keys) == len(policy.state_dict())


def test_a_latent_model_acts_by_its_policy_and_cannot_plan():
    model = LatentModel(SHAPE, SPACE, encoder=partial(ConvEncoder, depth=2))
    agent = Agent(model, ActorCritic(model.feature_dim, SPACE, hidden=8)).eval()
    action, state = agent.act(frames(2), flags(1, 1), agent.initial(2, seed=0))
    assert action.shape == (2, 1)
    assert (state.actor, state.step) == ((), 1)
    with pytest.raises(ValueError, match="LatentModel predicts nothing, so nothing can plan in it"):
        Agent(model, MPC(CEM(SPACE)))
