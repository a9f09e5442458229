from types import SimpleNamespace

import pytest
import torch
from test_world_model import Position, walker
from torch import nn

from worldmodels.planning import CEM, ICEM, MPC, Plan, Planner
from worldmodels.planning.objectives import ActionCost, Minimum
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

LINE = ActionSpace(1, discrete=False)
NO = torch.tensor([False, False])
CALM = torch.tensor([False])


class Clockwork(Planner):
    """Plan number n is n.0, n.1, n.2, ... tenths; its params are those plus 0.05."""

    kept_elites = 2

    def __init__(self, horizon=4):
        super().__init__(LINE, horizon)
        self.inits, self.proposals = [], []

    def plan(self, score, state, init, generator=None, proposals=None):
        self.inits.append(init)
        self.proposals.append(proposals)
        steps = 0.1 * torch.arange(self.horizon)[:, None] + len(self.inits)
        actions = steps.expand(len(init), -1, -1)
        elites = torch.stack([actions, -actions], 1)
        return Plan(actions, actions + 0.05, torch.full((len(init),), 7.0), 3, elites)


def flat(values):
    return torch.as_tensor(values).flatten().tolist()


class Judge(WorldModel):
    """Predicts nothing: plans are scored by a function of the state and the plans."""

    def __init__(self, function):
        nn.Module.__init__(self)
        self.function, self.options = function, []

    def score(self, state, actions, **options):
        self.options.append(options)
        return self.function(state, actions)


def forbidden(state, plans):
    raise AssertionError("the planner of these tests asks no score")


SILENT = Judge(forbidden)


class Guide:
    """Goes half as far as it is, and finds a place worth 100 times its coordinate."""

    def policy(self, feature):
        return SimpleNamespace(sample=lambda: feature / 2)

    def value(self, feature):
        return 100 * feature[..., 0]


def run(mpc, first_rows, batch=2):
    state, actions = mpc.initial(batch), []
    for is_first in first_rows:
        action, state = mpc.act(SILENT, None, state, torch.as_tensor(is_first))
        actions.append(action[:, 0])
    return torch.stack(actions, 1), state


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (1, [1.0, 2.0, 3.0, 4.0, 5.0]),
        (2, [1.0, 1.1, 2.0, 2.1, 3.0]),
        (4, [1.0, 1.1, 1.2, 1.3, 2.0]),
    ],
)
def test_replans_every_k_steps(every, expected):
    actions, _ = run(MPC(Clockwork(), replan_every=every), [NO] * 5)
    torch.testing.assert_close(actions, torch.tensor([expected] * 2))


def test_the_warm_start_is_what_is_left_of_the_plan():
    clock = Clockwork()
    run(MPC(clock, replan_every=2), [NO] * 3)
    cold, warm = clock.inits
    assert flat(cold) == [0.0] * 8
    torch.testing.assert_close(warm[0, :, 0], torch.tensor([1.25, 1.35, 0.0, 0.0]))


def test_elites_join_the_next_decision_shifted():
    clock = Clockwork()
    run(MPC(clock, replan_every=1), [NO] * 2)
    expected = torch.tensor([[1.1, 1.2, 1.3, 0.0], [-1.1, -1.2, -1.3, 0.0]])
    torch.testing.assert_close(clock.proposals[1][0, ..., 0], expected)


def test_rollouts_of_the_guide_join_the_elites():
    clock, model = Clockwork(), walker()
    mpc = MPC(clock, Guide(), proposals=3)
    mpc.act(model, Position(torch.tensor([[1.0], [-2.0]])), mpc.initial(2), NO)
    joined = clock.proposals[0]
    assert joined.shape == (2, 2 + 3, 4, 1)
    rollout = torch.tensor([0.5, 0.75, 1.125, 1.6875])
    for row, start in enumerate((1, -2)):
        torch.testing.assert_close(joined[row, 2:, :, 0], start * rollout.expand(3, 4))


def test_the_guides_value_counts_at_the_horizon():
    class Once(Clockwork):
        def plan(self, score, state, init, generator=None, proposals=None):
            self.asked = score(state, torch.full((1, 1, 4, 1), 1.0))
            return super().plan(score, state, init, generator, proposals)

    start = Position(torch.tensor([[0.0]]))
    scores = []
    for chosen in (None, Guide()):
        mpc = MPC(Once(), chosen, proposals=0)
        mpc.act(walker(), start, mpc.initial(1), CALM)
        scores.append(mpc.planner.asked.item())
    reward = 1 + 0.9 * 2 + 0.81 * 3 + 0.729 * 4
    assert scores == pytest.approx([reward, reward + 0.9**4 * 100 * 4])


def test_the_options_of_the_score_reach_it():
    class Asking(Clockwork):
        def plan(self, score, state, init, generator=None, proposals=None):
            score(state, init[:, None])
            return super().plan(score, state, init, generator, proposals)

    objective, aggregation = ActionCost(), Minimum()
    mpc = MPC(Asking(), objective=objective, aggregation=aggregation, max_rollouts=7)
    model = Judge(lambda state, plans: plans.sum((-1, -2)))
    mpc.act(model, None, mpc.initial(1), CALM)
    assert model.options == [
        {"value": None, "objective": objective, "aggregation": aggregation, "max_rollouts": 7,
         "fast": True}
    ]  # fmt: skip


