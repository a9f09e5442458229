import numpy as np
import pytest

from worldmodels.viz.frames import error_pictures, scale_for, to_pictures


def test_pixels_become_squares_without_smoothing():
    obs = np.array([[[1, 2]], [[3, 4]], [[5, 6]]], np.uint8)  # 3 channels, 1 x 2 pixels
    red = [[1, 1, 2, 2], [1, 1, 2, 2]]
    picture = to_pictures(obs, 2)
    np.testing.assert_array_equal(picture[..., 0], red)
    np.testing.assert_array_equal(picture[..., 2], np.array(red) + 4)


def test_one_channel_becomes_grey():
    picture = to_pictures(np.array([[[[7]]], [[[9]]]], np.uint8))
    np.testing.assert_array_equal(picture, [[[[7, 7, 7]]], [[[9, 9, 9]]]])


@pytest.mark.parametrize(("channels", "shown"), [(4, [3, 3, 3]), (6, [3, 4, 5]), (9, [6, 7, 8])])
def test_newest_frame_of_a_stack_is_shown(channels, shown):
    obs = np.arange(channels, dtype=np.uint8)[:, None, None]
    np.testing.assert_array_equal(to_pictures(obs)[0, 0], shown)


def test_error_runs_from_black_to_yellow_in_the_worst_channel():
    truth = np.zeros((3, 1, 3), np.uint8)
    prediction = truth.copy()
    prediction[1, 0, 1], prediction[2, 0, 2] = 100, 255
    black, middle, worst = error_pictures(prediction, truth)[0].astype(int)
    assert black.sum() < 10 < middle.sum() < worst.sum()
    assert (worst[:2] > 240).all()
    # Too bright and too dark look alike.
    np.testing.assert_array_equal(error_pictures(truth, prediction)[0, 2], worst)


def test_scale_brings_frames_close_to_the_wanted_size():
    assert scale_for(np.zeros((3, 64, 64), np.uint8)) == 3
    assert scale_for(np.zeros((3, 210, 160), np.uint8)) == 1
    assert scale_for(np.zeros((3, 500, 500), np.uint8)) == 1


def test_scale_below_one_is_refused():
    with pytest.raises(ValueError, match="scale=0: give a whole number"):
        to_pictures(np.zeros((3, 2, 2), np.uint8), 0)
