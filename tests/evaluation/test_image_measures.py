import math

import numpy as np
import pytest
import torch

from worldmodels.evaluation.images import (
    masked_squared_error,
    moving_pixels,
    squared_error,
    ssim,
    to_psnr,
)


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


def slow_ssim(first, second):
    """Loops over every window of the two images, in double precision."""
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    values = []
    for x, y in zip(first.double().numpy(), second.double().numpy()):
        for row in range(x.shape[0] - 10):
            for column in range(x.shape[1] - 10):
                part = np.s_[row : row + 11, column : column + 11]
                mean_x, mean_y = (weights * x[part]).sum(), (weights * y[part]).sum()
                variance_x = (weights * (x[part] - mean_x) ** 2).sum()
                variance_y = (weights * (y[part] - mean_y) ** 2).sum()
                both = (weights * (x[part] - mean_x) * (y[part] - mean_y)).sum()
                above = (2 * mean_x * mean_y + 6.5025) * (2 * both + 58.5225)
                below = (mean_x**2 + mean_y**2 + 6.5025) * (variance_x + variance_y + 58.5225)
                values.append(above / below)
    return np.mean(values)


def test_psnr_of_one_level_everywhere():
    first = torch.full((3, 4, 4), 100, dtype=torch.uint8)
    psnr = to_psnr(squared_error(first, first + 1))
    assert psnr.item() == pytest.approx(20 * math.log10(255))


def test_darker_and_brighter_count_alike():
    first = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    second = torch.tensor([[[3, 252]]], dtype=torch.uint8)
    assert squared_error(first, second).item() == 9


def test_leading_axes_stay_apart():
    first = torch.zeros(2, 3, 1, 2, 2, dtype=torch.uint8)
    second = torch.arange(6, dtype=torch.uint8).reshape(2, 3, 1, 1, 1).expand_as(first)
    assert squared_error(first, second).tolist() == [[0, 1, 4], [9, 16, 25]]


def test_equal_frames_have_a_finite_psnr():
    frame = noise(3, 4, 4)
    assert to_psnr(squared_error(frame, frame)).item() == pytest.approx(78.13, abs=0.01)


def test_mask_leaves_the_still_pixels_out():
    first = torch.zeros(2, 3, 2, 2, dtype=torch.uint8)
    second = torch.zeros_like(first)
    second[0, :, 0, 0] = 6  # wrong by 6 at the one marked pixel of the first frame
    second[0, :, 1, 1] = 200
    mask = torch.tensor([[[True, False], [False, False]], [[False, False], [False, False]]])
    error = masked_squared_error(first, second, mask)
    assert error[0] == 36
    assert error[1].isnan()


def test_ssim_agrees_with_a_loop_over_windows():
    first = noise(2, 3, 13, 15)
    blend = (0.7 * first.float() + 0.3 * noise(2, 3, 13, 15, seed=1).float()).to(torch.uint8)
    expected = [slow_ssim(x, y) for x, y in zip(first, blend)]
    np.testing.assert_allclose(ssim(first, blend).numpy(), expected, atol=1e-5)


def test_ssim_of_smooth_bright_frames_survives_single_precision():
    ramp = torch.arange(16).expand(1, 16, 16).to(torch.uint8) // 4 + 250
    expected = slow_ssim(ramp, ramp.flip(-1))
    assert ssim(ramp, ramp.flip(-1)).item() == pytest.approx(expected, abs=1e-3)


def test_ssim_of_equal_frames_is_one():
    frame = noise(4, 3, 12, 12)
    torch.testing.assert_close(ssim(frame, frame), torch.ones(4))


def test_ssim_needs_room_for_its_window():
    with pytest.raises(ValueError, match="8 x 16 pixels: SSIM needs at least 11 x 11"):
        ssim(noise(3, 8, 16), noise(3, 8, 16))


def test_moving_pixels_are_where_the_ball_is():
    frames = torch.full((7, 3, 4, 5), 90, dtype=torch.uint8)
    where = torch.zeros(7, 4, 5, dtype=torch.bool)
    for t in range(5):
        frames[t, 0, 2, t] = 200  # red alone changes
        where[t, 2, t] = True
    frames[:, :, 0, 0] += torch.tensor([0, 16, 0, 16, 0, 16, 0], dtype=torch.uint8)[:, None]
    torch.testing.assert_close(moving_pixels(frames), where)  # a flicker of 16 levels is still
