import numpy as np
import pytest
import torch
from einops import rearrange

from worldmodels.envs.worlds.arm import ArmN
from worldmodels.envs.worlds.cart_swing import CartSwing, CartSwingState
from worldmodels.envs.worlds.cliff_hill import CliffHill, CliffHillState
from worldmodels.envs.worlds.gust_road import GustRoad
from worldmodels.studies.cliff import FALLS, SHORT, stops
from worldmodels.studies.closed_loop import drive
from worldmodels.studies.exact import arm_score, world_score
from worldmodels.studies.exploitation import (
    AUROC,
    FIVE,
    GAP,
    ONE,
    Exploitation,
    area_under_roc,
    outing,
)
from worldmodels.studies.gradient_planning import equal_planners, gradient_error
from worldmodels.studies.results import Results
from worldmodels.studies.simulator import CART, POLE, PSNR, TINTS, centre, frame_errors


def test_a_world_scores_plans_by_its_own_rewards():
    world = CliffHill()
    start = CliffHillState(np.array([0.2, 0.5]), np.array([0.3, 0.9]), np.zeros(2, dtype=bool))
    plans = torch.tensor([[1.0, 1.0], [0.0, -1.0]])[None, :, :, None].expand(2, -1, -1, -1)
    # Two steps of 0.0125 up: 0.2125 + 0.225; none and one down: 0.2 + 0.1875; and from 0.5.
    expected = torch.tensor([[0.4375, 0.3875], [1.0375, 0.9875]])
    torch.testing.assert_close(world_score(world)(start, plans), expected)


def test_a_score_with_a_repeat_holds_the_action_and_sums_the_rewards():
    start = CliffHillState(np.array([0.2]), np.array([0.9]), np.zeros(1, dtype=bool))
    score = world_score(CliffHill(), repeat=2)(start, torch.ones(1, 1, 1, 1))
    torch.testing.assert_close(score, torch.tensor([[0.4375]]))


def test_a_terminated_copy_earns_nothing_more():
    world = GustRoad(sigma=0.0)
    state = world.reset(np.random.default_rng(0), 1)
    off = state._replace(position=state.position + 5.0)
    assert world_score(world)(off, torch.zeros(1, 1, 3, 1)).item() == 0


@pytest.mark.parametrize("radius", [0.0, 0.15])
def test_the_arm_in_torch_is_the_arm_in_numpy(radius):
    world = ArmN(3, radius)
    state = world.reset(np.random.default_rng(1), 4)
    plans = torch.rand(4, 5, 12, 3, generator=torch.Generator().manual_seed(0)).double() * 2 - 1
    # Straight swings reach the obstacle.
    plans[:, 0] = torch.tensor([1.0, 0.0, 0.0])
    plans[:, 1] = torch.tensor([-1.0, 0.0, 0.0])
    torch.testing.assert_close(arm_score(world)(state, plans), world_score(world)(state, plans))


def test_the_gradient_check_passes_a_right_gradient_and_fails_a_wrong_one():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(context, value):
            return value.clone()

        @staticmethod
        def backward(context, gradient):
            return 1.1 * gradient

    plan = torch.full((1, 1, 2, 1), 0.5, dtype=torch.float64)
    assert gradient_error(lambda _, plan: plan.square().sum((-1, -2)), None, plan) < 1e-9
    wrong = gradient_error(lambda _, plan: Wrong.apply(plan).square().sum((-1, -2)), None, plan)
    assert wrong > 0.01


def test_the_variants_of_gradient_planning_spend_equal_evaluations():
    world = ArmN(2)
    start, score = world.reset(np.random.default_rng(0), 1), arm_score(world)
    spent = [
        planner.plan(score, start, planner.initial(1), torch.Generator().manual_seed(0)).evaluations
        for planner in equal_planners(world.action_space, 3).values()
    ]
    assert max(spent) <= 1.02 * min(spent)


