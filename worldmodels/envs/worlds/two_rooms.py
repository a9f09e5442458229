"""Two rooms and a door, for goals and rewards that change while the world stays the same."""

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from worldmodels.envs.world import World, WorldStep
from worldmodels.envs.worlds.discs import draw_discs
from worldmodels.envs.worlds.drawing import SIDE, fill, to_pixels
from worldmodels.types import ActionSpace

Task = Callable[[np.ndarray], np.ndarray]
"""The reward of arriving at each place: ``[N, 2] -> [N]``."""

# Pixels per unit of length.
_SCALE = 29.0


def reach(x: float, y: float, width: float = 0.2) -> Task:
    """1 at (x, y), 1/2 at ``width`` from it: ``1 / (1 + (distance / width)^2)``."""

    def reward(place: np.ndarray) -> np.ndarray:
        return 1 / (1 + (((place - np.array([x, y])) / width) ** 2).sum(axis=1))

    return reward


def right_wall(place: np.ndarray) -> np.ndarray:
    """1 anywhere along the right wall, 1/2 at 0.2 from it."""
    return 1 / (1 + ((1 - place[:, 0]) / 0.2) ** 2)


upper_right, lower_left, doorway = reach(0.75, 0.75), reach(-0.75, -0.75), reach(0.0, 0.0)
TASKS: tuple[Task, ...] = (upper_right, lower_left, doorway, right_wall)
"""Four rewards for the same world."""


class TwoRoomsState(NamedTuple):
    """Where the walker is: x to the right, y upwards, both in [-1, 1]."""

    position: Float[np.ndarray, "N 2"]


class TwoRooms(World):
    """A walker in two rooms that a wall with a door separates; the reward is an argument.

    ``position += speed * action``, first along x, then along y; walls stop each by itself. The
    reward on arrival is ``task`` of the position. Neither the motion nor the picture depends on
    the task, so one model serves every task; `goal_frames` shows a place as a goal image.

    Args:
        task: the reward of each place, one of `TASKS` or any function of the positions.

    Attributes:
        speed: distance per step and axis under action 1.
        wall: half the thickness of the wall at x = 0.
        door: half the width of the door at y = 0.
    """

    action_space = ActionSpace(2, False)
    time_limit = 50
    frame_rate = 10.0
    speed = 0.08
    wall = 0.08
    door = 0.22

    def __init__(self, task: Task = upper_right):
        self.task = task

    def reset(self, rng: np.random.Generator, num: int) -> TwoRoomsState:
        """Stands anywhere in either room."""
        side = rng.choice([-1.0, 1.0], num)
        x = side * rng.uniform(self.wall, 1.0, num)
        return TwoRoomsState(np.stack([x, rng.uniform(-1.0, 1.0, num)], axis=1))

    def step(self, state: TwoRoomsState, action: Float[np.ndarray, "N A"]) -> WorldStep:
        """Walks one step as far as the walls allow."""
        x, y = state.position.T
        aim = state.position + self.speed * np.clip(action, -1.0, 1.0)
        aim_x, aim_y = np.clip(aim, -1.0, 1.0).T
        x = np.where(self._in_wall(aim_x, y), x, aim_x)
        y = np.where(self._in_wall(x, aim_y), y, aim_y)
        position = np.stack([x, y], axis=1)
        nothing = np.zeros(len(x), dtype=bool)
        return WorldStep(TwoRoomsState(position), self.task(position), nothing)

    def goal_frames(self, place: Float[np.ndarray, "N 2"]) -> UInt8[np.ndarray, "N 64 64 3"]:
        """What the world looks like when the walker is at each place.

        Raises:
            ValueError: if a place is in a wall.
        """
        bad = self._in_wall(*place.T) | (np.abs(place) > 1.0).any(axis=1)
        if bad.any():
            raise ValueError(f"place {place[bad][0].tolist()} is in a wall; choose one in a room")
        return self.render(TwoRoomsState(place))

    def render(self, state: TwoRoomsState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """Both rooms from above with the walker."""
        frames = np.broadcast_to(self._scene, (len(state.position), SIDE, SIDE, 3)).copy()
        centre = to_pixels(state.position[:, None], _SCALE)
        draw_discs(frames, centre, 3.2, (96, 16, 40))
        draw_discs(frames, centre, 2.2, (232, 56, 96))
        return frames

    def info(self, state: TwoRoomsState) -> dict[str, Shaped[np.ndarray, " N"]]:
        return {"x": state.position[:, 0], "y": state.position[:, 1]}

    def _in_wall(
        self, x: Float[np.ndarray, " N"], y: Float[np.ndarray, " N"]
    ) -> Bool[np.ndarray, " N"]:
        return (np.abs(x) < self.wall) & (np.abs(y) > self.door)

    @cached_property
    def _scene(self) -> UInt8[np.ndarray, "h w C"]:
        image = np.full((SIDE, SIDE, 3), (70, 76, 92), dtype=np.uint8)
        middle, edge = SIDE / 2, SIDE / 2 - 0.8
        # The walker has a radius of 3 pixels: it touches what is drawn 3 pixels further.
        wall, door = _SCALE * self.wall - 1.0, _SCALE * self.door + 3.0

        def left(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return (np.abs(y - middle) < edge) & (np.abs(x - middle) < edge) & (x < middle)

        def right(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return (np.abs(y - middle) < edge) & (np.abs(x - middle) < edge) & (x >= middle)

        def divider(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return (np.abs(x - middle) < wall) & (np.abs(y - middle) > door)

        image = fill(image, left, (240, 224, 196))
        image = fill(image, right, (202, 222, 236))
        return fill(image, divider, (70, 76, 92))
