import numpy as np
import pytest

from worldmodels.envs.worlds.noise import draw_keys, next_keys, normal, uniforms


def slow_splitmix(key: int, count: int) -> list[float]:
    """The generator as it is published, in Python's integers."""
    mask, numbers = 2**64 - 1, []
    for _ in range(count):
        key = (key + 0x9E3779B97F4A7C15) & mask
        bits = ((key ^ (key >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        numbers.append(((bits ^ (bits >> 31)) >> 11) / 2**53)
    return numbers


def test_numbers_are_splitmix64s():
    keys = np.array([0, 1, 2**64 - 1], dtype=np.uint64)
    expected = [slow_splitmix(int(key), 4) for key in keys]
    np.testing.assert_array_equal(uniforms(keys, 4), expected)


def test_the_next_key_goes_on_where_the_numbers_ended():
    keys = draw_keys(np.random.default_rng(0), 5)
    np.testing.assert_array_equal(uniforms(keys, 6)[:, 4:], uniforms(next_keys(keys, 4), 2))


def test_numbers_of_different_keys_are_uniform_normal_and_unrelated():
    keys = draw_keys(np.random.default_rng(0), 100_000)
    first, second = uniforms(keys, 2).T
    counts = np.histogram(first, bins=10, range=(0, 1))[0]
    np.testing.assert_allclose(counts, 10_000, atol=400)
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0, abs=0.01)
    assert np.corrcoef(first[1:], first[:-1])[0, 1] == pytest.approx(0, abs=0.01)
    numbers = normal(keys)
    assert (numbers.mean(), numbers.std()) == pytest.approx((0, 1), abs=0.01)
    assert (np.abs(numbers) > 1.96).mean() == pytest.approx(0.05, abs=0.003)
