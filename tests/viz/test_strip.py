import numpy as np
import pytest

from worldmodels.viz.dream import DreamRecord
from worldmodels.viz.frames import error_pictures
from worldmodels.viz.strip import dream_strip
from worldmodels.viz.theme import BLUE, ORANGE

LEFT, TOP, CELL = 112, 24, 2 * 4 + 4  # 4 pixels a side, drawn twice as large, and a gap


def record(rows=7, context=3):
    """Flat frames that tell what and when they are: 10 t, 10 t + 1, and 100 + h for the dream."""

    def flat(values):
        return np.tile(np.array(values, np.uint8)[:, None, None, None], (1, 3, 4, 4))

    horizon = rows - context
    return DreamRecord(
        truth=flat([10 * t for t in range(rows)]),
        reconstruction=flat([10 * t + 1 for t in range(rows)]),
        dream=np.stack([flat([100 + h for h in range(horizon)]), flat([200] * horizon)]),
        reward=np.zeros(rows),
        reconstruction_reward=np.zeros(rows),
        dream_reward=np.zeros((2, horizon)),
        context=context,
        start=0,
    )


def cell(strip, row, column):
    """The 8 x 8 pixels of a frame; they must be of one colour, which is returned."""
    top, left = TOP + row * CELL, LEFT + column * CELL
    pixels = strip[top : top + 8, left : left + 8].reshape(-1, 3)
    assert (pixels == pixels[0]).all()
    return pixels[0]


def test_rows_are_truth_reconstruction_dream_and_error():
    strip = dream_strip(record(), scale=2)
    assert strip.shape == (TOP + 4 * CELL, LEFT + 7 * CELL, 3)
    assert [cell(strip, 0, t)[0] for t in range(7)] == [0, 10, 20, 30, 40, 50, 60]
    assert [cell(strip, 1, t)[0] for t in range(7)] == [1, 11, 21, 31, 41, 51, 61]
    assert [cell(strip, 2, t)[0] for t in range(7)] == [1, 11, 21, 100, 101, 102, 103]
    errors = np.array([1, 1, 1, 70, 61, 52, 43], np.uint8)[:, None, None, None]
    expected = error_pictures(errors, np.zeros_like(errors))[:, 0, 0]
    for t in range(7):
        assert (cell(strip, 3, t) == expected[t]).all()


def test_few_columns_are_evenly_spaced_with_first_and_last():
    strip = dream_strip(record(), columns=3, scale=2)
    assert [cell(strip, 0, column)[0] for column in range(3)] == [0, 30, 60]


def test_a_line_over_each_column_tells_seen_from_dreamt():
    strip = dream_strip(record(), scale=2)
    colours = [tuple(strip[TOP - 3, LEFT + t * CELL]) for t in range(7)]
    assert colours == [BLUE] * 3 + [ORANGE] * 4


def test_one_column_is_refused():
    with pytest.raises(ValueError, match="columns=1: choose at least 2"):
        dream_strip(record(), columns=1)
