import numpy as np
import pytest

from worldmodels.evaluation import bootstrap_band, bootstrap_interval


def test_interval_of_two_values_is_known_exactly():
    # Resampled means of {0, 1} are 0, 1/2, 1 with probability 1/4, 1/2, 1/4.
    values = np.array([0.0, 1.0])
    assert bootstrap_interval(values) == (0.5, 0, 1)
    assert bootstrap_interval(values, confidence=0.4) == (0.5, 0.5, 0.5)


def test_interval_agrees_with_resampling_in_a_loop():
    rng = np.random.default_rng(1)
    values = rng.exponential(10.0, size=30)
    means = [rng.choice(values, 30).mean() for _ in range(20_000)]
    expected = values.mean(), *np.quantile(means, [0.05, 0.95])
    np.testing.assert_allclose(bootstrap_interval(values, confidence=0.9), expected, rtol=0.02)


def test_interval_holds_the_true_mean_about_as_often_as_promised():
    rng = np.random.default_rng(2)
    samples = rng.normal(3.0, 1.0, size=(200, 40))
    intervals = [bootstrap_interval(sample, resamples=500) for sample in samples]
    covered = np.mean([i.low <= 3.0 <= i.high for i in intervals])
    assert 0.89 <= covered <= 0.98


def test_equal_values_leave_no_doubt():
    np.testing.assert_allclose(bootstrap_interval(np.full(5, 7.0)), 7.0)


def test_band_is_the_interval_at_every_point():
    values = np.random.default_rng(3).normal(size=(12, 4))
    band = bootstrap_band(values)
    for point in range(4):
        np.testing.assert_allclose(
            [field[point] for field in band], bootstrap_interval(values[:, point])
        )


def test_groups_are_resampled_as_wholes():
    # Two groups with means 0 and 1, the second three times as large: means 0, 3/4 and 1.
    values = np.array([0.0, 1.0, 1.0, 1.0])[:, None]
    band = bootstrap_band(values, groups=np.array([5, 9, 9, 9]))
    assert [float(field[0]) for field in band] == [0.75, 0.0, 1.0]


def test_missing_values_are_left_out_of_their_point_alone():
    values = np.array([[0.0, 2.0], [np.nan, 2.0], [4.0, 5.0]])
    band = bootstrap_band(values)
    np.testing.assert_allclose(band.mean, [2.0, 3.0])
    assert [field[0] for field in band] == [2.0, 0.0, 4.0]


def test_same_values_give_the_same_interval_and_touch_no_global_seed():
    values = np.arange(10.0)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (the global generator is the point)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_nothing_cannot_be_averaged():
    with pytest.raises(ValueError, match="no values to average"):
        bootstrap_interval(np.array([]))
