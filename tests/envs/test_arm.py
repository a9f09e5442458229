from functools import partial

import numpy as np
import pytest
from rollouts import play, random_policy

from worldmodels.envs.world_env import WorldEnv
from worldmodels.envs.worlds.arm import ArmN, ArmState
from worldmodels.studies import oracles

PIXELS = np.arange(64) + 0.5
FAR = (9.0, 9.0)


def at(
    angle: list[float],
    target: tuple[float, float] = (0.5, 0.5),
    obstacle: tuple[float, float] = FAR,
) -> ArmState:
    return ArmState(*(np.array([field]) for field in (angle, target, obstacle)))


def test_joints_turn_by_15_hundredths_of_the_clipped_action():
    step = ArmN(links=3).step(at([0.1, 0.2, 0.3]), np.array([[1.0, -0.5, 7.0]]))
    assert step.state.angle[0] == pytest.approx([0.25, 0.125, 0.45], abs=1e-15)
    assert not step.terminated[0]


def test_joints_of_two_links_are_where_the_angles_put_them():
    # Up, then a right angle to the left: the elbow at (0, 1/2), the tip at (-1/2, 1/2).
    joints = ArmN(links=2).joints(at([np.pi / 2, np.pi / 2]))[0]
    np.testing.assert_allclose(joints, [[0, 0], [0, 0.5], [-0.5, 0.5]], atol=1e-15)


def test_sixteen_links_end_where_a_sum_of_complex_numbers_does():
    angle = np.random.default_rng(0).uniform(-1, 1, 16)
    heading, tip = 0.0, 0j
    for turn in angle:
        heading += turn
        tip += np.exp(1j * heading) / 16
    info = ArmN(links=16).info(at(angle.tolist()))
    assert (info["tip_x"][0], info["tip_y"][0]) == pytest.approx((tip.real, tip.imag))
    assert info["distance"][0] == pytest.approx(abs(tip - (0.5 + 0.5j)))


def test_the_reward_is_1_at_the_target_a_half_at_width_and_a_fifth_at_twice_the_width():
    world = ArmN(links=2)
    for gap, reward in ((0.0, 1.0), (0.2, 0.5), (0.4, 0.2)):
        state = at([0.0, 0.0], target=(1.0 - gap, 0.0))
        assert world.step(state, np.zeros((1, 2))).reward == pytest.approx([reward])


def test_the_return_is_smooth_without_an_obstacle():
    # Central differences of two sizes agree: the gradient exists in every action.
    world, rng = ArmN(links=5), np.random.default_rng(0)
    start = at([0.3, 0.4, -0.2, 0.3, 0.2])
    actions, direction = rng.uniform(-0.9, 0.9, (2, 10, 1, 5))

    def total(size: float) -> float:
        state, reward = start, 0.0
        for action in actions + size * direction:
            state, gain, _ = world.step(state, action)
            reward += gain[0]
        return reward

    slopes = [(total(size) - total(-size)) / (2 * size) for size in (1e-3, 1e-4)]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-4)
    assert abs(slopes[0]) > 0.1


def test_a_step_into_the_obstacle_is_refused_and_one_beside_it_is_not():
    # The stretched arm along x; the disc's rim is 0.05 above its tip.
    world = ArmN(links=2, obstacle_radius=0.15)
    state = at([0.0, 0.0], obstacle=(1.0, 0.2))
    blocked = world.step(state, np.array([[1.0, 0.0]]))
    assert blocked.state.angle.tolist() == [[0.0, 0.0]]
    # The tip rises by sin(0.03) = 0.03, which leaves 0.02; away from it everything is free.
    free = world.step(state, np.array([[0.2, 0.0]]))
    assert free.state.angle[0] == pytest.approx([0.03, 0.0])
    assert world.step(state, np.array([[-1.0, 1.0]])).state.angle[0] == pytest.approx([-0.15, 0.15])
    without = ArmN(links=2).step(state, np.array([[1.0, 0.0]]))
    assert without.state.angle[0] == pytest.approx([0.15, 0.0])


def test_links_touch_in_their_middle_too():
    world = ArmN(links=2, obstacle_radius=0.1)
    states = (at([0.0, 0.0], obstacle=(0.3, y)) for y in (0.099, 0.101, -0.099))
    assert [world.touches(state)[0] for state in states] == [True, False, True]


