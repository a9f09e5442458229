from itertools import pairwise

import numpy as np
import pytest
from rollouts import Episodes, play, random_policy

from worldmodels.envs.world_env import WorldEnv
from worldmodels.envs.worlds.gust_road import GustRoad, GustRoadState
from worldmodels.envs.worlds.noise import normal
from worldmodels.studies import oracles


def at(
    position: float, velocity: float = 0.0, travelled: int = 0, phase: tuple[float, float] = (0, 0)
) -> GustRoadState:
    return GustRoadState(
        np.array([position]),
        np.array([velocity]),
        np.array([travelled]),
        np.array([phase], dtype=float),
        np.array([5], dtype=np.uint64),
        np.array([False]),
    )


def middle(along: int, phase: tuple[float, float] = (0, 0)) -> float:
    first = 1.6 * np.sin(2 * np.pi * along / 60 + phase[0])
    return first + 0.4 * np.sin(2 * np.pi * along / 25 + phase[1])


def drive(sigma: float, every: int, num: int = 400) -> Episodes:
    """Plans as if there were no wind, looking at the true state every so many steps only."""
    world, calm = GustRoad(sigma), GustRoad(0.0)
    dream = []

    def plan(state: GustRoadState) -> np.ndarray:
        believed = state if len(dream) % every == 0 else dream[-1]
        action = oracles.gust_road(calm, believed)
        dream.append(calm.step(believed, action).state)
        return action

    return play(world, plan, world.reset(np.random.default_rng(0), num))


def test_velocity_halves_and_gains_3_tenths_of_the_clipped_action_and_position_follows():
    world = GustRoad(sigma=0.0)
    state = world.step(at(0.1, velocity=0.2), np.array([[-0.5]])).state
    assert (state.velocity[0], state.position[0]) == pytest.approx((-0.05, 0.05), abs=1e-15)
    state = world.step(state, np.array([[3.0]])).state
    assert (state.velocity[0], state.position[0]) == pytest.approx((0.275, 0.325), abs=1e-15)
    assert state.travelled[0] == 2


def test_the_reward_is_one_minus_the_squared_offset_from_the_two_sines():
    world, phase = GustRoad(sigma=0.0), (0.7, -1.2)
    for offset in (0.0, 0.3, -0.9):
        step = world.step(at(middle(13, phase) + offset, 0.0, 12, phase), np.zeros((1, 1)))
        assert world.info(step.state)["offset"] == pytest.approx([offset])
        assert step.reward == pytest.approx([1 - offset**2])
        assert not step.terminated[0]


def test_beyond_half_the_roads_width_the_episode_ends_and_nothing_moves_or_pays():
    world = GustRoad(sigma=0.0)
    state = at(middle(1) + 0.95)
    for velocity, reward in ((0.3, 0.0), (0.0, 0.0)):
        step = world.step(state, np.ones((1, 1)))
        assert (step.terminated[0], step.reward[0]) == (True, reward)
        assert step.state.velocity[0] == velocity
        state = step.state
    assert state.position[0] == pytest.approx(middle(1) + 1.25)
    assert state.travelled[0] == 1
    assert world.step(at(middle(1) + 0.69), np.ones((1, 1))).terminated.tolist() == [False]


def test_a_gust_is_sigma_times_the_normal_number_of_the_key():
    state = at(0.0)
    calm = GustRoad(0.0).step(state, np.zeros((1, 1))).state
    windy = GustRoad(0.2).step(state, np.zeros((1, 1))).state
    assert windy.velocity - calm.velocity == pytest.approx(0.2 * normal(state.key))
    assert windy.key != state.key


def test_starts_are_in_the_middle_third_and_gusts_differ_between_copies():
    world = GustRoad()
    state = world.reset(np.random.default_rng(0), 20_000)
    offset = world.offset(state)
    assert np.abs(offset).max() <= 1 / 3
    assert offset.std() == pytest.approx(2 / 3 / np.sqrt(12), rel=0.02)
    gusts = world.step(state, np.zeros((20_000, 1))).state.velocity
    assert (gusts.mean(), gusts.std()) == pytest.approx((0, world.sigma), abs=0.003)


