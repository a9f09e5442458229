from functools import partial

import numpy as np
import pytest
import torch
from einops import rearrange

from worldmodels.agent import Agent
from worldmodels.behaviours import ActorCritic
from worldmodels.dynamics import GaussianRSSM
from worldmodels.envs.worlds.detour_maze import DetourMaze, DetourMazeState
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import MPC
from worldmodels.studies.maze import (
    DISCOUNT,
    best_value,
    find,
    free_cells,
    shown_cells,
    value_error,
)
from worldmodels.studies.oracles import detour_maze
from worldmodels.studies.results import Results
from worldmodels.studies.terminal_value import (
    LEARNED,
    LONG,
    SHORT,
    SPENT,
    TREASURE,
    VALUED,
    TerminalValue,
    planning,
    search,
)
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel


def tiny_model():
    torch.manual_seed(0)
    return WorldModel(
        (3, 64, 64),
        ActionSpace(4, True),
        encoder=lambda shape: ConvEncoder(shape, depth=2, downscale=8),
        decoder=lambda size, shape: ConvDecoder(size, shape, depth=2, upscale=8),
        dynamics=lambda embed, action: GaussianRSSM(embed, action, stoch=2, deter=4, hidden=4),
    )


def iterated_value():
    """Value iteration on the world's own steps, cell by cell."""
    world, side = DetourMaze(), 15
    row, column = np.divmod(np.arange(side**2), side)
    steps = [world.step(DetourMazeState(row, column), np.full(side**2, a)) for a in range(4)]
    value = np.zeros(side**2)
    for _ in range(100):
        value = np.max(
            [
                s.reward + DISCOUNT * ~s.terminated * value[side * s.state.row + s.state.column]
                for s in steps
            ],
            axis=0,
        )
    return value.reshape(side, side)


def test_the_exact_value_is_that_of_value_iteration():
    cells = free_cells()
    np.testing.assert_allclose(best_value(cells), iterated_value()[cells.row, cells.column])


def test_the_treasure_is_worth_more_than_the_coin_from_every_start():
    starts = DetourMaze(anywhere=0.0).reset(np.random.default_rng(0), 200)
    assert (best_value(starts) > 2 * DISCOUNT**4).all()


def test_free_cells_are_all_but_walls_coin_and_treasure():
    cells = free_cells()
    # 15 x 15 less two walls of 13 cells, coin and treasure.
    assert len(cells.row) == 225 - 26 - 2


def test_true_frames_show_their_own_cells():
    cells = free_cells()
    frames = torch.from_numpy(DetourMaze().render(cells))
    seen = shown_cells(rearrange(frames, "N h w C -> N C h w"))
    np.testing.assert_array_equal(np.stack(seen), np.stack(cells))


def test_a_value_of_nothing_is_wrong_by_all_of_it():
    assert value_error(tiny_model(), lambda feature: 0 * feature[..., 0], 0) == 1.0


class Scripted(Agent):
    """Walks by the world's own best action, or always down, and so to the coin's row."""

    def __init__(self, choose):
        model = tiny_model()
        super().__init__(model, MPC(planning(2, 8)(model.action_space)))
        self.choose = choose

    def act(self, obs, is_first, state, explore=False):
        return torch.eye(4)[torch.from_numpy(self.choose(shown_cells(obs)))], state


def to_coin(cells):
    world = DetourMaze()
    around = np.pad(world.distance_to_decoy, 1, constant_values=np.inf)
    moves = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])
    return around[
        cells.row[:, None] + moves[:, 0] + 1, cells.column[:, None] + moves[:, 1] + 1
    ].argmin(1)


def test_who_walks_the_shortest_way_finds_the_treasure_and_who_walks_to_the_coin_the_coin():
    assert find(Scripted(partial(detour_maze, DetourMaze())), 4, 0) == (1.0, 0.0, 10.0)
    assert find(Scripted(to_coin), 4, 0) == (0.0, 1.0, 1.0)
    assert find(Scripted(lambda cells: np.zeros(len(cells.row), dtype=int)), 4, 0) == (
        0.0,
        0.0,
        0.0,
    )


def planner_agent(model, horizon):
    return Agent(model, MPC(planning(horizon, 16)(model.action_space))).eval()


def test_search_counts_the_plans_of_a_decision():
    model = tiny_model()
    # Three draws of 16, the mean and what was kept_elites; twice as long plans count the same.
    short, long = (search(planner_agent(model, h)) for h in (2, 4))
    assert 3 * 16 <= short <= 3 * 16 + 6
    assert long == short
    assert search(Agent(model, ActorCritic(model.feature_dim, model.action_space))) == 0


def judged(short, valued, learned, long, spent):
    shares = {SHORT: short, VALUED: valued, LEARNED: learned, LONG: long}
    numbers = {name: {TREASURE: share, SPENT: 100.0} for name, share in shares.items()}
    numbers[LONG][SPENT] = spent
    return [check.passed for check in TerminalValue().verdict(Results([numbers]))]


@pytest.mark.parametrize(
    ("numbers", "passed"),
    [
        ((0.0, 0.9, 1.0, 0.4, 500.0), [True] * 5),
        ((0.1, 0.8, 0.8, 0.5, 499.0), [False] * 5),
        ((0.0, 1.0, 0.89, 0.0, 510.0), [True, True, False, True, True]),
    ],
)
def test_each_condition_of_the_rule_can_fail(numbers, passed):
    assert judged(*numbers) == passed
