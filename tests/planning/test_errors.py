import pytest
import torch

from worldmodels.planning import CEM, ICEM, MPC, MPPI, PDDM, Gradient, Hybrid, RandomShooting
from worldmodels.planning.base import roll
from worldmodels.types import ActionSpace

SPACE = ActionSpace(2, discrete=False)


@pytest.mark.parametrize("planner", [RandomShooting, CEM, ICEM, MPPI, PDDM, Gradient, Hybrid])
def test_a_plan_of_no_steps_is_refused(planner):
    with pytest.raises(ValueError, match=rf"^{planner.__name__}: horizon=0: choose 1 or more$"):
        planner(SPACE, 0)


@pytest.mark.parametrize(
    ("planner", "option", "message"),
    [
        (CEM, {"elites": 2000}, "CEM: elites=2000 exceeds candidates=1000: choose 1000 or less"),
        (CEM, {"kept_elites": 101}, "CEM: kept_elites=101 exceeds elites=100: choose 100 or less"),
        (CEM, {"elites": 0}, "CEM: elites=0: choose 1 or more"),
        (CEM, {"kept_elites": -1}, "CEM: kept_elites=-1: choose 0 or more"),
        (CEM, {"momentum": 1.0}, "CEM: momentum=1.0: choose at least 0 and below 1"),
        (CEM, {"std": 0.0}, "CEM: std=0.0: choose a number above 0"),
        (CEM, {"min_std": -0.1}, "CEM: min_std=-0.1: choose 0 or more"),
        (CEM, {"iterations": 0}, "CEM: iterations=0: choose 1 or more"),
        (ICEM, {"beta": -1.0}, "ICEM: beta=-1.0: choose 0 or more"),
        (ICEM, {"shrink": 0.5}, "ICEM: shrink=0.5: choose 1 or more"),
        (RandomShooting, {"candidates": 0}, "RandomShooting: candidates=0: choose 1 or more"),
        (MPPI, {"temperature": 0.0}, "MPPI: temperature=0.0: choose a number above 0"),
        (PDDM, {"kappa": -1.0}, "PDDM: kappa=-1.0: choose a number above 0"),
        (PDDM, {"beta": 0.0}, "PDDM: beta=0.0: choose a number above 0 and at most 1"),
        (PDDM, {"std": float("nan")}, "PDDM: std=nan: choose a number above 0"),
        (Gradient, {"starts": 0}, "Gradient: starts=0: choose 1 or more"),
        (Gradient, {"clip_norm": 0.0}, "Gradient: clip_norm=0.0: choose a number above 0"),
        (Hybrid, {"steps": 0}, "Hybrid: steps=0: choose 1 or more"),
    ],
)
def test_a_number_that_does_not_fit_is_refused_by_name(planner, option, message):
    with pytest.raises(ValueError, match="choose") as error:
        planner(SPACE, **option)
    assert str(error.value) == message


def test_scores_that_are_not_numbers_are_refused_with_their_share():
    def broken(state, plans):
        values = plans.sum((-1, -2))
        values[:, ::4] = torch.nan
        values[:, 1::4] = torch.inf
        return values

    planner = CEM(SPACE, 3, candidates=99, elites=10)
    with pytest.raises(ValueError, match="world model diverged") as error:
        planner.plan(broken, None, planner.initial(2))
    assert str(error.value).startswith(
        "CEM: 50.0 % of the 100 scores per environment are not finite (25.0 % NaN)"
    )


@pytest.mark.parametrize("planner", [RandomShooting, CEM, ICEM, MPPI, PDDM, Gradient, Hybrid])
def test_every_planner_refuses_nan_returns(planner):
    with pytest.raises(ValueError, match=r"100\.0 % of the .* scores") as error:
        planner(SPACE, 2).plan(
            lambda state, plans: plans.sum((-1, -2)) * torch.nan, None, torch.zeros(1, 2, 2)
        )
    assert "\n" not in str(error.value)


def test_a_score_of_the_wrong_shape_is_refused():
    planner = CEM(SPACE, 3, candidates=20, elites=5)
    with pytest.raises(ValueError, match=r"CEM: the score returned shape \(1, 21, 3\), expected"):
        planner.plan(lambda state, plans: plans.sum(-1), None, planner.initial(1))


def test_a_warm_start_of_another_horizon_is_refused():
    with pytest.raises(ValueError, match=r"init has shape \(1, 4, 2\), expected \(1, 3, 2\)"):
        CEM(SPACE, 3).plan(lambda state, plans: plans.sum((-1, -2)), None, torch.zeros(1, 4, 2))


def test_rolling_backwards_is_refused():
    with pytest.raises(ValueError, match="roll: steps=-1: choose 0 or more"):
        roll(torch.zeros(1, 3, 1), torch.zeros(1, 3, 1), -1)


@pytest.mark.parametrize("steps", [0, 4])
def test_replanning_never_or_after_the_plans_end_is_refused(steps):
    with pytest.raises(ValueError, match=rf"^MPC: replan_every={steps}.*choose . or (more|less)$"):
        MPC(CEM(SPACE, 3), replan_every=steps)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"proposals": -1}, "MPC: proposals=-1: choose 0 or more"),
        ({"max_rollouts": 0}, "MPC: max_rollouts=0: choose 1 or more"),
    ],
)
def test_numbers_of_mpc_that_do_not_fit_are_refused_by_name(option, message):
    with pytest.raises(ValueError, match="choose") as error:
        MPC(CEM(SPACE, 3), **option)
    assert str(error.value) == message
