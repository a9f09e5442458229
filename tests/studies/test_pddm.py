import pytest
import torch

from worldmodels.planning import PDDM as PDDMPlanner
from worldmodels.planning.noise import filtered, white
from worldmodels.studies.pddm import (
    CEM_ARM,
    FULL,
    ONE,
    PDDM,
    PLANNERS,
    RANDOM_DATA,
    RETURN,
    SAC_ARM,
    SHOOTING_ARM,
    WHITE,
)
from worldmodels.studies.results import Results

ABLATIONS = (ONE, WHITE, SHOOTING_ARM, CEM_ARM, SAC_ARM, RANDOM_DATA)


def returns(full, others):
    return {FULL: {RETURN: full}} | {arm: {RETURN: value} for arm, value in others.items()}


def judged(*seeds):
    return [check.passed for check in PDDM().verdict(Results(seeds))]


def test_the_rule_holds_where_every_ablation_returns_less_with_every_seed():
    worse = dict.fromkeys(ABLATIONS, 40.0)
    assert judged(returns(60.0, worse), returns(50.0, worse), returns(70.0, worse)) == [True] * 6


@pytest.mark.parametrize("arm", ABLATIONS)
def test_each_ablation_alone_breaks_the_rule_where_it_wins_with_one_seed_of_two(arm):
    worse = dict.fromkeys(ABLATIONS, 40.0)
    checks = judged(returns(60.0, worse), returns(50.0, worse | {arm: 51.0}))
    assert checks == [other != arm for other in ABLATIONS]


def test_the_difference_is_paired_by_seed():
    # Seeds differ by far more than the arms do.
    near = (returns(score, dict.fromkeys(ABLATIONS, score - 1)) for score in (10.0, 50.0, 90.0))
    assert judged(*near) == [True] * 6


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_evaluates_32_plans_a_decision(name):
    planner = PLANNERS[name]
    # Where the mean of the search is scored once more, it is one of the 32.
    plan = planner.plan(lambda actions: actions.sum((-1, -2)), planner.initial(1))
    assert plan.evaluations == 32


def test_only_the_filter_tells_unfiltered_noise_from_the_full_planner():
    full, unfiltered = PLANNERS[FULL], PLANNERS[WHITE]
    assert isinstance(full, PDDMPlanner)
    assert isinstance(unfiltered, PDDMPlanner)
    like, generator = torch.zeros(1, 8, 8), torch.Generator()
    drawn = white(4, like, generator.manual_seed(0))
    assert torch.equal(unfiltered._noise(4, like, generator.manual_seed(0)), drawn)
    assert torch.equal(full._noise(4, like, generator.manual_seed(0)), filtered(drawn, 0.5))
    assert {k: v for k, v in vars(full).items() if k not in ("beta", "proposal")} == {
        k: v for k, v in vars(unfiltered).items() if k not in ("beta", "proposal")
    }