def test_the_scripted_driver_returns_nearly_50_and_in_gusts_48_point_9():
    calm, windy = drive(sigma=0.0, every=1), drive(sigma=0.13, every=1)
    assert calm.returns.mean() == pytest.approx(49.99, abs=0.02)
    assert calm.survived.all()
    assert windy.returns.mean() == pytest.approx(48.9, abs=0.2)
    assert windy.survived.mean() >= 0.99


def test_without_gusts_one_plan_from_the_start_equals_looking_at_every_step():
    once, always = drive(sigma=0.0, every=50), drive(sigma=0.0, every=1)
    np.testing.assert_allclose(once.returns, always.returns, atol=1e-12)


def test_in_gusts_the_fewer_looks_the_fewer_arrivals():
    share = [drive(0.13, every).survived.mean() for every in (1, 2, 5, 10, 25, 50)]
    assert all(more >= less for more, less in pairwise(share))
    assert share[0] >= 0.99
    assert share[2] < 0.8
    assert share[-1] <= 0.12


def test_a_random_driver_hardly_ever_arrives():
    world = GustRoad()
    random = play(world, random_policy(world), world.reset(np.random.default_rng(0), 400))
    assert random.survived.sum() <= 1
    assert random.returns.mean() == pytest.approx(5.7, abs=0.5)


def test_an_episode_is_truncated_after_50_steps():
    world = GustRoad()
    env = WorldEnv(world)
    env.reset(seed=0)
    ends = [env.step(oracles.gust_road(world, env._episodes.state)[0])[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


def test_the_road_is_drawn_7_pixels_to_each_side_of_its_middle_and_the_car_on_it():
    # Row 55 is where the car is; a row further up is a step further on.
    world, phase = GustRoad(), (0.5, 2.0)
    frame = world.render(at(1.3, 0.0, 7, phase))[0].astype(int)
    red, green, blue = frame.transpose(2, 0, 1)
    road = (np.abs(red - blue) < 60) & (green - red < 20)
    for row in (3, 20, 37):
        columns = np.flatnonzero(road[row])
        wanted = 32 + 7 * middle(7 + 55 - row, phase)
        assert columns.mean() + 0.5 == pytest.approx(wanted, abs=0.5)
        assert columns.size == pytest.approx(15, abs=1)
    rows, columns = np.nonzero((red - green > 100) & (red - blue > 100))
    assert rows.size > 25
    assert columns.mean() + 0.5 == pytest.approx(32 + 7 * 1.3, abs=0.3)
    assert rows.max() + rows.min() + 1 == pytest.approx(2 * 55.5, abs=2)


def test_the_picture_scrolls_down_by_one_row_per_step():
    world = GustRoad(sigma=0.0)
    state = world.reset(np.random.default_rng(3), 1)
    before = world.render(state)[0]
    after = world.render(world.step(state, np.zeros((1, 1))).state)[0]
    np.testing.assert_array_equal(after[1:45], before[:44])


def test_the_cars_tilt_shows_its_velocity():
    frames = GustRoad().render(at(0.0, 0.3))[0].astype(int), GustRoad().render(at(0.0))[0]
    red = (frames[0][:, :, 0] - frames[0][:, :, 1] > 100) & (frames[0][:, :, 2] < 90)
    front, back = (np.flatnonzero(red[row]).mean() for row in (51, 59))
    assert front - back > 2.0
    assert (frames[0] != frames[1]).any(-1).sum() > 15


def test_negative_gusts_are_refused():
    with pytest.raises(ValueError, match=r"GustRoad: sigma=-0\.1: choose 0 or more"):
        GustRoad(sigma=-0.1)
