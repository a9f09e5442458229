import numpy as np
import pytest

from worldmodels.envs.worlds.drawing import SIDE, draw_box, draw_capsule, fill, gradient

WHITE = (255, 255, 255)


def black(num: int) -> np.ndarray:
    return np.zeros((num, SIDE, SIDE, 3), dtype=np.uint8)


def slow_capsule(start: np.ndarray, end: np.ndarray, radius: float) -> np.ndarray:
    """Coverage of every pixel, one pixel at a time."""
    frame = np.zeros((SIDE, SIDE))
    for row in range(SIDE):
        for column in range(SIDE):
            point = np.array([column + 0.5, row + 0.5])
            along = end - start
            share = np.clip((point - start) @ along / max(along @ along, 1e-12), 0, 1)
            distance = np.linalg.norm(point - start - share * along)
            frame[row, column] = np.clip(radius + 0.5 - distance, 0, 1)
    return np.rint(255 * frame)


def test_a_batch_of_capsules_equals_the_pixel_by_pixel_formula():
    start = np.array([[20.3, 30.8], [10.0, 60.0], [40.2, 40.2], [31.0, 5.5], [-3.0, 62.0]])
    end = np.array([[44.9, 36.1], [13.0, 20.0], [40.2, 40.2], [31.0, 25.5], [9.0, 70.0]])
    frames = black(5)
    draw_capsule(frames, start, end, 1.9, WHITE)
    for index in range(5):
        expected = slow_capsule(start[index], end[index], 1.9)
        np.testing.assert_array_equal(frames[index, :, :, 0], expected)


@pytest.mark.parametrize("shift", [0.0, 0.13, 0.5, 0.77])
def test_a_disc_keeps_its_area_and_its_centre_at_every_sub_pixel_shift(shift):
    centre = np.array([[20.0 + shift, 30.0 - shift]])
    frames = black(1)
    draw_capsule(frames, centre, centre, 3.0, WHITE)
    cover = frames[0, :, :, 0] / 255.0
    pixels = np.arange(SIDE) + 0.5
    assert cover.sum() == pytest.approx(np.pi * 9, rel=0.02)
    assert (cover.sum(0) @ pixels) / cover.sum() == pytest.approx(centre[0, 0], abs=0.02)
    assert (cover.sum(1) @ pixels) / cover.sum() == pytest.approx(centre[0, 1], abs=0.02)


def test_a_box_covers_exactly_its_area_with_fractional_borders():
    frames = black(1)
    draw_box(frames, np.array([[10.25, 20.5]]), (2.0, 1.5), WHITE)
    cover = frames[0, :, :, 0]
    # x from 8.25 to 12.25: columns 8 (0.75), 9, 10, 11, 12 (0.25); y from 19 to 22.
    np.testing.assert_array_equal(cover[19, 7:14], [0, 191, 255, 255, 255, 64, 0])
    np.testing.assert_array_equal(cover[18:23, 10], [0, 255, 255, 255, 0])


def test_colour_is_mixed_with_what_lies_below():
    frames = np.full((1, SIDE, SIDE, 3), 100, dtype=np.uint8)
    draw_box(frames, np.array([[10.5, 10.0]]), (1.0, 1.0), (200, 0, 100))
    np.testing.assert_array_equal(frames[0, 9, 8:13, 0], [100, 150, 200, 150, 100])
    np.testing.assert_array_equal(frames[0, 9, 8:13, 1], [100, 50, 0, 50, 100])
    assert (frames[0, :, :, 2] == 100).all()


def test_fill_weighs_a_pixel_by_the_share_the_region_covers():
    image = fill(gradient((0, 0, 0), (0, 0, 0)), lambda x, y: (x < 10.25) & (y > 60), WHITE)
    np.testing.assert_array_equal(image[60, 9:12, 0], [255, 64, 0])
    np.testing.assert_array_equal(image[58:61, 0, 0], [0, 0, 255])
