from itertools import pairwise

import numpy as np
import pytest

from worldmodels.replay.sampling import Piece, RecencyMixed, Uniform, draw

ROWS = np.array([2, 3, 7, 20, 2])
LENGTH = 12


def drawn(rows: np.ndarray, batch: int, seed: int) -> list[Piece]:
    rng = np.random.default_rng(seed)
    return draw(rows, LENGTH, Uniform().oldest(rows, batch, rng), rng)


@pytest.mark.parametrize("seed", range(20))
def test_pieces_fill_every_position_once_and_only_an_episodes_end_starts_another(seed: int):
    rows = np.random.default_rng(seed).integers(2, 30, size=seed + 1)
    pieces = drawn(rows, 8, seed)
    for sequence in range(8):
        own = [piece for piece in pieces if piece.sequence == sequence]
        covered = [p for piece in own for p in range(piece.position, piece.position + piece.rows)]
        assert covered == list(range(LENGTH))
        assert all(piece.row + piece.rows <= rows[piece.episode] for piece in own)
        for piece, following in pairwise(own):
            assert piece.row + piece.rows == rows[piece.episode]
            assert following.row == 0


def test_every_row_is_equally_likely_at_every_position():
    batch = 34_000
    counts = np.zeros((LENGTH, ROWS.sum()), int)
    starts = np.cumsum(ROWS) - ROWS
    for piece in drawn(ROWS, batch, 0):
        for step in range(piece.rows):
            counts[piece.position + step, starts[piece.episode] + piece.row + step] += 1
    expected = batch / ROWS.sum()
    # 408 counts with a standard deviation of 31 around 1000: five of them.
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    # Together: chi-squared per degree of freedom near 1 at each position.
    assert ((counts - expected) ** 2 / expected).mean(axis=1).max() < 1.8


def test_uniform_rows_are_the_stationary_distribution_of_the_walk_exactly():
    ends = np.cumsum(ROWS) - 1
    step = np.zeros((ROWS.sum(), ROWS.sum()))
    for row in range(ROWS.sum()):
        if row in ends:
            step[row, np.cumsum(ROWS) - ROWS] = 1 / len(ROWS)
        else:
            step[row, row + 1] = 1
    uniform = np.full(ROWS.sum(), 1 / ROWS.sum())
    np.testing.assert_allclose(uniform @ step, uniform, rtol=1e-12)


def test_a_lone_episode_of_one_action_repeats_itself():
    pieces = drawn(np.array([2]), 1, 0)
    assert {piece.episode for piece in pieces} == {0}
    assert sum(piece.rows for piece in pieces) == LENGTH


@pytest.mark.parametrize(("window", "first"), [(1, 4), (2, 4), (3, 3), (22, 3), (23, 2), (99, 0)])
def test_the_recent_window_is_the_newest_whole_episodes_that_fill_it(window: int, first: int):
    oldest = RecencyMixed(1.0, window).oldest(ROWS, 6, np.random.default_rng(0))
    assert oldest.tolist() == [first] * 6


def test_recent_sequences_show_recent_episodes_alone():
    rng = np.random.default_rng(0)
    oldest = RecencyMixed(0.5, 22).oldest(ROWS, 4, rng)
    assert oldest.tolist() == [3, 3, 0, 0]
    for seed in range(50):
        for piece in draw(ROWS, LENGTH, oldest, np.random.default_rng(seed)):
            assert piece.episode >= oldest[piece.sequence]


def test_a_fraction_that_does_not_divide_the_batch_holds_on_average():
    sampler, rng = RecencyMixed(0.3, 2), np.random.default_rng(0)
    recent = [int((sampler.oldest(ROWS, 5, rng) > 0).sum()) for _ in range(2000)]
    assert set(recent) == {1, 2}
    assert abs(np.mean(recent) - 1.5) < 0.05


def test_settings_out_of_range_are_refused_by_name():
    with pytest.raises(ValueError, match=r"RecencyMixed: fraction=1\.5: choose 0 to 1"):
        RecencyMixed(fraction=1.5)
    with pytest.raises(ValueError, match="RecencyMixed: window=0: choose 1 or more"):
        RecencyMixed(window=0)
