import gymnasium
import numpy as np
import pytest

import worldmodels.envs  # noqa: F401  (registers the worlds)
from worldmodels.envs.cliff_hill import CliffHill, CliffHillState
from worldmodels.envs.world import WorldEnv, WorldVectorEnv


def at(*positions: float, fallen: bool = False) -> CliffHillState:
    return CliffHillState(np.array(positions), np.full(len(positions), fallen))


def walk(state: CliffHillState, actions: list[float]) -> tuple[list[float], list[float]]:
    positions, rewards = [], []
    for action in actions:
        step = CliffHill().step(state, np.full((1, 1), action))
        state = step.state
        positions.append(state.position[0])
        rewards.append(step.reward[0])
    return positions, rewards


def test_position_moves_by_a_twenty_fifth_of_the_action_and_is_the_reward():
    positions, rewards = walk(at(0.1), [0.5, -1.0, 1.0])
    assert positions == pytest.approx([0.12, 0.08, 0.12], abs=1e-15)
    assert rewards == positions


def test_the_left_end_and_the_action_range_stop_the_climber():
    positions, _ = walk(at(0.05), [-1.0, -1.0, 5.0])
    assert positions == pytest.approx([0.01, 0.0, 0.04], abs=1e-15)


def test_past_the_edge_it_lies_at_the_foot_with_reward_zero_until_the_time_limit():
    world = CliffHill()
    positions, rewards = walk(at(0.87), [0.5, 1.0, -1.0, -1.0])
    assert positions == pytest.approx([0.89, 0.93, 0.93, 0.93], abs=1e-15)
    assert rewards == pytest.approx([0.89, 0.0, 0.0, 0.0], abs=1e-15)
    step = world.step(at(0.87), np.ones((1, 1)))
    assert world.info(step.state)["fell"].tolist() == [True]
    assert step.terminated.tolist() == [False]


def test_the_edge_itself_is_safe():
    step = CliffHill().step(at(0.9), np.zeros((1, 1)))
    assert (step.reward[0], step.state.fallen[0]) == (0.9, False)


def test_an_episode_is_truncated_after_exactly_50_steps_even_when_fallen():
    env = WorldEnv(CliffHill())
    env.reset(seed=0)
    ends = [env.step(np.ones(1, dtype=np.float32))[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


def test_starts_are_uniform_between_5_and_20_hundredths():
    start = CliffHill().reset(np.random.default_rng(0), 20_000).position
    assert start.min() >= 0.05
    assert start.max() <= 0.2
    assert np.quantile(start, [0.25, 0.5, 0.75]) == pytest.approx([0.0875, 0.125, 0.1625], abs=2e-3)


def test_the_best_return_from_one_tenth_is_37_point_4():
    # 20 steps to the edge: 20 * 0.1 + 0.04 * (1 + ... + 20) = 10.4; then 30 * 0.9 = 27.
    world = CliffHill()
    assert world.best_return(at(0.1)) == pytest.approx([37.4], abs=1e-12)
    assert world.best_return(at(0.95, fallen=True)).tolist() == [0.0]


def test_the_scripted_policy_reaches_the_best_return_with_float32_actions():
    world = CliffHill()
    env = WorldVectorEnv(world, num_envs=200)
    _, info = env.reset(seed=0)
    best = world.best_return(CliffHillState(info["position"], info["fell"]))
    total = np.zeros(200)
    for _ in range(50):
        action = world.best_action(CliffHillState(info["position"], info["fell"]))
        _, reward, _, _, info = env.step(action.astype(np.float32))
        total += reward
    assert not info["fell"].any()
    assert (total <= best).all()
    np.testing.assert_allclose(total, best, atol=50 * 2e-6)


def test_a_random_policy_reaches_the_edge_with_probability_below_one_in_100_000():
    # The distribution of the position on a grid of 1/400, propagated step by step.
    grid = 400
    mass = np.zeros(361)
    mass[20:81] = 1 / 61
    kernel = np.ones(33)
    kernel[[0, -1]] = 0.5
    kernel /= kernel.sum()
    fallen = 0.0
    for _ in range(50):
        spread = np.convolve(mass, kernel)
        fallen += spread[16 + 361 :].sum()
        mass = spread[16 : 16 + 361].copy()
        mass[0] += spread[:16].sum()
    assert mass.sum() + fallen == pytest.approx(1.0)
    assert CliffHill.edge * grid == 360
    assert 0 < fallen < 1e-5


def test_no_random_walker_of_20_000_falls():
    rng = np.random.default_rng(0)
    world = CliffHill()
    state = world.reset(rng, 20_000)
    for _ in range(50):
        state = world.step(state, rng.uniform(-1, 1, (20_000, 1))).state
    assert not state.fallen.any()
    assert 0.4 < state.position.max() < 0.9


def climber(frame: np.ndarray) -> np.ndarray:
    """Which pixels show the climber's red, which nothing else in the picture has."""
    red, green, blue = frame.astype(int).transpose(2, 0, 1)
    return (red - green > 100) & (red - blue > 100)


def test_the_climber_is_drawn_where_it_stands():
    # x = 0 is at column 7, 40 columns per unit; the ridge rises from row 51 by 38 rows per unit,
    # and the climber's centre is 3 rows above it.
    positions = np.array([0.0, 0.31, 0.6, 0.9])
    frames = CliffHill().render(at(*positions))
    for position, frame in zip(positions, frames, strict=True):
        rows, columns = np.nonzero(climber(frame))
        assert 12 <= rows.size <= 24
        assert columns.mean() + 0.5 == pytest.approx(7 + 40 * position, abs=0.3)
        assert rows.mean() + 0.5 == pytest.approx(51 - 38 * position - 3, abs=0.3)


def test_a_fallen_climber_lies_on_the_ground_behind_the_cliff():
    world = CliffHill()
    frame = world.render(at(0.93, fallen=True))[0]
    rows, columns = np.nonzero(climber(frame))
    assert rows.size > 30
    assert rows.min() >= 52
    assert columns.min() >= 7 + 40 * world.edge
    np.testing.assert_array_equal(frame, world.render(at(0.99, fallen=True))[0])


def test_a_twentieth_of_a_step_changes_the_picture():
    first, second = CliffHill().render(at(0.5, 0.502))
    assert (first != second).any(-1).sum() >= 8


def test_the_cliff_shows_as_an_edge_of_rock_against_sky():
    frame = CliffHill().render(at(0.0))[0].astype(int)
    rock, sky = frame[30, 41], frame[30, 44]
    assert rock.sum() < 300
    assert sky.sum() > 500


def test_the_vector_env_reports_falls():
    env = gymnasium.make_vec("worldmodels/CliffHill-v0", num_envs=2)
    env.reset(seed=0)
    info = {}
    for _ in range(30):
        info = env.step(np.array([[1.0], [0.1]], dtype=np.float32))[4]
    assert info["fell"].tolist() == [True, False]
    assert info["_fell"].tolist() == [True, True]
