import numpy as np
import pytest
from rollouts import play, random_policy

from worldmodels.envs.world_env import WorldEnv
from worldmodels.envs.worlds.two_rooms import (
    TASKS,
    TwoRooms,
    TwoRoomsState,
    doorway,
    lower_left,
    reach,
    right_wall,
    upper_right,
)
from worldmodels.studies import oracles


def at(x: float, y: float) -> TwoRoomsState:
    return TwoRoomsState(np.array([[x, y]]))


def walk(start: tuple[float, float], actions: list[tuple[float, float]]) -> list[list[float]]:
    state, places = at(*start), []
    for action in actions:
        state = TwoRooms().step(state, np.array([action])).state
        places.append(state.position[0].tolist())
    return places


def test_the_walker_moves_by_8_hundredths_of_the_clipped_action_inside_the_outer_walls():
    places = walk((0.5, 0.95), [(0.5, -0.25), (-3.0, 1.0)])
    np.testing.assert_allclose(places, [[0.54, 0.93], [0.46, 1.0]], atol=1e-15)


def test_the_wall_stops_x_while_y_slides_and_the_door_lets_through():
    places = walk((-0.1, 0.28), [(1.0, -0.5), (1.0, -1.0), (1.0, 0.0), (1.0, 0.0)])
    # The wall stands from x = -0.08 to 0.08 where |y| > 0.22.
    expected = [[-0.1, 0.24], [-0.1, 0.16], [-0.02, 0.16], [0.06, 0.16]]
    np.testing.assert_allclose(places, expected, atol=1e-15)


def test_in_the_door_the_wall_stops_y():
    places = walk((0.0, 0.2), [(0.0, 1.0), (0.0, 0.2)])
    np.testing.assert_allclose(places, [[0.0, 0.2], [0.0, 0.216]], atol=1e-15)


def test_no_walk_ends_in_the_wall_and_only_the_door_leads_across():
    world = TwoRooms()
    rng, act = np.random.default_rng(0), random_policy(world)
    state = world.reset(rng, 3000)
    assert (np.abs(state.position[:, 0]) >= 0.08).all()
    for _ in range(50):
        before = state.position
        state = world.step(state, act(state)).state
        x, y = state.position.T
        assert not ((np.abs(x) < 0.08) & (np.abs(y) > 0.22)).any()
        crossed = before[:, 0] * x < 0
        assert (np.abs(y[crossed]) <= 0.22).all()


def test_tasks_pay_what_their_formulas_say():
    place = np.array([[0.75, 0.75], [0.75, 0.55], [-0.75, -0.35], [0.0, 0.0], [0.8, -1.0]])
    assert upper_right(place)[:2] == pytest.approx([1.0, 0.5])
    assert lower_left(place)[2] == pytest.approx(0.2)
    assert doorway(place)[3] == pytest.approx(1.0)
    assert right_wall(place)[3:] == pytest.approx([1 / 26, 0.5])
    assert reach(0.8, 0.0, width=0.5)(place)[4] == pytest.approx(0.2)


def test_the_task_changes_the_reward_and_nothing_else():
    start = TwoRooms().reset(np.random.default_rng(0), 50)
    action = np.random.default_rng(1).uniform(-1, 1, (50, 2))
    steps = [TwoRooms(task).step(start, action) for task in TASKS]
    for step, task in zip(steps, TASKS, strict=True):
        np.testing.assert_array_equal(step.state.position, steps[0].state.position)
        np.testing.assert_array_equal(step.reward, task(steps[0].state.position))
        assert not step.terminated.any()


@pytest.mark.parametrize(
    ("task", "place", "best", "random"),
    [
        (upper_right, (0.75, 0.75), 38.5, 4.0),
        (lower_left, (-0.75, -0.75), 37.5, 3.4),
        (doorway, (0.0, 0.0), 44.2, 4.7),
    ],
)
def test_walking_to_the_place_returns_its_bound_and_a_random_walk_about_a_tenth(
    task, place, best, random
):
    world = TwoRooms(task)
    start = world.reset(np.random.default_rng(0), 500)
    goal = np.tile(place, (500, 1))
    walked = play(world, lambda state: oracles.two_rooms(world, state, goal), start)
    np.testing.assert_allclose(walked.state.position, goal, atol=1e-12)
    assert walked.returns.mean() == pytest.approx(best, abs=0.2)
    wandered = play(world, random_policy(world), start)
    assert wandered.returns.mean() == pytest.approx(random, abs=0.2)


def test_at_most_38_steps_lead_from_any_place_to_any_other():
    world, rng = TwoRooms(), np.random.default_rng(0)
    state, goal = world.reset(rng, 3000), world.reset(rng, 3000).position
    for _ in range(38):
        state = world.step(state, oracles.two_rooms(world, state, goal)).state
    np.testing.assert_allclose(state.position, goal, atol=1e-12)


def test_a_goal_frame_is_the_frame_of_who_stands_there():
    world = TwoRooms()
    place = np.array([[0.4, -0.7], [-0.2, 0.1]])
    np.testing.assert_array_equal(world.goal_frames(place), world.render(TwoRoomsState(place)))
    with pytest.raises(ValueError, match=r"place \[0.0, 0.5\] is in a wall"):
        world.goal_frames(np.array([[0.4, 0.5], [0.0, 0.5]]))


def test_an_episode_is_truncated_after_50_steps():
    env = WorldEnv(TwoRooms())
    env.reset(seed=0)
    ends = [env.step(np.ones(2, dtype=np.float32))[2:4] for _ in range(50)]
    assert ends == [(False, False)] * 49 + [(False, True)]


def test_the_walker_is_drawn_29_pixels_per_unit_from_the_middle_and_rooms_differ():
    world = TwoRooms()
    for x, y in ((0.5, 0.3), (-0.72, -0.9), (0.03, 0.0)):
        frame = world.render(at(x, y))[0].astype(int)
        rows, columns = np.nonzero(frame[:, :, 0] - frame[:, :, 1] > 90)
        assert 12 <= rows.size <= 28
        assert columns.mean() + 0.5 == pytest.approx(32 + 29 * x, abs=0.3)
        assert rows.mean() + 0.5 == pytest.approx(32 - 29 * y, abs=0.3)
    frame = world.render(at(0.5, 0.3))[0]
    assert frame[50, 10].tolist() == [240, 224, 196]
    assert frame[50, 54].tolist() == [202, 222, 236]
    assert frame[8, 32].tolist() == frame[58, 32].tolist() == [70, 76, 92]
    assert frame[32, 31].tolist() == [240, 224, 196]
