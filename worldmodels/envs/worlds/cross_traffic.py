"""Cars at a crossing that turn left or right at random: a stochastic future."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8, UInt64

from worldmodels.envs.world import World, WorldStep
from worldmodels.envs.worlds.discs import draw_discs
from worldmodels.envs.worlds.drawing import SIDE, fill, to_pixels
from worldmodels.envs.worlds.noise import draw_keys, next_keys, uniforms
from worldmodels.types import ActionSpace

# The picture: pixels per unit of length, and the cars' colours.
_SCALE = 29.0
_COLOURS = ((232, 120, 24), (36, 92, 216))
# Cars drive on the right, this far from the middle of a road.
_LANE = 0.13
# One car comes from the south, the other from the north, which is the same turned by half.
_FACING = np.array([1, -1])


class CrossTrafficState(NamedTuple):
    """A drone over a crossing with two cars; x to the right, y upwards, the crossing at (0, 0).

    ``clock`` counts each car's steps since it appeared, ``colour`` is 0 (orange) or 1 (blue),
    ``turn`` is -1 (left), 1 (right) or 0 (not decided). ``key`` determines later random numbers.
    """

    drone: Float[np.ndarray, "N 2"]
    clock: Int[np.ndarray, "N 2"]
    colour: Int[np.ndarray, "N 2"]
    turn: Int[np.ndarray, "N 2"]
    key: UInt64[np.ndarray, " N"]


class CrossTraffic(World):
    """Keep a drone over the cars of a crossing, each of which turns left or right.

    A car comes from the south and one from the north, half a cycle apart; each appears anew every
    ``cycle`` steps, in a new colour. ``undecided`` steps after it appeared, just before the
    crossing, it turns left or right with probability 1/2 each, whatever its colour. No frame tells
    in advance, so the best prediction of one frame is a blend of two cars, and only a sample shows
    one. In the deterministic variant, orange cars turn left and blue ones right: the same cars,
    each single picture as likely as before, and everything predictable but the next car's colour.

    The action moves the drone, ``drone += speed * action``. The reward on arrival is
    ``1 / (1 + (d / width)^2)`` of its distance d from the nearest car.

    Args:
        deterministic: whether the colour decides the turn.

    Attributes:
        speed: the drone's, per step and axis, under action 1.
        car_speed: per step.
        width: the distance at which the reward is 1/2.
        extent: the drone stays within this of the middle, along each axis.
    """

    action_space = ActionSpace(2, False)
    time_limit = 56
    frame_rate = 10.0
    speed = 0.12
    car_speed = 0.1
    width = 0.15
    extent = 1.0
    cycle = 28
    undecided = 10

    def __init__(self, deterministic: bool = False):
        self.deterministic = deterministic

    def reset(self, rng: np.random.Generator, num: int) -> CrossTrafficState:
        """Starts anywhere in the cycle, with the drone anywhere."""
        first = rng.integers(self.cycle, size=num)
        clock = np.stack([first, first + self.cycle // 2], axis=1) % self.cycle
        colour = rng.integers(2, size=(num, 2))
        turn = self._turns(colour, rng.uniform(size=(num, 2)))
        turn = np.where(clock < self.undecided, 0, turn)
        drone = rng.uniform(-self.extent, self.extent, (num, 2))
        return CrossTrafficState(drone, clock, colour, turn, draw_keys(rng, num))

    def step(self, state: CrossTrafficState, action: Float[np.ndarray, "N A"]) -> WorldStep:
        moved = state.drone + self.speed * np.clip(action, -1.0, 1.0)
        drone = np.clip(moved, -self.extent, self.extent)
        clock = (state.clock + 1) % self.cycle
        chance = uniforms(state.key, 4)
        colour = np.where(clock == 0, (chance[:, :2] < 0.5).astype(np.int64), state.colour)
        turn = np.where(clock == self.undecided, self._turns(colour, chance[:, 2:]), state.turn)
        turn = np.where(clock == 0, 0, turn)
        after = CrossTrafficState(drone, clock, colour, turn, next_keys(state.key, 4))
        distance = self._distances(after).min(axis=1)
        reward = 1 / (1 + (distance / self.width) ** 2)
        return WorldStep(after, reward, np.zeros(len(reward), dtype=bool))

    def cars(self, state: CrossTrafficState) -> Float[np.ndarray, "N 2 2"]:
        """Where both cars are: straight on to their new lane, then along it."""
        driven = self.car_speed * state.clock
        straight = 1.2 - _LANE * state.turn
        beyond = np.where(state.turn == 0, 0.0, np.maximum(driven - straight, 0.0))
        x = _LANE + state.turn * beyond
        y = driven - beyond - 1.2
        return np.stack([_FACING * x, _FACING * y], axis=2)

    def render(self, state: CrossTrafficState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """The crossing from above, its cars, and a white ring for the drone."""
        frames = np.broadcast_to(self._scene, (len(state.key), SIDE, SIDE, 3)).copy()
        cars, ahead = self.cars(state), self.headings(state)
        body = np.stack([cars - 0.07 * ahead, cars, cars + 0.07 * ahead], axis=2)
        for index, paint in enumerate(_COLOURS):
            # The other colour's cars are moved out of the picture.
            own = np.where((state.colour == index)[:, :, None, None], body, -9.0)
            draw_discs(frames, to_pixels(own.reshape(-1, 6, 2), _SCALE), 2.3, paint)
        draw_discs(frames, to_pixels(cars + 0.08 * ahead, _SCALE), 1.0, (226, 240, 250))
        angle = np.arange(20) * np.pi / 10
        ring = 0.2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        draw_discs(frames, to_pixels(state.drone[:, None] + ring, _SCALE), 0.7, (255, 255, 255))
        return frames

    def info(self, state: CrossTrafficState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """Places, colours and turns of the car from the south and of that from the north."""
        cars = self.cars(state)
        values = {"drone_x": state.drone[:, 0], "drone_y": state.drone[:, 1]}
        for index, name in enumerate(("south", "north")):
            values[f"{name}_x"] = cars[:, index, 0]
            values[f"{name}_y"] = cars[:, index, 1]
            values[f"{name}_colour"] = state.colour[:, index]
            values[f"{name}_turn"] = state.turn[:, index]
        return values

    def _turns(
        self, colour: Int[np.ndarray, "N 2"], chance: Float[np.ndarray, "N 2"]
    ) -> Int[np.ndarray, "N 2"]:
        right = colour == 1 if self.deterministic else chance < 0.5
        return np.where(right, 1, -1)

    def headings(self, state: CrossTrafficState) -> Float[np.ndarray, "N 2 2"]:
        """Unit vectors along which both cars drive."""
        driven = self.car_speed * state.clock
        turned = (state.turn != 0) & (driven > 1.2 - _LANE * state.turn)
        return np.stack(
            [_FACING * np.where(turned, state.turn, 0.0), _FACING * np.where(turned, 0.0, 1.0)],
            axis=2,
        )

    def _distances(self, state: CrossTrafficState) -> Float[np.ndarray, "N 2"]:
        gap = self.cars(state) - state.drone[:, None]
        return np.hypot(gap[:, :, 0], gap[:, :, 1])

    @cached_property
    def _scene(self) -> UInt8[np.ndarray, "h w C"]:
        image = np.full((SIDE, SIDE, 3), (104, 160, 84), dtype=np.uint8)
        middle, half = SIDE / 2, 2 * _LANE * _SCALE

        def roads(x: np.ndarray, y: np.ndarray, width: float) -> np.ndarray:
            return np.minimum(np.abs(x - middle), np.abs(y - middle)) < width

        def dashes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            across, along = np.abs(x - middle), np.abs(y - middle)
            lines = (np.minimum(across, along) < 0.5) & (np.maximum(across, along) > half)
            return lines & ((np.maximum(across, along) // 3) % 2 == 0)

        image = fill(image, lambda x, y: roads(x, y, half + 1.0), (214, 208, 196))
        image = fill(image, lambda x, y: roads(x, y, half), (96, 98, 106))
        return fill(image, dashes, (228, 216, 150))