def test_the_latent_state_travels_to_the_score_as_it_is():
    seen = []

    def score(state, plans):
        seen.append(state)
        return plans.sum((-1, -2))

    mpc, latent = MPC(CEM(LINE, 2, candidates=8, iterations=2, elites=3)), object()
    mpc.act(Judge(score), latent, mpc.initial(1), CALM)
    assert len(seen) == 3
    assert all(state is latent for state in seen)


def test_a_new_episode_starts_cold_and_leaves_the_other_row_alone():
    clock = Clockwork()
    actions, _ = run(
        MPC(clock, replan_every=3), [[True, True], [False, True], [False, False], [False, False]]
    )
    # Row 1 restarts at its second step; row 0 keeps its plan until it is due.
    torch.testing.assert_close(actions, torch.tensor([[1.0, 1.1, 1.2, 3.0], [1.0, 2.0, 2.1, 2.2]]))
    inits = torch.stack(clock.inits)[..., 0]
    torch.testing.assert_close(inits[1, 0], torch.tensor([1.15, 1.25, 1.35, 0.0]))
    assert flat(inits[1, 1]) == [0.0] * 4
    assert flat(clock.proposals[1][1]) == [0.0] * 8


def test_the_state_reports_the_predicted_return_and_its_cost():
    _, state = run(MPC(Clockwork(), replan_every=2), [NO] * 3)
    assert flat(state.value) == [7.0, 7.0]
    assert flat(state.evaluations) == [6, 6]
    assert flat(state.remaining) == [1, 1]


def test_acting_leaves_the_given_state_as_it_was():
    mpc = MPC(Clockwork(), replan_every=1)
    state = mpc.initial(2)
    copies = [field.clone() for field in state]
    mpc.act(SILENT, None, state, torch.tensor([True, False]))
    assert all(torch.equal(a, b) for a, b in zip(state, copies))


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_rolling_drops_exactly_the_executed_steps(steps):
    planner = CEM(ActionSpace(2, discrete=True), 3)
    params = torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]])
    rows = [*params[0].tolist(), *[[0.5, 0.5]] * 5]
    expected = torch.tensor([rows[steps : steps + 3]])
    assert torch.equal(planner.roll(params, steps), expected)


def test_the_cold_start_is_zero_or_undecided():
    assert flat(CEM(LINE, 2).initial(1)) == [0.0, 0.0]
    assert flat(CEM(ActionSpace(4, discrete=True), 1).initial(1)) == [0.25] * 4
    mpc = MPC(ICEM(ActionSpace(2, discrete=True), 2, kept_elites=3))
    assert mpc.initial(1).elites.tolist() == [[[[1.0, 0.0]] * 2] * 3]


def drive(every, gust):
    """A point is pushed by a gust; the plan wants it at 0. Returns its cost over 6 steps."""
    mpc = MPC(CEM(LINE, 6, candidates=100, iterations=4, elites=10), replan_every=every)
    model = Judge(
        lambda here, plans: -(here[:, None, None] + plans[..., 0].cumsum(-1)).square().sum(-1)
    )
    torch.manual_seed(0)
    state, position, cost = mpc.initial(1), torch.tensor([0.5]), 0.0
    for t in range(6):
        action, state = mpc.act(model, position, state, CALM)
        position = position + action[:, 0] + (gust if t == 1 else 0.0)
        cost += position.square().item()
    return cost


def test_closed_loop_corrects_a_gust_that_open_loop_does_not_see():
    assert drive(1, 0.0) < 0.05
    assert drive(6, 0.0) < 0.05
    closed, open_loop = drive(1, 0.8), drive(6, 0.8)
    # Both pay for the gust itself, 0.64; open loop stays there for five steps.
    assert closed == pytest.approx(0.64, abs=0.1)
    assert open_loop == pytest.approx(5 * 0.64, abs=0.4)


@pytest.mark.parametrize("discrete", [False, True])
def test_two_environments_together_act_as_each_alone(discrete, rng):
    space = ActionSpace(2, discrete)
    planner = ICEM(space, 4, candidates=60, iterations=3, elites=10, kept_elites=4)
    mpc, model = (
        MPC(planner, replan_every=2),
        Judge(lambda weight, plans: (weight[:, None] * plans).sum((-1, -2))),
    )
    weight = torch.randn(2, 4, 2, generator=rng(3))

    def actions(rows):
        torch.manual_seed(0)
        state, taken = mpc.initial(len(rows)), []
        for _ in range(5):
            action, state = mpc.act(model, weight[rows], state, NO[: len(rows)])
            taken.append(action)
        return torch.stack(taken, 1)

    both = actions([0, 1])
    torch.testing.assert_close(both, torch.cat([actions([0]), actions([1])]))
