"""Climb the ridge, but not past its edge."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from worldmodels.envs.drawing import draw_capsule, fill, gradient
from worldmodels.envs.world import World, WorldStep
from worldmodels.types import ActionSpace

# The picture, in pixels: where x = 0 stands, the extent of x = 1, the ground beyond the cliff.
_LEFT, _WIDE = 7.0, 40.0
_LOW, _TALL = 51.0, 38.0
_FOOT = 58.0
_RADIUS = 3.0


class CliffHillState(NamedTuple):
    """Where the climber is along the ridge, and whether it fell (then it lies at the foot)."""

    position: Float[np.ndarray, " N"]
    fallen: Bool[np.ndarray, " N"]


class CliffHill(World):
    """A climber walks a straight ridge that ends in a cliff; its height is its reward.

    ``position += speed * action``, stopped at 0 on the left. The reward on arrival is the height,
    which equals the position. Past ``edge`` the climber falls: it lies at the cliff's foot for the
    rest of the episode, with reward 0. That is no termination; the time limit truncates.

    Random actions practically never reach the edge within an episode (probability below 1e-5), so
    data from them says nothing about the cliff.

    Attributes:
        speed: distance per step under action 1.
        edge: the last safe position.
        start: range of the uniform start position.
    """

    action_space = ActionSpace(1, False)
    time_limit = 50
    frame_rate = 10.0
    speed = 0.04
    edge = 0.9
    start = (0.05, 0.2)

    def reset(self, rng: np.random.Generator, num: int) -> CliffHillState:
        """Stands near the bottom of the ridge."""
        return CliffHillState(rng.uniform(*self.start, num), np.zeros(num, dtype=bool))

    def step(self, state: CliffHillState, action: Float[np.ndarray, "N A"]) -> WorldStep:
        """Walks, or goes on lying at the foot."""
        walked = state.position + self.speed * np.clip(action[:, 0], -1.0, 1.0)
        position = np.where(state.fallen, state.position, np.maximum(walked, 0.0))
        fallen = state.fallen | (position > self.edge)
        reward = np.where(fallen, 0.0, position)
        return WorldStep(CliffHillState(position, fallen), reward, np.zeros_like(fallen))

    def render(self, state: CliffHillState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """The ridge with the climber on it, or flat at the cliff's foot."""
        frames = np.repeat(self._landscape[None], len(state.position), axis=0)
        on_ridge = np.stack([_column(state.position), _row(state.position) - _RADIUS], axis=1)
        at_foot = np.array([_column(self.edge) + 10.0, _FOOT - 2.0])
        centre = np.where(state.fallen[:, None], at_foot, on_ridge)
        lying = np.where(state.fallen, 3.0, 0.0)[:, None] * np.array([1.0, 0.0])
        draw_capsule(frames, centre - lying, centre + lying, _RADIUS, (110, 20, 40))
        draw_capsule(frames, centre - lying, centre + lying, _RADIUS - 1.0, (250, 60, 70))
        return frames

    def info(self, state: CliffHillState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """``position`` (where it stepped past the edge, once fallen) and ``fell``."""
        return {"position": state.position, "fell": state.fallen}

    def best_action(self, state: CliffHillState) -> Float[np.ndarray, "N A"]:
        """Walks right at full speed and stops just short of the edge."""
        # The margin absorbs the rounding of a float32 action.
        gap = self.edge - 1e-6 - state.position
        return np.clip(gap / self.speed, -1.0, 1.0)[:, None]

    def best_return(self, state: CliffHillState) -> Float[np.ndarray, " N"]:
        """The least upper bound of the undiscounted return of a whole episode from each start."""
        steps = np.arange(1, self.time_limit + 1)
        climb = np.minimum(state.position[:, None] + self.speed * steps, self.edge)
        return np.where(state.fallen, 0.0, climb.sum(axis=1))

    @cached_property
    def _landscape(self) -> UInt8[np.ndarray, "h w C"]:
        cliff = _column(self.edge)

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
