import json

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
    measured,
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


def test_a_curve_is_what_the_evaluations_logged(tmp_path):
    lines = [{"step": 5, "eval/return_mean": 2.5}, {"step": 7, "loss": 1.0}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert curve(tmp_path / "metrics.jsonl") == [Point(5, 2.5)]


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
