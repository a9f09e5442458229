"""Keep a car on a winding road in gusts of wind."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped, UInt8, UInt64

from worldmodels.checks import check_at_least
from worldmodels.envs.world import World, WorldStep
from worldmodels.envs.worlds.drawing import SIDE, draw_capsule, fill
from worldmodels.envs.worlds.noise import draw_keys, next_keys, normal
from worldmodels.types import ActionSpace

# The picture, in pixels: per half width of the road, the car's row, a band of grass or paint.
_SCALE = 7.0
_CAR_ROW = 55.5
_BAND = 4
_FINE = 8


class GustRoadState(NamedTuple):
    """A car on its road; lengths across are in half widths of the road, along it in steps.

    ``phase`` fixes the bends; ``key`` the gusts to come.
    """

    position: Float[np.ndarray, " N"]
    velocity: Float[np.ndarray, " N"]
    travelled: Int[np.ndarray, " N"]
    phase: Float[np.ndarray, "N 2"]
    key: UInt64[np.ndarray, " N"]
    left: Bool[np.ndarray, " N"]


class GustRoad(World):
    """A car drives up the picture at constant speed; the action steers it across.

    ``velocity = 0.5 velocity + 0.3 action + sigma gust``, ``position += velocity``, with a
    standard normal gust per step. The road's middle is the sum of two sines. The reward is
    ``1 - offset^2`` of the offset from the middle; beyond an offset of 1 the car has left the
    road, which pays nothing and ends the episode.

    A frame shows the road as far as the episode goes and no gust. Without gusts one plan made
    at the start is therefore enough; with them the car wanders off its plan by about
    ``2 sigma sqrt(steps)``, and only closed-loop control stays on the road.

    Args:
        sigma: standard deviation of the gusts, in half widths of the road per step.

    Attributes:
        bends: amplitude of the two sines.
        periods: their lengths, in steps.
        drag: the factor by which one step scales the velocity.
        steering: velocity gained per step under action 1.

    Raises:
        ValueError: if ``sigma`` is negative.
    """

    action_space = ActionSpace(1, False)
    time_limit = 50
    frame_rate = 10.0
    bends = np.array([1.6, 0.4])
    periods = np.array([60.0, 25.0])
    drag = 0.5
    steering = 0.3

    def __init__(self, sigma: float = 0.13):
        check_at_least("GustRoad", 0, sigma=sigma)
        self.sigma = sigma

    def reset(self, rng: np.random.Generator, num: int) -> GustRoadState:
        """Draws roads, and stands in the middle third of each."""
        phase = rng.uniform(0, 2 * np.pi, (num, 2))
        start = np.zeros(num, dtype=np.int64)
        position = self.middle(phase, start) + rng.uniform(-1 / 3, 1 / 3, num)
        key = draw_keys(rng, num)
        return GustRoadState(position, np.zeros(num), start, phase, key, np.zeros(num, dtype=bool))

    def step(self, state: GustRoadState, action: Float[np.ndarray, "N A"]) -> WorldStep:
        """Steers and is blown one step on; a car off the road stands still."""
        push = self.steering * np.clip(action[:, 0], -1.0, 1.0) + self.sigma * normal(state.key)
        velocity = np.where(state.left, 0.0, self.drag * state.velocity + push)
        travelled = state.travelled + ~state.left
        after = state._replace(
            position=state.position + velocity,
            velocity=velocity,
            travelled=travelled,
            key=next_keys(state.key, 2),
        )
        offset = self.offset(after)
        left = state.left | (np.abs(offset) > 1.0)
        return WorldStep(after._replace(left=left), np.where(left, 0.0, 1.0 - offset**2), left)

    def offset(self, state: GustRoadState) -> Float[np.ndarray, " N"]:
        """Distance from the road's middle, positive to the right."""
        return state.position - self.middle(state.phase, state.travelled)

    def render(self, state: GustRoadState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """The road from above, which scrolls down one pixel per step; the car tilts as it turns."""
        ahead = (_CAR_ROW - 0.5 - np.arange(SIDE)).astype(np.int64)
        along = state.travelled[:, None] + ahead
        middle = SIDE / 2 + _SCALE * self.middle(state.phase[:, None], along)
        index = np.rint(_FINE * middle).astype(np.int64)
        frames = self._rows[along // _BAND % 2, index]
        column = SIDE / 2 + _SCALE * state.position
        lean = 6.0 * state.velocity
        front = np.stack([column + lean, np.full_like(column, _CAR_ROW - 3.0)], axis=1)
        back = np.stack([column - lean, np.full_like(column, _CAR_ROW + 3.0)], axis=1)
        draw_capsule(frames, back, front, 2.4, (196, 24, 36))
        draw_capsule(frames, front, front, 1.1, (255, 220, 210))
        return frames

    def info(self, state: GustRoadState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """``offset`` from the middle, ``position``, ``velocity``, and whether it ``left``."""
        return {
            "offset": self.offset(state),
            "position": state.position,
            "velocity": state.velocity,
            "left": state.left,
        }

    def middle(
        self, phase: Float[np.ndarray, "*#batch 2"], along: Int[np.ndarray, "*#batch"]
    ) -> Float[np.ndarray, "*#batch"]:
        """Where the road's middle is after ``along`` steps."""
        turn = 2 * np.pi * along[..., None] / self.periods + phase
        return (self.bends * np.sin(turn)).sum(axis=-1)

    @cached_property
    def _rows(self) -> UInt8[np.ndarray, "bands places w C"]:
        """Every row that a frame can have: by band, and by the road's middle in fine steps."""
        return np.stack([_row_pictures(grass) for grass in ((104, 160, 84), (92, 148, 76))])


def _row_pictures(grass: tuple[int, int, int]) -> UInt8[np.ndarray, "places w C"]:
    """One row of pixels for each place of the road's middle; the paler band has the dash."""
    places = SIDE * _FINE + 1
    middle = np.arange(places)[:, None] / _FINE
    # `fill` paints whole square pictures: one of them holds 64 of the rows.
    image = np.full((SIDE, SIDE, 3), grass, dtype=np.uint8)
    rows = []
    for first in range(0, places, SIDE):
        centre = np.pad(middle[first : first + SIDE, 0], (0, SIDE), mode="edge")[:SIDE]
        rows.append(_road(image, centre, dashed=grass[0] > 100))
    return np.concatenate(rows)[:places]


def _road(
    image: UInt8[np.ndarray, "h w C"], centre: Float[np.ndarray, " h"], dashed: bool
) -> UInt8[np.ndarray, "h w C"]:
    def within(half: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.abs(x - centre[y.astype(np.int64)]) < half

    image = fill(image, lambda x, y: within(_SCALE + 0.8, x, y), (246, 246, 240))
    image = fill(image, lambda x, y: within(_SCALE - 0.2, x, y), (96, 98, 106))
    return fill(image, lambda x, y: within(0.5 if dashed else 0.0, x, y), (228, 216, 150))
