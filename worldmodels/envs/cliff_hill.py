"""Climb the ridge, but not past its edge."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from worldmodels.envs.drawing import SIDE, draw_capsule, fill, gradient
from worldmodels.envs.world import World, WorldStep
from worldmodels.types import ActionSpace

# The picture, in pixels: where x = 0 stands, the extent of x = 1, the ground beyond the cliff.
_LEFT, _WIDE = 7.0, 40.0
_LOW, _TALL = 51.0, 38.0
_FOOT = 58.0
_RADIUS = 3.0


class CliffHillState(NamedTuple):
    """Where the climber is, where its ridge ends, and whether it fell (it lies at the foot then).

    ``edge`` is infinite on a hill without a cliff.
    """

    position: Float[np.ndarray, " N"]
    edge: Float[np.ndarray, " N"]
    fallen: Bool[np.ndarray, " N"]


class CliffHill(World):
    """A climber walks a straight ridge; its height is its reward. Most ridges end in a cliff.

    ``position += speed * action``, kept between 0 and 1. The reward on arrival is the height,
    which equals the position. Past ``edge`` the climber falls: it lies at the cliff's foot for the
    rest of the episode, with reward 0. That is no termination; the time limit truncates.

    Every episode has its own hill: the edge is somewhere in ``edges``, or, with probability
    ``open_share``, there is none and the ridge runs on to a wall at 1. The climber starts at least
    ``distance`` before the edge, so that random actions practically never reach it (probability
    below 1e-5 per episode). Random data therefore shows every height, and that higher is better,
    but never what a cliff is.

    Args:
        open_share: probability of a hill without a cliff.

    Attributes:
        speed: distance per step under action 1.
        edges: the last safe position of each kind of cliff; they lie on the picture's columns.
        distance: smallest distance from the start to the edge.
        lowest: smallest start position.
    """

    action_space = ActionSpace(1, False)
    time_limit = 50
    frame_rate = 10.0
    speed = 0.02
    edges = np.arange(20, 37) / 40
    distance = 0.35
    lowest = 0.05

    def __init__(self, open_share: float = 0.25):
        if not 0 <= open_share <= 1:
            raise ValueError(f"open_share={open_share}: choose a probability, 0 to 1")
        self.open_share = open_share

    def reset(self, rng: np.random.Generator, num: int) -> CliffHillState:
        """Draws hills, and stands somewhere below their edges."""
        edge = rng.choice(self.edges, num)
        edge = np.where(rng.uniform(size=num) < self.open_share, np.inf, edge)
        highest = np.minimum(edge - self.distance, 1.0)
        position = rng.uniform(self.lowest, highest)
        return CliffHillState(position, edge, np.zeros(num, dtype=bool))

    def step(self, state: CliffHillState, action: Float[np.ndarray, "N A"]) -> WorldStep:
        """Walks, or goes on lying at the foot."""
        walked = state.position + self.speed * np.clip(action[:, 0], -1.0, 1.0)
        position = np.where(state.fallen, state.position, np.clip(walked, 0.0, 1.0))
        fallen = state.fallen | (position > state.edge)
        reward = np.where(fallen, 0.0, position)
        after = CliffHillState(position, state.edge, fallen)
        return WorldStep(after, reward, np.zeros_like(fallen))

    def render(self, state: CliffHillState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """The ridge with the climber on it, or flat at the cliff's foot."""
        frames = self._landscapes[np.searchsorted(self.edges, state.edge)]
        on_ridge = np.stack([_column(state.position), _row(state.position) - _RADIUS], axis=1)
        foot = _column(np.minimum(state.edge, 1.0)) + 8.0
        at_foot = np.stack([foot, np.full_like(foot, _FOOT - 2.0)], axis=1)
        centre = np.where(state.fallen[:, None], at_foot, on_ridge)
        lying = np.where(state.fallen, 3.0, 0.0)[:, None] * np.array([1.0, 0.0])
        draw_capsule(frames, centre - lying, centre + lying, _RADIUS, (110, 20, 40))
        draw_capsule(frames, centre - lying, centre + lying, _RADIUS - 1.0, (250, 60, 70))
        return frames

    def info(self, state: CliffHillState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """``position`` (where it stepped past the edge, once fallen), ``edge`` and ``fell``."""
        return {"position": state.position, "edge": state.edge, "fell": state.fallen}

    def best_action(self, state: CliffHillState) -> Float[np.ndarray, "N A"]:
        """Walks right at full speed and stops just short of the edge."""
        # The margin absorbs the rounding of a float32 action.
        gap = np.minimum(state.edge, 1.0) - 1e-6 - state.position
        return np.clip(gap / self.speed, -1.0, 1.0)[:, None]

    def best_return(self, state: CliffHillState) -> Float[np.ndarray, " N"]:
        """The least upper bound of the undiscounted return of a whole episode from each start."""
        steps = np.arange(1, self.time_limit + 1)
        top = np.minimum(state.edge, 1.0)[:, None]
        climb = np.minimum(state.position[:, None] + self.speed * steps, top)
        return np.where(state.fallen, 0.0, climb.sum(axis=1))

    @cached_property
    def _landscapes(self) -> UInt8[np.ndarray, "E h w C"]:
        return np.stack(
            [_landscape(_LEFT + _WIDE * edge) for edge in self.edges] + [_landscape(float(SIDE))]
        )


def _landscape(cliff: float) -> UInt8[np.ndarray, "h w C"]:
    def ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x < cliff) & (y > _row(np.maximum((x - _LEFT) / _WIDE, 0.0)))

    image = gradient((96, 164, 226), (226, 240, 248))
    image = fill(image, lambda x, y: np.hypot(x - 55, y - 11) < 5, (255, 236, 150))
    image = fill(image, lambda x, y: y > 45 + 5 * np.sin(x / 6.0), (176, 204, 222))
    image = fill(image, lambda x, y: y > _FOOT, (196, 172, 128))
    image = fill(image, ridge, (128, 96, 72))
    for depth in (9.0, 17.0, 25.0, 33.0):
        stratum = depth + 1.5
        image = fill(
            image,
            lambda x, y, top=depth, low=stratum: ridge(x, y - top) & ~ridge(x, y - low),
            (112, 82, 62),
        )
    image = fill(image, lambda x, y: ridge(x, y) & (x > cliff - 1.5), (84, 60, 46))
    return fill(image, lambda x, y: ridge(x, y) & ~ridge(x, y - 2.5), (84, 160, 72))


def _column(position: float | np.ndarray) -> float | np.ndarray:
    return _LEFT + _WIDE * position


def _row(height: float | np.ndarray) -> float | np.ndarray:
    return _LOW - _TALL * height
