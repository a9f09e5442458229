import numpy as np
import pytest

from worldmodels.viz.dream import DreamRecord
from worldmodels.viz.panels import dream_panels
from worldmodels.viz.theme import BLUE, INK, ORANGE
from worldmodels.viz.trace import played, reward_trace

# Every panel of the records below is one flat colour.
TRUTH, SEEN, FUTURES = (200, 10, 10), (10, 200, 10), ((10, 10, 200), (10, 200, 200))
AREA = 8 * 10 * 4 * 4
BORDER = (8 * 4 + 8) * (10 * 4 + 8) - AREA  # 4 pixels all around


def flat(colour, *leading, size=(8, 10)):
    frame = np.array(colour, np.uint8)[:, None, None]
    return np.broadcast_to(frame, (*leading, 3, *size)).copy()


def record(context=3, horizon=4, futures=2, start=0):
    rows = context + horizon
    return DreamRecord(
        flat(TRUTH, rows),
        flat(SEEN, rows),
        np.stack([flat(FUTURES[n], horizon) for n in range(futures)]),
        np.linspace(0, 1, rows),
        np.linspace(0, 1, rows),
        np.ones((futures, horizon)),
        context,
        start,
    )


def count(frame, colour):
    return int((frame == np.array(colour)).all(-1).sum())


def panels_of(frame):
    """The part with the panels, without the header and the curve."""
    return frame[70:160]


def test_one_frame_per_row():
    assert len(dream_panels(record(context=3, horizon=4), scale=4)) == 7


def test_context_shows_the_reconstruction_in_place_of_every_dream():
    for frame in dream_panels(record(), scale=4)[:3]:
        assert count(frame, TRUTH) == AREA
        assert count(frame, SEEN) == 3 * AREA
        assert count(frame, FUTURES[0]) == 0


def test_dream_shows_each_future_beside_truth_and_reconstruction():
    for frame in dream_panels(record(), scale=4)[3:]:
        assert count(frame, TRUTH) == AREA
        assert count(frame, SEEN) == AREA
        assert [count(frame, colour) for colour in FUTURES] == [AREA, AREA]


def test_borders_are_blue_where_frames_are_seen_and_orange_where_not():
    frames = dream_panels(record(), scale=4)
    for frame in map(panels_of, frames[:3]):
        assert (count(frame, BLUE), count(frame, ORANGE)) == (3 * BORDER, 0)
    for frame in map(panels_of, frames[3:]):
        assert (count(frame, BLUE), count(frame, ORANGE)) == (BORDER, 2 * BORDER)


def test_columns_stand_in_order():
    frame = dream_panels(record(), scale=4)[-1]
    places = [np.nonzero((frame == c).all(-1))[1].mean() for c in (TRUTH, SEEN, *FUTURES)]
    assert places == sorted(places)


def test_each_step_shows_its_own_frame():
    dream = record(context=1, horizon=3, futures=1)
    for row in range(4):
        dream.truth[row] = flat((60 + row, 0, 0))
    frames = dream_panels(dream, scale=4)
    assert [count(frame, (60 + row, 0, 0)) for row, frame in enumerate(frames)] == [AREA] * 4


def test_grey_worlds_are_drawn():
    grey = [frames[..., :1, :, :] for frames in record()[:3]]
    frame = dream_panels(
        record()._replace(truth=grey[0], reconstruction=grey[1], dream=grey[2]), scale=4
    )[-1]
    assert count(frame, (200, 200, 200)) == AREA


def test_cursor_stands_on_its_step_and_dims_what_is_to_come():
    trace = reward_trace(record(start=20), width=500, height=150)
    np.testing.assert_allclose(np.diff(trace.columns, 2), 0, atol=1e-9)
    for step in range(7):
        picture = played(trace, step)
        column = round(trace.columns[step])
        assert (picture[trace.top : trace.bottom, column] == INK).all()
        past, future = np.s_[:, : column - 1], np.s_[trace.top : trace.bottom, column + 2 : 490]
        np.testing.assert_array_equal(picture[past], trace.picture[past])
        assert (picture[future].astype(int) <= trace.picture[future]).all()


def test_curve_rises_with_the_reward():
    dream = record()._replace(
        reward=np.array([0.0, 0, 0, 0, 1, 1, 1]), dream_reward=np.zeros((2, 4))
    )
    trace = reward_trace(dream, width=500, height=150)
    white = (trace.picture == INK).all(-1)[trace.top : trace.bottom]
    heights = [np.nonzero(white[:, round(trace.columns[t])])[0].mean() for t in (1, 5)]
    assert heights[0] > heights[1] + 40


def test_record_that_does_not_fit_is_refused():
    dream = record()
    with pytest.raises(ValueError, match=r"dream_reward has shape \(2, 3\).*must have \(2, 4\)"):
        dream_panels(dream._replace(dream_reward=np.zeros((2, 3))))
    with pytest.raises(ValueError, match=r"context=0, 2 futures of 7 steps"):
        dream_panels(record(context=0, horizon=7))
