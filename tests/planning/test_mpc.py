import pytest
import torch

from worldmodels.planning import CEM, ICEM, MPC, Plan, Planner
from worldmodels.types import ActionSpace

LINE = ActionSpace(1, discrete=False)
NO = torch.tensor([False, False])
CALM = torch.tensor([False])


class Clockwork(Planner):
    """Plan number n is n.0, n.1, n.2, ... tenths; its params are those plus 0.05."""

    kept_elites = 2

    def __init__(self, horizon=4):
        super().__init__(LINE, horizon, 1)
        self.inits, self.proposals = [], []

    def plan(self, score, init, generator=None, proposals=None):
        self.inits.append(init)
        self.proposals.append(proposals)
        steps = 0.1 * torch.arange(self.horizon)[:, None] + len(self.inits)
        actions = steps.expand(len(init), -1, -1)
        elites = torch.stack([actions, -actions], 1)
        return Plan(actions, actions + 0.05, torch.full((len(init),), 7.0), 3, elites)


def flat(values):
    return torch.as_tensor(values).flatten().tolist()


def run(controller, first_rows, batch=2):
    state, actions = controller.initial(batch), []
    for is_first in first_rows:
        action, state = controller.step(no_score, state, torch.as_tensor(is_first))
        actions.append(action[:, 0])
    return torch.stack(actions, 1), state


def no_score(plans):
    raise AssertionError("the planner of these tests asks no score")


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (1, [1.0, 2.0, 3.0, 4.0, 5.0]),
        (2, [1.0, 1.1, 2.0, 2.1, 3.0]),
        (4, [1.0, 1.1, 1.2, 1.3, 2.0]),
    ],
)
def test_replans_every_k_steps(every, expected):
    actions, _ = run(MPC(Clockwork(), every), [NO] * 5)
    torch.testing.assert_close(actions, torch.tensor([expected] * 2))


def test_the_warm_start_is_what_is_left_of_the_plan():
    clock = Clockwork()
    run(MPC(clock, 2), [NO] * 3)
    cold, warm = clock.inits
    assert flat(cold) == [0.0] * 8
    torch.testing.assert_close(warm[0, :, 0], torch.tensor([1.25, 1.35, 0.0, 0.0]))


def test_elites_join_the_next_decision_shifted():
    clock = Clockwork()
    run(MPC(clock, 1), [NO] * 2)
    expected = torch.tensor([[1.1, 1.2, 1.3, 0.0], [-1.1, -1.2, -1.3, 0.0]])
    torch.testing.assert_close(clock.proposals[1][0, ..., 0], expected)


def test_proposals_from_outside_join_the_elites():
    clock = Clockwork()
    controller = MPC(clock, 1)
    outside = torch.full((2, 1, 4, 1), 0.7)
    controller.step(no_score, controller.initial(2), NO, proposals=outside)
    joined = clock.proposals[0]
    assert joined.shape[1] == 3
    assert torch.equal(joined[:, 2:], outside)


def test_a_new_episode_starts_cold_and_leaves_the_other_row_alone():
    clock = Clockwork()
    actions, _ = run(MPC(clock, 3), [[True, True], [False, True], [False, False], [False, False]])
    # Row 1 restarts at its second step; row 0 keeps its plan until it is due.
    torch.testing.assert_close(actions, torch.tensor([[1.0, 1.1, 1.2, 3.0], [1.0, 2.0, 2.1, 2.2]]))
    inits = torch.stack(clock.inits)[..., 0]
    torch.testing.assert_close(inits[1, 0], torch.tensor([1.15, 1.25, 1.35, 0.0]))
    assert flat(inits[1, 1]) == [0.0] * 4
    assert flat(clock.proposals[1][1]) == [0.0] * 8