def test_stops_counts_falls_and_measures_those_who_stand():
    numbers = stops(np.array([0.0, 0.4, 0.55]), np.array([0.5, 0.5, 0.6]))
    assert numbers == pytest.approx({FALLS: 1 / 3, SHORT: 0.075})
    assert stops(np.zeros(2), np.array([0.5, 0.5])) == {FALLS: 1.0, SHORT: 1.0}


def painted(row, column, colour):
    frame = np.full((3, 64, 64), 255, dtype=np.uint8)
    frame[:, row - 1 : row + 2, column - 2 : column + 3] = np.array(colour)[:, None, None]
    return frame


ORANGE = (226, 104, 40)


def test_an_object_is_found_at_the_centre_of_its_colour():
    frame = painted(20, 41, ORANGE)
    assert centre(frame, TINTS[POLE]).tolist() == pytest.approx([20.0, 41.0])
    assert centre(frame, TINTS[CART]).tolist() == [31.5, 31.5]


@pytest.mark.parametrize("position", [-1.5, 0.0, 0.8])
def test_the_cart_is_found_on_its_rail_however_pale_the_picture(position):
    still = CartSwingState(*np.array([[position], [np.pi], [0.0], [0.0]]))
    frame = rearrange(CartSwing().render(still)[0], "h w C -> C h w")
    column = 31.5 + 15 * position
    assert centre(frame, TINTS[CART])[1] == pytest.approx(column, abs=0.3)
    pale = (0.8 * frame + 40).astype(np.uint8)
    assert centre(pale, TINTS[CART])[1] == pytest.approx(column, abs=0.3)


def test_frame_errors_are_distances_and_decibels_by_hand():
    errors = frame_errors(painted(20, 41, ORANGE), painted(24, 38, ORANGE))
    assert errors[POLE] == pytest.approx(5.0)
    assert errors[CART] == 0
    same, lighter = np.zeros((3, 64, 64), np.uint8), np.full((3, 64, 64), 5, np.uint8)
    assert frame_errors(same, lighter)[PSNR] == pytest.approx(10 * np.log10(255**2 / 25), abs=1e-4)


def test_a_calm_road_needs_no_second_plan_and_the_search_is_counted():
    once = drive(GustRoad(sigma=0.0), every=50, candidates=60, episodes=2, seed=0)
    twice = drive(GustRoad(sigma=0.0), every=25, candidates=60, episodes=2, seed=0)
    assert once.success == 1.0
    assert twice.evaluations == pytest.approx(2 * once.evaluations, rel=0.1)


def test_the_area_under_the_curve_is_the_share_of_ordered_pairs():
    score = np.array([0.1, 0.4, 0.4, 0.9])
    # Positives 0.4 and 0.9 against negatives 0.1 and 0.4: above, tie; above, above.
    assert area_under_roc(score, np.array([False, True, False, True])) == pytest.approx(3.5 / 4)


def test_outings_start_inside_the_data_and_leave_it_for_good():
    seen = outing(seed=0, episodes=3)
    assert not seen.outside[:, 0].any()
    assert seen.outside[:, -1].all()
    # Once outside, always outside; and every row but the first has an action that led there.
    assert (seen.outside[:, 1:] >= seen.outside[:, :-1]).all()
    assert (seen.action[:, 0] == 0).all()
    assert seen.action[:, 1:].abs().amax(-1).allclose(torch.ones(3, 49))


@pytest.mark.parametrize(
    ("one", "five", "detected", "passed"),
    [
        (5.0, 1.0, 0.96, [True, True, True]),
        (5.0, 1.1, 0.94, [True, False, False]),
        # A single model that promises too little is exploited by nobody.
        (-1.0, -2.0, 0.96, [False, True, True]),
    ],
)
def test_exploitation_is_mended_when_a_fifth_of_the_gap_is_left(one, five, detected, passed):
    seed = {ONE: {GAP: one}, FIVE: {GAP: five, AUROC: detected}}
    checks = Exploitation().verdict(Results([seed, seed]))
    assert [check.passed for check in checks] == passed
