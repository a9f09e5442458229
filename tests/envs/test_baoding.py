from functools import partial

import numpy as np
import pytest
from rollouts import play, random_policy

from worldmodels.envs.world_env import WorldEnv
from worldmodels.envs.worlds.baoding import BaodingPix, BaodingState
from worldmodels.studies import oracles

STILL = ((0.0, 0.0), (0.0, 0.0))


def at(
    first: tuple[float, float],
    second: tuple[float, float],
    velocity: tuple[tuple[float, float], tuple[float, float]] = STILL,
    phase: float = 0.0,
) -> BaodingState:
    return BaodingState(
        np.array([[first, second]]), np.array([velocity]), np.array([phase]), np.array([False])
    )


def zeros() -> np.ndarray:
    return np.zeros((1, 8))


def test_without_fingers_a_ball_keeps_95_hundredths_of_its_velocity_and_feels_the_slope():
    state = at((0.4, 0.0), (-0.5, 0.2), velocity=((0.0, 0.1), (0.0, 0.0)))
    after = BaodingPix().step(state, zeros()).state
    np.testing.assert_allclose(after.velocity[0], [[-0.002, 0.095], [0.0025, -0.001]], atol=1e-15)
    np.testing.assert_allclose(after.position[0], [[0.398, 0.095], [-0.4975, 0.199]], atol=1e-15)


def test_a_finger_pushes_both_balls_away_from_itself_by_the_bell_of_their_distance():
    # Finger 2 stands at (0, 1): 0.5 above the first ball, 1.5 above the second.
    action = zeros()
    action[0, 2] = 1.0
    world = BaodingPix()
    state = at((0.0, 0.5), (0.0, -0.5))
    push = world.step(state, action).state.velocity - world.step(state, zeros()).state.velocity
    near, far = (0.04 * np.exp(-((distance / 0.6) ** 2)) for distance in (0.5, 1.5))
    np.testing.assert_allclose(push[0], [[0.0, -near], [0.0, -far]], atol=1e-15)
    pull = world.step(state, -5 * action).state.velocity - world.step(state, zeros()).state.velocity
    np.testing.assert_allclose(pull, -push, atol=1e-15)


def test_opposite_fingers_push_a_ball_in_the_middle_equally():
    world = BaodingPix()
    velocity = world.step(at((0.0, 0.0), (0.9, 0.0)), np.ones((1, 8))).state.velocity
    assert velocity[0, 0] == pytest.approx([0.0, 0.0], abs=1e-15)


def test_touching_balls_push_each_other_apart():
    # Centres 0.3 apart, radii 0.16: an overlap of 0.02, at stiffness 0.2.
    velocity = BaodingPix().step(at((-0.15, 0.0), (0.15, 0.0)), zeros()).state.velocity[0]
    slope = 0.005 * 0.15
    np.testing.assert_allclose(velocity, [[-0.004 + slope, 0], [0.004 - slope, 0]], atol=1e-15)


def test_targets_turn_a_fiftieth_of_a_circle_per_step_opposite_each_other():
    world, state = BaodingPix(), at((0.5, 0.0), (-0.5, 0.0), phase=0.1)
    after = world.step(state, zeros()).state
    angle = 0.1 + 2 * np.pi / 50
    place = 0.55 * np.array([np.cos(angle), np.sin(angle)])
    np.testing.assert_allclose(world.targets(after.phase)[0], [place, -place], atol=1e-15)


def test_the_reward_is_the_mean_of_what_both_balls_earn():
    # After the step the targets are at (0.55, 0) and (-0.55, 0); gaps 0 and 0.3 = twice the width.
    world = BaodingPix()
    world.bowl = 0.0
    state = at((0.55, 0.0), (-0.25, 0.0), phase=-2 * np.pi / 50)
    step = world.step(state, zeros())
    assert step.reward == pytest.approx([(1 + 1 / 5) / 2])
    info = world.info(step.state)
    assert (info["first"][0], info["second"][0]) == pytest.approx((0.0, 0.3))


def test_a_ball_past_the_rim_costs_10_once_and_ends_the_episode():
    world = BaodingPix()
    state = at((0.95, 0.0), (-0.5, 0.0), velocity=((0.1, 0.0), (0.0, 0.0)))
    step = world.step(state, zeros())
    assert (step.reward[0], step.terminated[0]) == (-10.0, True)
    assert world.info(step.state)["dropped"][0]
    again = world.step(step.state, np.ones((1, 8)))
    assert (again.reward[0], again.terminated[0]) == (0.0, True)
    np.testing.assert_array_equal(again.state.position, step.state.position)
    np.testing.assert_array_equal(again.state.phase, step.state.phase)
    slow = at((0.95, 0.0), (-0.5, 0.0), velocity=((0.05, 0.0), (0.0, 0.0)))
    assert not world.step(slow, zeros()).terminated[0]


def test_the_scripted_fingers_track_and_random_ones_earn_little_and_drop():
    world = BaodingPix()
    start = world.reset(np.random.default_rng(0), 300)
    best = play(world, partial(oracles.baoding, world), start)
    assert best.survived.all()
    assert best.returns.mean() == pytest.approx(97.7, abs=0.3)
    random = play(world, random_policy(world), start)
    assert random.returns.mean() == pytest.approx(2.3, abs=1.5)
    assert 0.4 < random.survived.mean() < 0.6
    idle = play(world, lambda state: np.zeros((300, 8)), start)
    assert idle.returns.mean() == pytest.approx(8.9, abs=0.3)


def test_an_episode_is_truncated_after_100_steps():
    env = WorldEnv(BaodingPix())
    env.reset(seed=0)
    ends = [env.step(np.zeros(8, dtype=np.float32))[2:4] for _ in range(100)]
    assert ends == [(False, False)] * 99 + [(False, True)]


def centre_of(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return columns.mean() + 0.5, rows.mean() + 0.5


def test_balls_and_targets_are_drawn_26_pixels_per_unit_from_the_middle():
    # Balls away from their targets at (0, 0.55) and (0, -0.55).
    state = at((0.5, 0.3), (-0.6, -0.1), phase=np.pi / 2)
    frame = BaodingPix().render(state)[0].astype(int)
    red = (frame[:, :, 0] - frame[:, :, 2] > 110) & (frame[:, :, 1] < 100)
    blue = frame[:, :, 2] - frame[:, :, 0] > 110
    upper, lower = np.arange(64)[:, None] < 25, np.arange(64)[:, None] > 40
    right, left = np.arange(64) > 38, np.arange(64) < 26
    for mask, (x, y), size in (
        (red & right, (0.5, 0.3), 30),
        (blue & left, (-0.6, -0.1), 30),
        (red & upper & ~right, (0.0, 0.55), 8),
        (blue & lower & ~left, (0.0, -0.55), 8),
    ):
        assert mask.sum() >= size
        assert centre_of(mask) == pytest.approx((32 + 26 * x, 32 - 26 * y), abs=0.5)


def test_eight_fingers_show_at_the_rim():
    frame = BaodingPix().render(at((0.3, 0.0), (-0.3, 0.0)))[0]
    for finger in range(8):
        angle = finger * np.pi / 4
        x, y = 32 + 29 * np.cos(angle), 32 - 29 * np.sin(angle)
        assert frame[int(min(y, 63)), int(min(x, 63))].tolist() == [232, 184, 150]
