import pytest

from worldmodels.checkpoint import build_agent
from worldmodels.cli.fit import AGENT, fit_parser
from worldmodels.studies.results import Results
from worldmodels.studies.sample_efficiency import (
    BEST,
    MODEL,
    OFF_POLICY,
    ON_POLICY,
    REACHED,
    STEPS,
    Point,
    SampleEfficiency,
    curve,
    dreamer,
    measured,
    off_policy,
    on_policy,
    world,
)


def test_the_threshold_is_half_of_the_best_return_of_all():
    curves = {
        MODEL: [Point(100, 5.0), Point(200, 31.0), Point(300, 60.0)],
        OFF_POLICY: [Point(100, 29.0), Point(400, 30.0), Point(500, 10.0)],
        ON_POLICY: [Point(100, 1.0), Point(900, 29.9)],
    }
    assert measured(curves) == {
        MODEL: {STEPS: 200, REACHED: 1, BEST: 60},
        OFF_POLICY: {STEPS: 400, REACHED: 1, BEST: 30},
        ON_POLICY: {STEPS: 900, REACHED: 0, BEST: 29.9},
    }


def test_a_curve_is_what_the_evaluations_logged():
    lines = [{"step": 5, "eval/return_mean": 2.5}, {"step": 7, "loss": 1.0}]
    assert curve(lines) == [Point(5, 2.5)]


@pytest.mark.parametrize(
    ("name", "untrained"), [("dreamer", dreamer), ("sac", off_policy), ("ppo", on_policy)]
)
def test_the_agents_are_those_of_the_recipes(name, untrained):
    env = world()
    options = fit_parser().read(["--config", name, "--config", "cartswing"])
    parts = fit_parser().instantiate(options)
    recipe = build_agent(env.obs_shape, env.action_space, **{part: parts[part] for part in AGENT})
    ours, theirs = untrained(env), recipe
    assert str(ours) == str(theirs)
    assert ours.noise == theirs.noise
    shapes = {name: weight.shape for name, weight in theirs.state_dict().items()}
    assert {name: weight.shape for name, weight in ours.state_dict().items()} == shapes
    assert rates(ours) == rates(theirs)
    if name == "dreamer":
        assert [vars_of(t) for t in ours.world_model.terms] == [
            vars_of(t) for t in theirs.world_model.terms
        ]
        assert ours.behaviour.entropy_coef == theirs.behaviour.entropy_coef
        assert (ours.behaviour.horizon, ours.behaviour.starts) == (15, 64)
        assert type(ours.behaviour.gradient) is type(theirs.behaviour.gradient)


def rates(agent):
    return [group.learning_rate for group in agent.behaviour.parameter_groups()]


def vars_of(term):
    return type(term), term.weights


def passed(*seeds):
    results = [
        {
            name: {STEPS: float(steps), REACHED: float(reached)}
            for name, (steps, reached) in zip((MODEL, OFF_POLICY, ON_POLICY), seed, strict=True)
        }
        for seed in seeds
    ]
    return [check.passed for check in SampleEfficiency().verdict(Results(results))]


def test_the_order_must_hold_in_every_seed():
    good = (100, 1), (200, 1), (300, 1)
    assert passed(good, ((100, 1), (200, 1), (900, 0))) == [True, True]
    assert passed(good, ((100, 1), (100, 1), (300, 1))) == [True, False]
    assert passed(good, ((100, 1), (400, 1), (300, 1))) == [False, True]


def test_who_never_got_there_has_not_been_quicker_than_anybody():
    assert passed(((100, 1), (200, 0), (300, 0))) == [False, True]
    assert passed(((100, 0), (200, 1), (300, 1))) == [True, False]
