import numpy as np
import pytest

from worldmodels.envs.actions import random_actions
from worldmodels.envs.base import Frames, PixelEnv
from worldmodels.envs.check import Range, check_env, check_pixel_env
from worldmodels.envs.make import make_env
from worldmodels.types import ActionSpace


class Scripted(PixelEnv):
    """Two copies of 2 x 2 pixels: the first ends twice and moves one pixel, the second rests."""

    num_envs, obs_shape, action_space = 2, (1, 2, 2), ActionSpace(2, False)
    name, frame_rate, action_repeat = "Scripted", 10.0, 1

    reward = ((0, 1, 2, 0, 4), (0, -1, 0, 0, 0))
    is_first = ((1, 0, 0, 1, 0), (1, 0, 0, 0, 0))
    is_terminal = ((0, 0, 1, 0, 0), (0, 0, 0, 0, 0))
    is_last = ((0, 0, 1, 0, 1), (0, 0, 0, 0, 0))

    def reset(self, seed: int) -> Frames:
        self.time = 0
        return self.row()

    def step(self, action: np.ndarray) -> Frames:
        self.time += 1
        return self.row()

    def row(self) -> Frames:
        obs = np.full((2, 1, 2, 2), 5, dtype=np.uint8)
        obs[0, 0, 0, 0] = 10 * self.time
        obs[1] = 7
        reward = np.array(self.reward, np.float32)[:, self.time]
        flags = (self.is_first, self.is_terminal, self.is_last)
        return Frames(obs, reward, *(np.array(flag, bool)[:, self.time] for flag in flags))

    def close(self) -> None:
        raise AssertionError("not ours to close")


class Dark(Scripted):
    """Black, and nothing is ever earned."""

    reward = ((0,) * 5, (0,) * 5)

    def row(self) -> Frames:
        return super().row()._replace(obs=np.zeros((2, 1, 2, 2), np.uint8))


def test_every_number_of_the_report_is_the_one_of_the_script():
    report = check_pixel_env(Scripted(), steps=4)
    # Four steps of two copies, less the first row of an episode in the middle.
    assert report.steps == 7
    assert report.lengths == [2, 1]
    assert report.returns == [3, 4]
    assert report.terminations == 1
    assert report.reward == Range(-1, 4, pytest.approx(6 / 7))
    # Copy 0 shows (10 t + 15) / 4 at time t, copy 1 shows 7.
    assert report.pixels == Range(0, 40, (43.75 + 35) / 10)
    assert report.changing == pytest.approx(3 / 7)
    assert report.alive == 1 / 8
    assert report.gb_per_million == pytest.approx((4 + 2 * 4 + 6) / 1000)
    assert report.warnings == []


def test_the_lines_of_the_report_are_a_table():
    lines = check_pixel_env(Scripted(), steps=4)._replace(steps_per_second=1234.5).lines()
    assert lines == [
        "environment      Scripted, 2 copies",
        "frames           1 x 2 x 2 bytes",
        "actions          2 numbers in [-1, 1]",
        "autoreset        done by Scripted",
        "time             10 agent steps/s, 1 frames each",
        "pixels           0 to 40, mean 7.875",
        "movement         in 43% of steps, of 12.5% of the pixels",
        "reward per step  -1 to 4, mean 0.8571",
        "episodes         2 of 1 to 2 steps, mean 1.5; 1 terminated, 1 truncated; "
        "returns 3 to 4, mean 3.5",
        "speed            1,234 agent steps/s (7 random steps)",
        "replay           0.02 GB for 1M steps",
    ]


def test_a_black_still_and_worthless_environment_is_warned_of():
    assert check_pixel_env(Dark(), steps=1).warnings == [
        "no frame ever changes: is this the right image, or is it too small?",
        "every pixel is black: does the renderer work?",
        "the reward is always 0: random actions earn nothing",
        "no episode ended within 1 steps: set time_limit if it never does",
    ]


def test_the_report_counts_what_can_be_counted_by_hand():
    # Counts 0, 1, 2, 3 and again: rows 4 and 8 start new episodes of both copies.
    report = check_env("worldmodels/Counting-v0", steps=9, num_envs=2, time_limit=3)
    assert report.steps == 2 * (3 + 3 + 1)
    assert report.lengths == [3, 3, 3, 3]
    assert report.returns == [6, 6, 6, 6]
    assert report.terminations == 0
    assert report.reward[:2] == (1, 3)
    assert report.reward.mean == pytest.approx((1 + 2 + 3 + 1 + 2 + 3 + 1) / 7)
    assert report.changing == 1
    assert report.alive == 1
    assert report.pixels.low == 0
    assert report.pixels.high in (64, 128, 192)
    assert report.gb_per_million == pytest.approx(3 * 64 * 64 / 1e3 + (3 * 4 + 6) / 1e3)
    assert report.warnings == []


def test_the_table_tells_spaces_speed_autoreset_and_weight():
    # Copies of 1 and 2 steps: rows 1, 3, 5 and 2, 5 end episodes.
    text = str(check_env("sample_envs:clocks", 6, num_envs=2, options={"mode": "SAME_STEP"}))
    assert "sample_envs:clocks, 2 copies" in text
    assert "3 x 64 x 64 bytes, from the observation of Box(0, 255, (16, 16, 3), uint8)" in text
    assert "3 choices, from Discrete(3)" in text
    assert "SAME_STEP (VectorEnvs)" in text
    assert "20 agent steps/s, 1 frames each" in text
    assert "5 of 1 to 2 steps, mean 1.4; 5 terminated, 0 truncated" in text
    assert "returns 1 to 3, mean 1.8" in text
    assert "12.31 GB for 1M steps" in text
    assert "warning" not in text


def test_what_hinders_learning_is_warned_of():
    report = check_env("sample_envs:Careless", 1, options={"length": 9}, size=(16, 16))
    assert report.warnings == [
        "the reward is always 1: random actions earn nothing",
        "no episode ended within 1 steps: set time_limit if it never does",
    ]
    assert "none ended within 1 steps" in str(report)
    # A world with one choice whose frames do not move.
    still = check_env("sample_envs:Still", 4, size=(16, 16)).warnings
    assert still[:2] == [
        "no frame ever changes: is this the right image, or is it too small?",
        "every pixel has the same value: there is nothing to see",
    ]


def test_speed_is_steps_over_time():
    report = check_env("worldmodels/Counting-v0", steps=40)
    assert 10 < report.steps_per_second < 1e6


@pytest.mark.parametrize("name", ["Counting", "CartSwing"])
def test_random_actions_cover_the_space(name):
    space = make_env(f"worldmodels/{name}-v0").action_space
    action = random_actions(space, 300, np.random.default_rng(0))
    assert action.shape == (300, space.dim)
    if space.discrete:
        assert (action.sum(-1) == 1).all()
        assert (action.mean(0) > 0.25).all()
    else:
        assert action.min() < -0.95
        assert action.max() > 0.95
        assert np.abs(action).max() <= 1


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps=0: choose 1 or more"):
        check_env("worldmodels/Counting-v0", steps=0)
