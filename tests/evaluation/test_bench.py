"""What `worldmodels bench plan` prints: counted by hand, on the path that agents plan by."""

from functools import partial

import numpy as np
import pytest
import torch

from worldmodels.evaluation import bench
from worldmodels.nn import precision
from worldmodels.nn.heads import ContinueHead

STEP = 36 * 200 + 400 * 600 + 200 * 200 + 200 * 60
HEAD = 230 * 200 + 200 * 200 + 200
small = partial(bench.decision, candidates=4, elites=2, iterations=1)


def test_products_are_counted_as_by_hand():
    # The idle plan and 4 candidates, then the mean and the best of them.
    flop = 2 * (5 + 2) * 12 * (STEP + HEAD)
    counted = bench.model_gflop(small(bench.reference_model()))
    assert counted == pytest.approx(flop / 1e9, rel=1e-6)


def test_no_end_is_predicted_after_the_last_step():
    model = bench.reference_model()
    without = bench.model_gflop(small(model))
    model.continues = ContinueHead(230, hidden=200)
    assert bench.model_gflop(small(model)) - without == pytest.approx(14e-9 * 11 * HEAD, rel=1e-6)


@pytest.mark.parametrize(("native", "peak"), [(True, 700.0), (False, 200.0)])
def test_the_share_is_of_the_peak_in_the_precision_of_plans(native, peak, monkeypatch):
    monkeypatch.setattr(bench, "has_bfloat16_units", lambda: native)
    monkeypatch.setattr(bench, "decision", lambda model: small(model))
    monkeypatch.setattr(bench, "_memory_in_a_new_process", lambda: 40.0)
    rates = {torch.float32: 200.0, torch.bfloat16: 700.0}
    monkeypatch.setattr(bench, "matmul_rate", rates.__getitem__)
    returns = {False: np.array([1.0, 2.0]), True: np.array([1.5, 2.5])}
    monkeypatch.setattr(bench, "planned_returns", lambda exact=False: returns[exact])
    measured = bench.bench_plan(repeats=1)
    assert measured.share_of_peak == pytest.approx(measured.gflops / peak)
    assert measured.gflops == pytest.approx(measured.model_gflop / measured.best_seconds)
    assert measured.difference == (0.5, 0.5, 0.5)
    name = "bfloat16" if native else "float32"
    assert f" % of the {name} peak" in str(measured).splitlines()[1]
    assert measured.as_dict()["returns"]["mean"] == 1.5


def test_returns_of_both_formats_are_paired(monkeypatch):
    compared = partial(bench.planned_returns, plans=2, samples=8)
    monkeypatch.setattr(precision, "has_bfloat16_units", lambda: False)
    exact = compared(exact=True)
    # The same searches, judged by the same noise: not even the last digit differs.
    assert np.array_equal(compared(), exact)
    assert exact[0] != exact[1]
    monkeypatch.setattr(precision, "has_bfloat16_units", lambda: True)
    rounded = compared()
    assert not np.array_equal(rounded, exact)
    np.testing.assert_allclose(rounded, exact, atol=0.4)


def test_a_plan_stays_under_200_mib():
    assert 5 < bench.planning_memory() < 200


def test_no_repeats_are_refused():
    with pytest.raises(ValueError, match="repeats=0: choose 1 or more"):
        bench.bench_plan(repeats=0)
