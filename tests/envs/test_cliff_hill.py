import gymnasium
import numpy as np
import pytest

import worldmodels.envs  # noqa: F401  (registers the worlds)
from worldmodels.envs.cliff_hill import CliffHill, CliffHillState
from worldmodels.envs.world import WorldEnv, WorldVectorEnv


def at(*positions: float, edge: float = 0.9, fallen: bool = False) -> CliffHillState:
    count = len(positions)
    return CliffHillState(np.array(positions), np.full(count, edge), np.full(count, fallen))


def shown(info: dict[str, np.ndarray]) -> CliffHillState:
    return CliffHillState(info["position"], info["edge"], info["fell"])


def walk(state: CliffHillState, actions: list[float]) -> tuple[list[float], list[float]]:
    positions, rewards = [], []
    for action in actions:
        step = CliffHill().step(state, np.full((1, 1), action))
        state = step.state
        positions.append(state.position[0])
        rewards.append(step.reward[0])
    return positions, rewards


def test_position_moves_by_a_fiftieth_of_the_action_and_is_the_reward():
    positions, rewards = walk(at(0.1), [0.5, -1.0, 1.0])
    assert positions == pytest.approx([0.11, 0.09, 0.11], abs=1e-15)
    assert rewards == positions


def test_the_left_end_and_the_action_range_stop_the_climber():
    positions, _ = walk(at(0.03), [-1.0, -1.0, 5.0])
    assert positions == pytest.approx([0.01, 0.0, 0.02], abs=1e-15)


def test_past_the_edge_it_lies_at_the_foot_with_reward_zero_until_the_time_limit():
    world = CliffHill()
    positions, rewards = walk(at(0.885), [0.5, 1.0, -1.0, -1.0])
    assert positions == pytest.approx([0.895, 0.915, 0.915, 0.915], abs=1e-15)
    assert rewards == pytest.approx([0.895, 0.0, 0.0, 0.0], abs=1e-15)
    step = world.step(at(0.885), np.ones((1, 1)))
    assert world.info(step.state)["fell"].tolist() == [True]
    assert step.terminated.tolist() == [False]


def test_the_edge_itself_is_safe_and_belongs_to_the_hill():
    step = CliffHill().step(at(0.9), np.zeros((1, 1)))
    assert (step.reward[0], step.state.fallen[0]) == (0.9, False)
    assert CliffHill().step(at(0.9, edge=0.875), np.zeros((1, 1))).state.fallen[0]


def test_a_hill_without_a_cliff_ends_at_a_wall():
    positions, rewards = walk(at(0.99, edge=np.inf), [1.0, 1.0, -0.5])
    assert positions == rewards == pytest.approx([1.0, 1.0, 0.99], abs=1e-15)


def test_an_episode_is_truncated_after_exactly_50_steps_even_when_fallen():
    env = WorldEnv(CliffHill())
    env.reset(seed=0)
    ends = [env.step(np.ones(1, dtype=np.float32))[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


def test_starts_are_uniform_up_to_35_hundredths_before_the_edge():
    state = CliffHill(open_share=0.25).reset(np.random.default_rng(0), 40_000)
    assert np.isinf(state.edge).mean() == pytest.approx(0.25, abs=0.01)
    edges = np.unique(state.edge[np.isfinite(state.edge)])
    np.testing.assert_allclose(edges, np.arange(0.5, 0.901, 0.025))
    for edge, low, high in ((0.5, 0.05, 0.15), (0.9, 0.05, 0.55), (np.inf, 0.05, 1.0)):
        start = state.position[np.isclose(state.edge, edge)]
        wanted = low + (high - low) * np.array([0.25, 0.5, 0.75])
        assert start.min() >= low
        assert start.max() <= high
        assert np.quantile(start, [0.25, 0.5, 0.75]) == pytest.approx(wanted, abs=0.02)


def test_an_impossible_share_of_open_hills_is_refused():
    with pytest.raises(ValueError, match=r"open_share=1.5"):
        CliffHill(open_share=1.5)


def test_the_best_return_from_one_tenth_below_an_edge_of_one_half_is_21_point_2():
    # 20 steps to the edge: 20 * 0.1 + 0.02 * (1 + ... + 20) = 6.2; then 30 * 0.5 = 15.
    world = CliffHill()
    assert world.best_return(at(0.1, edge=0.5)) == pytest.approx([21.2], abs=1e-12)
    assert world.best_return(at(0.95, fallen=True)).tolist() == [0.0]


def test_the_scripted_policy_reaches_the_best_return_with_float32_actions():
    world = CliffHill()
    env = WorldVectorEnv(world, num_envs=200)
    _, info = env.reset(seed=0)
    best = world.best_return(shown(info))
    total = np.zeros(200)
    for _ in range(50):
        _, reward, _, _, info = env.step(world.best_action(shown(info)).astype(np.float32))
        total += reward
    assert not info["fell"].any()
    assert (total <= best).all()
    np.testing.assert_allclose(total, best, atol=50 * 2e-6)


def test_a_random_policy_reaches_the_nearest_edge_with_probability_below_one_in_100_000():
    # The distribution of the position below an edge of 0.5 (where starts are nearest to their
    # edge) on a grid of 1/800, propagated step by step.
    edge, grid = 400, 800
    mass = np.zeros(edge + 1)
    mass[40:121] = 1 / 81
    kernel = np.ones(33)
    kernel[[0, -1]] = 0.5
    kernel /= kernel.sum()
    fallen = 0.0
    for _ in range(50):
        spread = np.convolve(mass, kernel)
        fallen += spread[16 + edge + 1 :].sum()
        mass = spread[16 : 16 + edge + 1].copy()
        mass[0] += spread[:16].sum()
    assert mass.sum() + fallen == pytest.approx(1.0)
    assert CliffHill.speed * grid == 16
    assert 0 < fallen < 1e-5


def test_no_random_walker_of_20_000_falls_and_open_hills_show_every_height():
    rng = np.random.default_rng(0)
    world = CliffHill()
    state = world.reset(rng, 20_000)
    for _ in range(50):
        state = world.step(state, rng.uniform(-1, 1, (20_000, 1))).state
    assert not state.fallen.any()
    heights = np.histogram(state.position, bins=10, range=(0, 1))[0]
    assert heights.min() > 300


def climber(frame: np.ndarray) -> np.ndarray:
    """Which pixels show the climber's red, which nothing else in the picture has."""
    red, green, blue = frame.astype(int).transpose(2, 0, 1)
    return (red - green > 100) & (red - blue > 100)


def test_the_climber_is_drawn_where_it_stands():
    # x = 0 is at column 7, 40 columns per unit; the ridge rises from row 51 by 38 rows per unit,
    # and the climber's centre is 3 rows above it.
    positions = np.array([0.0, 0.31, 0.6, 0.9])
    frames = CliffHill().render(at(*positions, edge=np.inf))
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
    assert columns.min() >= 7 + 40 * 0.9
    np.testing.assert_array_equal(frame, world.render(at(0.99, fallen=True))[0])


def test_a_tenth_of_a_step_changes_the_picture():
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
    for _ in range(49):
        info = env.step(np.array([[1.0], [-1.0]], dtype=np.float32))[4]
    assert info["fell"].tolist() == [True, False]
    assert info["_fell"].tolist() == [True, True]
