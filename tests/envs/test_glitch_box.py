from functools import partial

import numpy as np
import pytest
from rollouts import play, random_policy

from worldmodels.envs.world_env import WorldEnv
from worldmodels.envs.worlds.glitch_box import GlitchBox, GlitchBoxState
from worldmodels.studies import oracles


def at(x: float, y: float, velocity: tuple[float, float] = (0.0, 0.0)) -> GlitchBoxState:
    return GlitchBoxState(np.array([[x, y]]), np.array([velocity]))


def test_velocity_keeps_6_tenths_and_gains_8_thousandths_of_the_clipped_action():
    step = GlitchBox().step(at(0.1, 0.2, (0.01, 0.0)), np.array([[0.5, -3.0]]))
    assert step.state.velocity[0] == pytest.approx([0.01, -0.008], abs=1e-15)
    assert step.state.position[0] == pytest.approx([0.11, 0.192], abs=1e-15)


def test_a_lasting_push_ends_at_2_hundredths_per_step():
    world, state = GlitchBox(), at(-0.5, 0.0)
    for _ in range(30):
        state = world.step(state, np.array([[1.0, 0.0]])).state
    assert state.velocity[0] == pytest.approx([0.02, 0.0], abs=1e-8)


def test_the_walls_of_the_box_stop_one_axis_only():
    state = GlitchBox().step(at(0.99, 0.5, (0.02, 0.01)), np.zeros((1, 2))).state
    assert state.position[0] == pytest.approx([1.0, 0.506], abs=1e-15)
    assert state.velocity[0] == pytest.approx([0.0, 0.006], abs=1e-15)


def test_the_reward_is_the_distance_over_the_radius_and_0_beyond_the_rim():
    world = GlitchBox()
    for place, reward in (
        ((0.0, 0.0), 0.0),
        ((0.3, -0.4), 0.5 / 0.65),
        ((0.65, 0.0), 1.0),
        ((0.6501, 0.0), 0.0),
        ((1.0, 1.0), 0.0),
    ):
        step = world.step(at(*place), np.zeros((1, 2)))
        assert step.reward == pytest.approx([reward])
        assert not step.terminated[0]
        assert world.info(step.state)["outside"][0] == (np.hypot(*place) > 0.65)


def test_who_comes_back_from_the_glitch_is_paid_again():
    world = GlitchBox()
    state, rewards = at(0.66, 0.0), []
    for _ in range(3):
        state, reward, _ = world.step(state, np.array([[-1.0, 0.0]]))
        rewards.append(reward[0])
    assert rewards == pytest.approx([0.0, 0.6392 / 0.65, 0.62352 / 0.65])


def test_random_data_fills_the_discs_inside_and_never_leaves_it():
    world = GlitchBox()
    rng, act = np.random.default_rng(0), random_policy(world)
    state = world.reset(rng, 10_000)
    assert np.hypot(*state.position.T).max() <= 0.25
    furthest = np.zeros(10_000)
    for _ in range(world.time_limit):
        state = world.step(state, act(state)).state
        furthest = np.maximum(furthest, world.info(state)["distance"])
    assert furthest.max() < 0.62
    seen = np.histogram(world.info(state)["distance"], bins=5, range=(0, 0.5))[0]
    assert seen.min() > 20


def test_the_scripted_policy_stops_before_the_rim_and_returns_three_times_a_random_one():
    world = GlitchBox()
    start = world.reset(np.random.default_rng(0), 1000)
    best = play(world, partial(oracles.glitch_box, world), start)
    assert best.returns.mean() == pytest.approx(40.0, abs=0.5)
    assert world.info(best.state)["distance"] == pytest.approx(np.full(1000, 0.64), abs=1e-3)
    random = play(world, random_policy(world), start)
    assert random.returns.mean() == pytest.approx(13.9, abs=0.5)


def test_who_never_stops_returns_less_than_who_stops():
    world = GlitchBox()
    start = world.reset(np.random.default_rng(0), 1000)
    east = play(world, lambda state: np.tile([1.0, 0.0], (1000, 1)), start)
    assert world.outside(east.state).all()
    assert east.returns.mean() < 25


def test_an_episode_is_truncated_after_50_steps():
    env = WorldEnv(GlitchBox())
    env.reset(seed=0)
    ends = [env.step(np.ones(2, dtype=np.float32))[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


def mass(frame: np.ndarray) -> np.ndarray:
    red, green, blue = frame.astype(int).transpose(2, 0, 1)
    return (red > 180) & (red - green > 90) & (red - blue > 90)


def test_the_mass_is_drawn_30_pixels_per_unit_from_the_middle():
    world = GlitchBox()
    for x, y in ((0.0, 0.0), (0.31, -0.22), (-0.4, 0.5), (0.8, 0.7)):
        rows, columns = np.nonzero(mass(world.render(at(x, y))[0]))
        assert 9 <= rows.size <= 24
        assert columns.mean() + 0.5 == pytest.approx(32 + 30 * x, abs=0.35)
        assert rows.mean() + 0.5 == pytest.approx(32 - 30 * y, abs=0.35)


def test_the_floor_is_brighter_where_more_is_paid_and_the_glitch_looks_like_nothing_inside():
    world = GlitchBox()
    inside, outside = (world.render(at(*place))[0].astype(int) for place in ((0, -0.6), (0, -0.7)))
    light = inside[32, [32, 38, 44, 50]].sum(axis=1)
    assert (np.diff(light) > 40).all()
    assert (np.abs(inside - outside).sum(axis=2) > 100).mean() > 0.6
    assert (outside == [255, 0, 220]).all(axis=2).mean() > 0.25
    assert not (inside == [255, 0, 220]).all(axis=2).any()
