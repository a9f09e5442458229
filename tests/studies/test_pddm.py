import pytest
import torch

from worldmodels.planning import PDDM as PDDMPlanner
from worldmodels.planning.noise import filtered, white
from worldmodels.studies.pddm import (
    BY_CEM,
    BY_SAC,
    BY_SHOOTING,
    FULL,
    ONE,
    PDDM,
    PLANNERS,
    RANDOM_DATA,
    RETURN,
    WHITE,
)
from worldmodels.studies.results import Results

ABLATIONS = (ONE, WHITE, BY_SHOOTING, BY_CEM, BY_SAC, RANDOM_DATA)


def returns(full, others):
    return {FULL: {RETURN: full}} | {name: {RETURN: value} for name, value in others.items()}


def judged(*seeds):
    return [check.passed for check in PDDM().verdict(Results(seeds))]


def test_the_rule_holds_where_every_ablation_returns_less_with_every_seed():
    worse = dict.fromkeys(ABLATIONS, 40.0)
    assert judged(returns(60.0, worse), returns(50.0, worse), returns(70.0, worse)) == [True] * 6


@pytest.mark.parametrize("name", ABLATIONS)
def test_each_ablation_alone_breaks_the_rule_where_it_wins_with_one_seed_of_two(name):
    worse = dict.fromkeys(ABLATIONS, 40.0)
    checks = judged(returns(60.0, worse), returns(50.0, worse | {name: 51.0}))
    assert checks == [other != name for other in ABLATIONS]


def test_the_difference_is_paired_by_seed():
    # Seeds differ by far more than the variants do.
    near = (returns(score, dict.fromkeys(ABLATIONS, score - 1)) for score in (10.0, 50.0, 90.0))
    assert judged(*near) == [True] * 6


@pytest.mark.parametrize("name", PLANNERS)
def test_every_planner_evaluates_32_plans_a_decision(name):
    planner = PLANNERS[name]
    # Where the mean of the search is scored once more, it is one of the 32.
    plan = planner.plan(lambda _, actions: actions.sum((-1, -2)), None, planner.initial(1))
    assert plan.evaluations == 32


def test_only_the_filter_tells_unfiltered_noise_from_the_full_planner():
    full, unfiltered = PLANNERS[FULL], PLANNERS[WHITE]
    assert isinstance(full, PDDMPlanner)
    assert isinstance(unfiltered, PDDMPlanner)
    like, generator = torch.zeros(1, 8, 8), torch.Generator()
    drawn = white(4, like, generator.manual_seed(0))
    assert torch.equal(unfiltered._noise(4, like, generator.manual_seed(0)), drawn)
    assert torch.equal(full._noise(4, like, generator.manual_seed(0)), filtered(drawn, 0.5))
    # The arguments and the search distribution are objects of each; the latter has no options.
    other = ("beta", "distribution", "init_args")
    assert {k: v for k, v in vars(full).items() if k not in other} == {
        k: v for k, v in vars(unfiltered).items() if k not in other
    }