def test_replanning_on_demand_restarts_the_marked_rows_clock():
    clock = Clockwork()
    controller = MPC(clock, 4)
    _, state = controller.step(no_score, controller.initial(2), NO)
    state = controller.replan(state, torch.tensor([False, True]))
    actions = []
    for _ in range(3):
        action, state = controller.step(no_score, state, NO)
        actions.append(action[:, 0])
    expected = torch.tensor([[1.1, 1.2, 1.3], [2.0, 2.1, 2.2]])
    torch.testing.assert_close(torch.stack(actions, 1), expected)
    # warm, not cold: what was left of the plan
    torch.testing.assert_close(clock.inits[1][1, :, 0], torch.tensor([1.15, 1.25, 1.35, 0.0]))


def test_the_state_reports_promise_and_cost():
    _, state = run(MPC(Clockwork(), 2), [NO] * 3)
    assert flat(state.value) == [7.0, 7.0]
    assert flat(state.evaluations) == [6, 6]
    assert flat(state.remaining) == [1, 1]


def test_stepping_leaves_the_given_state_as_it_was():
    controller = MPC(Clockwork(), 1)
    state = controller.initial(2)
    copies = [field.clone() for field in state]
    controller.step(no_score, state, torch.tensor([True, False]))
    assert all(torch.equal(a, b) for a, b in zip(state, copies))


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_shift_drops_exactly_the_executed_steps(steps):
    planner = CEM(ActionSpace(2, discrete=True), 3)
    params = torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]]])
    rows = [*params[0].tolist(), *[[0.5, 0.5]] * 5]
    expected = torch.tensor([rows[steps : steps + 3]])
    assert torch.equal(planner.shift(params, steps), expected)


def test_the_cold_start_is_zero_or_undecided():
    assert flat(CEM(LINE, 2).initial(1)) == [0.0, 0.0]
    assert flat(CEM(ActionSpace(4, discrete=True), 1).initial(1)) == [0.25] * 4
    controller = MPC(ICEM(ActionSpace(2, discrete=True), 2, kept_elites=3))
    assert controller.initial(1).elites.tolist() == [[[[1.0, 0.0]] * 2] * 3]


def drive(every, gust, rng):
    """A point is pushed by a gust; the plan wants it at 0. Returns its cost over 6 steps."""
    controller = MPC(CEM(LINE, 6, candidates=100, iterations=4, elites=10), every)
    state, position, cost, noise = controller.initial(1), torch.tensor([0.5]), 0.0, rng(0)
    for t in range(6):
        here = position

        def score(plans, here=here):
            return -(here[:, None, None] + plans[..., 0].cumsum(-1)).square().sum(-1)

        action, state = controller.step(score, state, CALM, noise)
        position = position + action[:, 0] + (gust if t == 1 else 0.0)
        cost += position.square().item()
    return cost


def test_closed_loop_corrects_a_gust_that_open_loop_does_not_see(rng):
    assert drive(1, 0.0, rng) < 0.05
    assert drive(6, 0.0, rng) < 0.05
    closed, open_loop = drive(1, 0.8, rng), drive(6, 0.8, rng)
    # Both pay for the gust itself, 0.64; open loop stays there for five steps.
    assert closed == pytest.approx(0.64, abs=0.1)
    assert open_loop == pytest.approx(5 * 0.64, abs=0.4)


@pytest.mark.parametrize("discrete", [False, True])
def test_two_environments_together_act_as_each_alone(discrete, rng):
    space = ActionSpace(2, discrete)
    controller = MPC(ICEM(space, 4, candidates=60, iterations=3, elites=10, kept_elites=4), 2)
    weight = torch.randn(2, 4, 2, generator=rng(3))

    def score_of(rows):
        return lambda plans: (weight[rows, None] * plans).sum((-1, -2))

    def actions(rows):
        state, noise, taken = controller.initial(len(rows)), rng(0), []
        for _ in range(5):
            action, state = controller.step(score_of(rows), state, NO[: len(rows)], noise)
            taken.append(action)
        return torch.stack(taken, 1)

    both = actions([0, 1])
    torch.testing.assert_close(both, torch.cat([actions([0]), actions([1])]))
