"""A small reward round the corner, a large one behind two walls."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8

from worldmodels.checks import check_between
from worldmodels.envs.world import World, WorldStep
from worldmodels.envs.worlds.drawing import SIDE, draw_capsule, fill
from worldmodels.types import ActionSpace

_PLAN = (
    ".........#.....",
    ".........#...G.",
    ".....#...#.....",
    ".....#...#.....",
    ".....#...#.....",
    ".....#...#.....",
    ".....#...#.....",
    ".....#...#.....",
    ".....#...#.....",
    ".....#...#.....",
    ".....#...#.....",
    ".....#...#.....",
    ".....#...#.....",
    "D....#.........",
    ".....#.........",
)
_CELLS = np.array([list(line) for line in _PLAN])
_COUNT = len(_PLAN)
# The picture, in pixels: a cell's side, and the frame around the plan.
_CELL, _MARGIN = 4, 2

MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])
"""Rows and columns that each choice walks."""


class DetourMazeState(NamedTuple):
    """The walker's cell, counted from the top left."""

    row: Int[np.ndarray, " N"]
    column: Int[np.ndarray, " N"]


class DetourMaze(World):
    """A walker in three rooms: a coin lies near by, a treasure far away behind two walls.

    Choices 0, 1, 2, 3 walk one cell up, right, down, left; a wall stops the walker. Arriving at
    the coin (the decoy) pays 1, arriving at the treasure pays 10; either ends the episode, and
    nothing more moves or pays. Every start is 5 steps from the coin and 44 to 46 steps from the
    treasure, so a planner must look that far ahead, or know the value of where it gets to; the
    treasure is worth more at every discount above 0.946. A random walk hardly ever finds it, so a
    share of the episodes starts anywhere.

    Args:
        anywhere: probability that an episode starts in any free cell. Set it to 0 to measure
            success from the starts above.

    Attributes:
        decoy_reward, goal_reward: what arriving at the coin and at the treasure pays.

    Raises:
        ValueError: if ``anywhere`` is no probability.
    """

    action_space = ActionSpace(4, True)
    time_limit = 100
    frame_rate = 10.0
    decoy_reward = 1.0
    goal_reward = 10.0

    def __init__(self, anywhere: float = 0.5):
        check_between("DetourMaze", 0, 1, anywhere=anywhere)
        self.anywhere = anywhere

    def reset(self, rng: np.random.Generator, num: int) -> DetourMazeState:
        """Stands 5 steps from the coin, or, in a share of the episodes, anywhere."""
        near = rng.choice(np.argwhere(self.distance_to_decoy == 5), num)
        far = rng.choice(np.argwhere(_CELLS == "."), num)
        chosen = np.where(rng.uniform(size=(num, 1)) < self.anywhere, far, near)
        return DetourMazeState(chosen[:, 0], chosen[:, 1])

    def step(self, state: DetourMazeState, action: Int[np.ndarray, " N"]) -> WorldStep:
        """Walks one cell, unless a wall or the end of the episode forbids it."""
        ended = np.isin(_CELLS[state.row, state.column], ("D", "G"))
        aim = np.stack(state, axis=1) + MOVES[action]
        cell = np.clip(aim, 0, _COUNT - 1)
        stays = ended | (_CELLS[cell[:, 0], cell[:, 1]] == "#")
        row, column = np.where(stays[:, None], np.stack(state, axis=1), cell).T
        arrived = _CELLS[row, column]
        reward = self.goal_reward * (arrived == "G") + self.decoy_reward * (arrived == "D")
        terminated = np.isin(arrived, ("D", "G"))
        return WorldStep(DetourMazeState(row, column), np.where(ended, 0.0, reward), terminated)

    def render(self, state: DetourMazeState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """The plan from above with the walker."""
        return self._views[_COUNT * state.row + state.column]

    def info(self, state: DetourMazeState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """The cell, its ``distance`` from the treasure in steps, and what lies there."""
        cell = _CELLS[state.row, state.column]
        return {
            "row": state.row,
            "column": state.column,
            "distance": self.distance_to_goal[state.row, state.column],
            "at_decoy": cell == "D",
            "at_goal": cell == "G",
        }

    @cached_property
    def distance_to_goal(self) -> Float[np.ndarray, "rows columns"]:
        """Steps from each cell to the treasure past the coin; infinite from walls and the coin."""
        return _distances(_CELLS == "G", (_CELLS == ".") | (_CELLS == "G"))

    @cached_property
    def distance_to_decoy(self) -> Float[np.ndarray, "rows columns"]:
        """Steps from each cell to the coin; infinite from walls and the treasure."""
        return _distances(_CELLS == "D", (_CELLS == ".") | (_CELLS == "D"))

    @cached_property
    def _views(self) -> UInt8[np.ndarray, "cells h w C"]:
        """One frame for each cell that the walker may stand in."""
        row, column = np.divmod(np.arange(_COUNT**2), _COUNT)
        centre = _MARGIN + _CELL * (np.stack([column, row], axis=1) + 0.5)
        frames = np.repeat(_picture()[None], _COUNT**2, axis=0)
        draw_capsule(frames, centre, centre, 2.3, (90, 10, 60))
        draw_capsule(frames, centre, centre, 1.6, (240, 60, 170))
        return frames


def _distances(
    goal: Bool[np.ndarray, "rows columns"], free: Bool[np.ndarray, "rows columns"]
) -> Float[np.ndarray, "rows columns"]:
    distance = np.where(goal, 0.0, np.inf)
    while True:
        padded = np.pad(distance, 1, constant_values=np.inf)
        neighbours = [padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]]
        shorter = np.minimum(distance, 1.0 + np.minimum.reduce(neighbours))
        shorter = np.where(free, shorter, np.inf)
        if (shorter == distance).all():
            return distance
        distance = shorter


def _picture() -> UInt8[np.ndarray, "h w C"]:
    """Walls, floor, coin and treasure."""
    image = np.full((SIDE, SIDE, 3), (70, 76, 92), dtype=np.uint8)
    floor = np.array([(226, 220, 206), (216, 209, 193)])
    for row, column in np.argwhere(_CELLS != "#"):
        top, left = _MARGIN + _CELL * row, _MARGIN + _CELL * column
        image[top : top + _CELL, left : left + _CELL] = floor[(row + column) % 2]
    coin, treasure = (
        _MARGIN + _CELL * (np.argwhere(mark == _CELLS)[0, ::-1] + 0.5) for mark in ("D", "G")
    )
    image = fill(image, lambda x, y: np.hypot(x - coin[0], y - coin[1]) < 1.9, (226, 150, 30))
    # The treasure is a diamond larger than its cell: the frame must say that it is worth more.
    for reach, colour in ((6.0, (20, 90, 60)), (4.5, (40, 200, 120)), (2.0, (200, 255, 220))):
        image = fill(
            image,
            lambda x, y, r=reach: np.abs(x - treasure[0]) + np.abs(y - treasure[1]) < r,
            colour,
        )
    return image
