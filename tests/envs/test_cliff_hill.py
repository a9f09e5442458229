import gymnasium
import numpy as np
import pytest

import worldmodels.envs  # noqa: F401  (registers the worlds)
from worldmodels.envs.world_env import WorldEnv, WorldVectorEnv
from worldmodels.envs.worlds.cliff_hill import CliffHill, CliffHillState
from worldmodels.studies import oracles


def at(*positions: float, edge: float = 0.5, fallen: bool = False) -> CliffHillState:
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


def test_position_moves_by_an_eightieth_of_the_action_and_is_the_reward():
    positions, rewards = walk(at(0.1), [0.5, -1.0, 1.0])
    assert positions == pytest.approx([0.10625, 0.09375, 0.10625], abs=1e-15)
    assert rewards == positions


def test_foot_and_summit_and_the_action_range_stop_the_climber():
    positions, _ = walk(at(0.02), [-1.0, -1.0, 5.0])
    assert positions == pytest.approx([0.0075, 0.0, 0.0125], abs=1e-15)
    positions, rewards = walk(at(0.9925), [1.0, 1.0, -0.5])
    assert positions == rewards == pytest.approx([1.0, 1.0, 0.99375], abs=1e-15)


def test_past_the_edge_it_lies_at_the_foot_with_reward_zero_until_the_time_limit():
    world = CliffHill()
    positions, rewards = walk(at(0.49), [0.5, 1.0, -1.0, -1.0])
    assert positions == pytest.approx([0.49625, 0.50875, 0.50875, 0.50875], abs=1e-15)
    assert rewards == pytest.approx([0.49625, 0.0, 0.0, 0.0], abs=1e-15)
    step = world.step(at(0.49), np.ones((1, 1)))
    assert world.info(step.state)["fell"].tolist() == [True]
    assert step.terminated.tolist() == [False]


def test_the_gap_ends_a_tenth_above_the_edge_and_swallows_who_comes_back_too():
    _, rewards = walk(at(0.61), [0.5, -1.0, -0.25])
    assert rewards == pytest.approx([0.61625, 0.60375, 0.600625], abs=1e-15)
    _, rewards = walk(at(0.61), [-1.0, 1.0])
    assert rewards == [0.0, 0.0]


def test_the_edge_itself_is_safe_and_belongs_to_the_hill():
    step = CliffHill().step(at(0.5), np.zeros((1, 1)))
    assert (step.reward[0], step.state.fallen[0]) == (0.5, False)
    assert CliffHill().step(at(0.45, edge=0.4), np.zeros((1, 1))).state.fallen[0]


def test_an_episode_is_truncated_after_exactly_50_steps_even_when_fallen():
    env = WorldEnv(CliffHill())
    env.reset(seed=0)
    ends = [env.step(np.ones(1, dtype=np.float32))[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


def test_starts_are_uniform_on_both_sides_of_the_gap_and_225_thousandths_from_it():
    state = CliffHill(above_share=0.4).reset(np.random.default_rng(0), 80_000)
    above = state.position > state.edge
    assert above[state.edge < 0.67].mean() == pytest.approx(0.4, abs=0.01)
    assert not above[state.edge > 0.67].any()
    np.testing.assert_allclose(np.unique(state.edge), np.arange(0.3, 0.901, 0.05))
    for edge, side, low, high in (
        (0.3, ~above, 0.05, 0.075),
        (0.9, ~above, 0.4, 0.675),
        (0.3, above, 0.625, 1.0),
        (0.65, above, 0.975, 1.0),
    ):
        start = state.position[np.isclose(state.edge, edge) & side]
        wanted = low + (high - low) * np.array([0.25, 0.5, 0.75])
        assert start.min() >= low
        assert start.max() <= high
        assert np.quantile(start, [0.25, 0.5, 0.75]) == pytest.approx(wanted, abs=0.02)


def test_an_impossible_share_of_starts_above_is_refused():
    with pytest.raises(ValueError, match=r"CliffHill: above_share=1\.5: choose 0 to 1"):
        CliffHill(above_share=1.5)


def test_the_best_return_from_a_quarter_below_an_edge_of_one_half_is_22_point_625():
    # 20 steps to the edge: 20 * 0.25 + 0.0125 * (1 + ... + 20) = 7.625; then 30 * 0.5 = 15.
    world = CliffHill()
    assert oracles.cliff_hill_return(world, at(0.25)) == pytest.approx([22.625], abs=1e-12)
    assert oracles.cliff_hill_return(world, at(0.53, fallen=True)).tolist() == [0.0]
    # Above the gap the summit is 2 steps away: 0.9875 + 49 * 1.
    assert oracles.cliff_hill_return(world, at(0.975)) == pytest.approx([49.9875], abs=1e-12)


def test_the_scripted_policy_reaches_the_best_return_with_float32_actions():
    world = CliffHill()
    env = WorldVectorEnv(world, num_envs=200)
    _, info = env.reset(seed=0)
    best = oracles.cliff_hill_return(world, shown(info))
    total = np.zeros(200)
    for _ in range(50):
        _, reward, _, _, info = env.step(oracles.cliff_hill(world, shown(info)).astype(np.float32))
        total += reward
    assert not info["fell"].any()
    assert (total <= best).all()
    np.testing.assert_allclose(total, best, atol=50 * 2e-6)


def test_a_random_policy_reaches_the_nearest_gap_with_probability_below_one_in_100_000():
    # The distribution of the position below an edge of 0.3 (where starts are nearest to their
    # edge) on a grid of 1/1280, propagated step by step.
    edge, grid = 384, 1280
    mass = np.zeros(edge + 1)
    mass[64:97] = 1 / 33
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


def test_no_random_walker_of_20_000_falls_and_together_they_show_every_height():
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
    frames = CliffHill().render(at(*positions, edge=0.4))
    for position, frame in zip(positions, frames, strict=True):
        rows, columns = np.nonzero(climber(frame))
        assert 12 <= rows.size <= 24
        assert columns.mean() + 0.5 == pytest.approx(7 + 40 * position, abs=0.3)
        assert rows.mean() + 0.5 == pytest.approx(51 - 38 * position - 3, abs=0.3)


def test_a_fallen_climber_lies_on_the_ground_in_the_gap():
    world = CliffHill()
    frame = world.render(at(0.53, fallen=True))[0]
    rows, columns = np.nonzero(climber(frame))
    assert rows.size > 30
    assert rows.min() >= 52
    assert columns.mean() + 0.5 == pytest.approx(7 + 40 * 0.55)
    np.testing.assert_array_equal(frame, world.render(at(0.59, fallen=True))[0])


def test_a_sixth_of_a_step_changes_the_picture():
    first, second = CliffHill().render(at(0.4, 0.402))
    assert (first != second).any(-1).sum() >= 8


def test_the_gap_shows_as_sky_between_rock():
    frame = CliffHill().render(at(0.0))[0].astype(int)
    below, gap, above = frame[45, 25], frame[45, 29], frame[45, 33]
    assert max(below.sum(), above.sum()) < 350
    assert gap.sum() > 500


def test_the_vector_env_reports_falls():
    world = CliffHill(above_share=0.0)
    env = gymnasium.make_vec("worldmodels/CliffHill-v0", num_envs=2, world=world)
    env.reset(seed=0)
    info = {}
    for _ in range(49):
        info = env.step(np.array([[1.0], [-1.0]], dtype=np.float32))[4]
    assert info["fell"].tolist() == [True, False]
    assert info["_fell"].tolist() == [True, True]