def test_starts_never_touch_the_obstacle_which_stands_halfway_to_the_target():
    for links in (2, 5, 16):
        world = ArmN(links, obstacle_radius=0.2)
        state = world.reset(np.random.default_rng(links), 3000)
        assert not world.touches(state).any()
        np.testing.assert_allclose(np.hypot(*state.obstacle.T), 0.7)
        distance = np.hypot(*state.target.T)
        assert 0.6 <= distance.min() < 0.61 < 0.89 < distance.max() <= 0.9
        between = np.arccos((state.target * state.obstacle).sum(1) / (0.7 * distance))
        assert 0.6 <= between.min() < 0.61 < 1.09 < between.max() <= 1.1


@pytest.mark.parametrize(("links", "best", "random"), [(2, 35.6, 1.7), (16, 46.1, 3.9)])
def test_the_scripted_policy_reaches_every_target_and_a_random_one_returns_a_tenth(
    links, best, random
):
    world = ArmN(links)
    start = world.reset(np.random.default_rng(0), 300)
    scripted = play(world, partial(oracles.arm, world), start)
    assert scripted.returns.mean() == pytest.approx(best, abs=0.1)
    assert world.info(scripted.state)["distance"].max() < 0.01
    returns = play(world, random_policy(world), start).returns
    assert returns.mean() == pytest.approx(random, abs=0.1)


def test_at_an_obstacle_the_scripted_policy_is_stuck_but_a_folded_arm_passes():
    world = ArmN(links=4, obstacle_radius=0.18)
    start = world.reset(np.random.default_rng(0), 300)
    scripted = play(world, partial(oracles.arm, world), start)
    assert scripted.returns.mean() < 8
    assert (world.info(scripted.state)["distance"] < 0.05).mean() < 0.15
    fold = np.array([0.5, -1.0, 1.0, -1.0])
    plan = [fold] * 15 + [np.array([1.0, 0.0, 0.0, 0.0])] * 11 + [-fold] * 14
    state = at([-0.8, 0.0, 0.0, 0.0], (0.9 * np.cos(0.8), 0.9 * np.sin(0.8)), (0.7, 0.0))
    for action in plan:
        after = world.step(state, action[None]).state
        assert (after.angle != state.angle).any()
        state = after
    assert world.info(state)["distance"][0] < 0.11


def test_an_episode_is_truncated_after_50_steps():
    env = WorldEnv(ArmN())
    env.reset(seed=0)
    ends = [env.step(np.zeros(4, dtype=np.float32))[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


def centre_of(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return columns.mean() + 0.5, rows.mean() + 0.5


def test_tip_target_and_obstacle_are_drawn_where_they_are():
    # 29 pixels per unit about (32, 32), y upwards; the tip alone is red, the target green.
    world = ArmN(links=3, obstacle_radius=0.2)
    state = at([2.0, -0.5, 0.3], target=(0.6, -0.3), obstacle=(-0.5, -0.4))
    frame = world.render(state)[0].astype(int)
    red, green, blue = frame.transpose(2, 0, 1)
    tip = world.joints(state)[0, -1]
    for mask, (x, y) in (
        ((red - green > 90) & (red - blue > 90), tip),
        ((green - red > 40) & (green - blue > 30), (0.6, -0.3)),
        ((frame == [92, 84, 96]).all(axis=2), (-0.5, -0.4)),
    ):
        assert mask.sum() >= 8
        assert centre_of(mask) == pytest.approx((32 + 29 * x, 32 - 29 * y), abs=0.5)


def test_every_link_shows_as_a_line_of_blue():
    world = ArmN(links=16)
    state = at([0.4, *[0.15] * 15])
    frame = world.render(state)[0].astype(int)
    joints = 32 + 29 * world.joints(state)[0] * [1, -1]
    middles = ((joints[1:] + joints[:-1]) / 2)[3:-2]
    for x, y in middles:
        red, _, blue = frame[int(y), int(x)]
        assert blue - red > 30


def test_a_hundredth_of_a_radian_changes_the_picture():
    world = ArmN(links=2)
    first, second = (world.render(at([angle, 0.3])) for angle in (1.0, 1.01))
    assert (first != second).any(-1).sum() > 10


def test_impossible_arms_are_refused():
    with pytest.raises(ValueError, match="ArmN: links=17: choose 2 to 16"):
        ArmN(links=17)
    with pytest.raises(ValueError, match=r"obstacle_radius=0\.5: choose 0 to 0\.2"):
        ArmN(obstacle_radius=0.5)
