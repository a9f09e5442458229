from collections import deque
from functools import partial

import numpy as np
import pytest
from rollouts import play, random_policy

from worldmodels.envs.world_env import WorldEnv
from worldmodels.envs.worlds.detour_maze import DetourMaze, DetourMazeState
from worldmodels.studies import oracles

UP, RIGHT, DOWN, LEFT = range(4)
MAGENTA = np.array([240, 60, 170])


def at(row: int, column: int) -> DetourMazeState:
    return DetourMazeState(np.array([row]), np.array([column]))


def walk(state: DetourMazeState, actions: list[int]) -> list[tuple[int, int, float, bool]]:
    rows = []
    for action in actions:
        state, reward, terminated = DetourMaze().step(state, np.array([action]))
        rows.append((state.row.item(), state.column.item(), reward.item(), terminated.item()))
    return rows


def is_wall(row: int, column: int) -> bool:
    return (column == 5 and row >= 2) or (column == 9 and row <= 12)


def steps_between(start: tuple[int, int], goal: tuple[int, int], avoid: tuple[int, int]) -> int:
    """A breadth-first search over the walls as this file states them."""
    reached, queue = {start: 0}, deque([start])
    while queue:
        row, column = queue.popleft()
        for cell in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            inside = 0 <= cell[0] < 15 and 0 <= cell[1] < 15
            if inside and not is_wall(*cell) and cell not in reached and cell != avoid:
                reached[cell] = reached[row, column] + 1
                queue.append(cell)
    return reached[goal]


def test_the_four_choices_walk_one_cell_and_walls_and_borders_stop():
    rows = walk(at(3, 4), [UP, RIGHT, LEFT, DOWN, DOWN, RIGHT])
    # The wall in column 5 starts in row 2.
    cells = [(2, 4), (2, 4), (2, 3), (3, 3), (4, 3), (4, 4)]
    assert rows == [(*cell, 0.0, False) for cell in cells]
    assert walk(at(0, 0), [UP, LEFT])[-1] == (0, 0, 0.0, False)
    assert walk(at(14, 14), [DOWN, RIGHT])[-1] == (14, 14, 0.0, False)


def test_the_coin_pays_1_once_and_ends_the_episode():
    assert walk(at(13, 2), [LEFT, LEFT, UP, LEFT]) == [
        (13, 1, 0.0, False),
        (13, 0, 1.0, True),
        (13, 0, 0.0, True),
        (13, 0, 0.0, True),
    ]


def test_the_treasure_pays_10_once_and_ends_the_episode():
    assert walk(at(1, 12), [RIGHT, DOWN]) == [(1, 13, 10.0, True), (1, 13, 0.0, True)]


def test_every_start_is_5_steps_from_the_coin_and_44_to_46_from_the_treasure():
    state = DetourMaze(anywhere=0.0).reset(np.random.default_rng(0), 500)
    cells = set(zip(state.row.tolist(), state.column.tolist(), strict=True))
    assert cells == {(8, 0), (9, 1), (10, 2), (11, 3), (12, 4), (14, 4)}
    assert {steps_between(cell, (13, 0), avoid=(1, 13)) for cell in cells} == {5}
    ways = {steps_between(cell, (1, 13), avoid=(13, 0)) for cell in cells}
    assert ways == {44, 46}


def test_starts_anywhere_are_every_free_cell_equally_often():
    state = DetourMaze(anywhere=1.0).reset(np.random.default_rng(0), 60_000)
    seen = np.bincount(15 * state.row + state.column, minlength=225)
    assert (seen > 0).sum() == 225 - 13 - 13 - 2
    assert seen[seen > 0].min() > 200
    near = DetourMaze(anywhere=0.25).reset(np.random.default_rng(0), 40_000)
    corner = ((near.column >= 10).mean(), 75 - 1)
    assert corner[0] == pytest.approx(0.25 * corner[1] / 197, abs=0.01)


def test_the_scripted_policy_takes_the_shortest_way_from_every_free_cell():
    world = DetourMaze()
    cells = np.array([(r, c) for r in range(15) for c in range(15) if not is_wall(r, c)])
    keep = [tuple(cell) not in ((13, 0), (1, 13)) for cell in cells.tolist()]
    cells = cells[keep]
    state = DetourMazeState(cells[:, 0], cells[:, 1])
    took = np.zeros(len(cells))
    for _ in range(60):
        step = world.step(state, oracles.detour_maze(world, state))
        took += ~step.terminated
        state = step.state
    wanted = [steps_between(tuple(cell), (1, 13), avoid=(13, 0)) for cell in cells.tolist()]
    assert (took + 1).tolist() == wanted
    assert world.info(state)["at_goal"].all()


def test_the_scripted_policy_returns_10_and_a_random_one_at_most_the_coin():
    world = DetourMaze(anywhere=0.0)
    start = world.reset(np.random.default_rng(0), 300)
    best = play(world, partial(oracles.detour_maze, world), start)
    assert (best.returns == 10.0).all()
    assert not best.survived.any()
    random = play(world, random_policy(world), start)
    assert random.returns.max() == 1.0
    assert random.returns.mean() == pytest.approx(0.5, abs=0.1)


def test_a_greedy_walk_ends_at_the_coin_with_a_tenth_of_the_best_return():
    rows = walk(at(12, 4), [LEFT] * 4 + [DOWN])
    assert sum(row[2] for row in rows) == 1.0
    assert rows[-1][3]


def test_an_episode_is_truncated_after_100_steps():
    env = WorldEnv(DetourMaze(anywhere=0.0))
    env.reset(seed=0)
    env._episodes.state = at(14, 4)
    ends = [env.step(DOWN)[2:4] for _ in range(100)]
    assert ends == [(False, False)] * 99 + [(False, True)]


def test_the_walker_is_drawn_in_the_middle_of_its_cell():
    # Cells have 4 pixels, after a border of 2.
    for row, column in ((0, 0), (7, 6), (14, 14), (13, 0), (1, 13)):
        frame = DetourMaze().render(at(row, column))[0].astype(int)
        near = np.abs(frame - MAGENTA).sum(axis=2) < 60
        rows, columns = np.nonzero(near)
        assert rows.size == 4
        assert (rows.mean() + 0.5, columns.mean() + 0.5) == (4 + 4 * row, 4 + 4 * column)


def test_walls_coin_and_treasure_show():
    frame = DetourMaze().render(at(0, 0))[0]
    assert frame[2 + 4 * 8, 2 + 4 * 5].tolist() == [70, 76, 92]
    assert frame[2 + 4 * 13 + 1, 3].tolist() == [226, 150, 30]
    assert frame[2 + 4 * 1 + 1, 2 + 4 * 13 + 1].tolist() == [200, 255, 220]


def test_an_impossible_share_of_starts_is_refused():
    with pytest.raises(ValueError, match=r"DetourMaze: anywhere=-0\.1: choose 0 to 1"):
        DetourMaze(anywhere=-0.1)
