import numpy as np

from worldmodels.envs.worlds.discs import draw_discs
from worldmodels.envs.worlds.drawing import SIDE


def slow_discs(centres: np.ndarray, radius: float) -> np.ndarray:
    """Largest coverage of every pixel, one pixel at a time."""
    frame = np.zeros((SIDE, SIDE))
    for row in range(SIDE):
        for column in range(SIDE):
            distance = np.hypot(*(np.array([column + 0.5, row + 0.5]) - centres).T)
            frame[row, column] = np.clip(radius + 0.5 - distance, 0, 1).max()
    return frame


def test_a_batch_of_overlapping_discs_equals_the_pixel_by_pixel_formula():
    rng = np.random.default_rng(0)
    centres = rng.uniform(-2, 66, (3, 6, 2))
    centres[:, 3:] = centres[:, :3] + rng.uniform(-2, 2, (3, 3, 2))
    for radius in (0.7, 1.0, 3.3):
        frames = np.zeros((3, SIDE, SIDE, 3), dtype=np.uint8)
        draw_discs(frames, centres, radius, (255, 255, 255))
        for index in range(3):
            expected = np.rint(255 * slow_discs(centres[index], radius))
            np.testing.assert_array_equal(frames[index, :, :, 0], expected)


def test_colour_is_mixed_with_what_lies_below():
    frames = np.full((1, SIDE, SIDE, 3), 100, dtype=np.uint8)
    # A pixel's centre, and one pixel beside it at coverage 1.2 + 0.5 - 1 = 0.7.
    draw_discs(frames, np.array([[[10.5, 20.5]]]), 1.2, (200, 0, 100))
    assert frames[0, 20, 10].tolist() == [200, 0, 100]
    assert frames[0, 20, 11].tolist() == [170, 30, 100]
    assert frames[0, 20, 13].tolist() == [100, 100, 100]
