"""Climb the ridge, but not past its edge: there it breaks off."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from worldmodels.checks import check_between
from worldmodels.envs.world import World, WorldStep
from worldmodels.envs.worlds.drawing import draw_capsule, fill, gradient
from worldmodels.types import ActionSpace

# The picture, in pixels: where x = 0 stands, the extent of x = 1, the ground at the cliffs' foot.
_LEFT, _WIDE = 7.0, 40.0
_LOW, _TALL = 51.0, 38.0
_FOOT = 58.0
_RADIUS = 3.0


class CliffHillState(NamedTuple):
    """Where the climber is, where its ridge breaks off, and whether it fell."""

    position: Float[np.ndarray, " N"]
    edge: Float[np.ndarray, " N"]
    fallen: Bool[np.ndarray, " N"]


class CliffHill(World):
    """A climber walks a straight ridge; its height is its reward. Somewhere the ridge has a gap.

    ``position += speed * action``, kept between 0 and 1. The reward on arrival is the height,
    which equals the position. Above ``edge``, over ``gap``, there is nothing to stand on: the
    climber falls and lies at the cliffs' foot for the rest of the episode, with reward 0. That is
    no termination; the time limit truncates.

    Every episode has its own hill, with the edge somewhere in ``edges``. The climber starts below
    the gap and in reach of it, or, with probability ``above_share`` and where there is room, above
    it; but at least ``distance`` away, so that random actions practically never reach it
    (probability below 1e-5 per episode). Random data therefore shows every height, on both sides
    of gaps, and that higher is better, but never a fall.

    Args:
        above_share: probability of a start above a gap that leaves room there.

    Attributes:
        speed: distance per step under action 1.
        gap: its width: several steps, so that it cannot be jumped.
        edges: the last safe position below each gap; they lie on the picture's columns.
        distance: smallest distance from the start to the gap.
        reach: largest distance from a start below to the edge; 40 of the 50 steps.
        lowest: smallest start position.
    """

    action_space = ActionSpace(1, False)
    time_limit = 50
    frame_rate = 10.0
    speed = 0.0125
    gap = 0.1
    edges = np.arange(6, 19) / 20
    distance = 0.225
    reach = 0.5
    lowest = 0.05

    def __init__(self, above_share: float = 0.4):
        check_between("CliffHill", 0, 1, above_share=above_share)
        self.above_share = above_share

    def reset(self, rng: np.random.Generator, num: int) -> CliffHillState:
        """Draws hills, and stands somewhere below or above their gaps."""
        edge = rng.choice(self.edges, num)
        beyond = edge + self.gap + self.distance
        above = (rng.uniform(size=num) < self.above_share) & (beyond < 1.0)
        low = np.where(above, beyond, np.maximum(self.lowest, edge - self.reach))
        high = np.where(above, 1.0, edge - self.distance)
        return CliffHillState(rng.uniform(low, high), edge, np.zeros(num, dtype=bool))

    def step(self, state: CliffHillState, action: Float[np.ndarray, "N A"]) -> WorldStep:
        """Walks one step; who has fallen stays at the cliffs' foot."""
        walked = state.position + self.speed * np.clip(action[:, 0], -1.0, 1.0)
        position = np.where(state.fallen, state.position, np.clip(walked, 0.0, 1.0))
        over = (position > state.edge) & (position < state.edge + self.gap)
        fallen = state.fallen | over
        reward = np.where(fallen, 0.0, position)
        after = CliffHillState(position, state.edge, fallen)
        return WorldStep(after, reward, np.zeros_like(fallen))

    def render(self, state: CliffHillState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """The ridge with the climber on it, or flat at the foot of the cliffs."""
        frames = self._landscapes[np.searchsorted(self.edges, state.edge)]
        on_ridge = np.stack([_column(state.position), _row(state.position) - _RADIUS], axis=1)
        middle = _column(state.edge + self.gap / 2)
        at_foot = np.stack([middle, np.full_like(middle, _FOOT - 2.0)], axis=1)
        centre = np.where(state.fallen[:, None], at_foot, on_ridge)
        lying = np.where(state.fallen, 3.0, 0.0)[:, None] * np.array([1.0, 0.0])
        draw_capsule(frames, centre - lying, centre + lying, _RADIUS, (110, 20, 40))
        draw_capsule(frames, centre - lying, centre + lying, _RADIUS - 1.0, (250, 60, 70))
        return frames

    def info(self, state: CliffHillState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """``position`` (where it stepped into the gap, once fallen), ``edge`` and ``fell``."""
        return {"position": state.position, "edge": state.edge, "fell": state.fallen}

    @cached_property
    def _landscapes(self) -> UInt8[np.ndarray, "E h w C"]:
        gaps = [(float(_column(e)), float(_column(e + self.gap))) for e in self.edges]
        return np.stack([_landscape(*gap) for gap in gaps])


def _landscape(left: float, right: float) -> UInt8[np.ndarray, "h w C"]:
    def hill(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return y > _row(np.clip((x - _LEFT) / _WIDE, 0.0, 1.0))

    def gap(x: np.ndarray) -> np.ndarray:
        return (x > left) & (x < right)

    def ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return hill(x, y) & ~gap(x)

    image = gradient((96, 164, 226), (226, 240, 248))
    image = fill(image, lambda x, y: np.hypot(x - 12, y - 12) < 5, (255, 236, 150))
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
    image = fill(image, lambda x, y: hill(x, y) & (y < _FOOT) & gap(x), (226, 240, 248))
    return fill(image, lambda x, y: ridge(x, y) & ~ridge(x, y - 2.5), (84, 160, 72))


def _column(position: float | np.ndarray) -> float | np.ndarray:
    return _LEFT + _WIDE * position


def _row(height: float | np.ndarray) -> float | np.ndarray:
    return _LOW - _TALL * height
