"""A point mass on a disc that pays more towards its rim, and a glitch that pays nothing beyond."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from worldmodels.envs.world import World, WorldStep
from worldmodels.envs.worlds.discs import draw_discs
from worldmodels.envs.worlds.drawing import SIDE, fill, to_pixels
from worldmodels.types import ActionSpace

# Pixels per unit of length.
_SCALE = 30.0


class GlitchBoxState(NamedTuple):
    """Where the mass is, and how fast (x to the right, y upwards)."""

    position: Float[np.ndarray, "N 2"]
    velocity: Float[np.ndarray, "N 2"]


class GlitchBox(World):
    """A point mass in the box [-1, 1] x [-1, 1]; the brighter the floor, the higher the reward.

    ``velocity = 0.6 velocity + 0.4 speed action``, ``position += velocity``; the box's walls stop
    it. The reward on arrival is the distance from the centre over ``radius``: 0 in the middle, 1
    at the rim of the disc. Beyond the rim the picture breaks into a glitch, and nothing is paid;
    the mass can come back.

    Starts are so near the centre that random actions practically never reach the rim. Random
    data therefore covers the disc's inside and shows that further out is better, but never the
    glitch: a model that trusts its extrapolation sends the mass there.

    Attributes:
        radius: of the disc.
        start_radius: of the smaller disc of starts.
        speed: distance per step under a lasting action of 1 along one axis.
        drag: the factor by which one step scales the velocity.
    """

    action_space = ActionSpace(2, False)
    time_limit = 50
    frame_rate = 10.0
    radius = 0.65
    start_radius = 0.25
    speed = 0.02
    drag = 0.6

    def reset(self, rng: np.random.Generator, num: int) -> GlitchBoxState:
        """Rests somewhere near the centre, uniformly by area."""
        distance = self.start_radius * np.sqrt(rng.uniform(size=num))
        angle = rng.uniform(-np.pi, np.pi, num)
        position = distance[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        return GlitchBoxState(position, np.zeros((num, 2)))

    def step(self, state: GlitchBoxState, action: Float[np.ndarray, "N A"]) -> WorldStep:
        push = (1 - self.drag) * self.speed * np.clip(action, -1.0, 1.0)
        velocity = self.drag * state.velocity + push
        aim = state.position + velocity
        position = np.clip(aim, -1.0, 1.0)
        after = GlitchBoxState(position, np.where(position == aim, velocity, 0.0))
        distance = _length(position)
        reward = np.where(distance > self.radius, 0.0, distance / self.radius)
        return WorldStep(after, reward, np.zeros(len(reward), dtype=bool))

    def outside(self, state: GlitchBoxState) -> Bool[np.ndarray, " N"]:
        """Whether the mass is beyond the rim."""
        return _length(state.position) > self.radius

    def render(self, state: GlitchBoxState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """The floor from above with the mass, or the glitch."""
        frames = self._scenes[self.outside(state).astype(np.int64)]
        centre = to_pixels(state.position[:, None], _SCALE)
        draw_discs(frames, centre, 3.2, (60, 16, 16))
        draw_discs(frames, centre, 2.2, (250, 96, 60))
        return frames

    def info(self, state: GlitchBoxState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """The position, its ``distance`` from the centre, and whether it is ``outside``."""
        return {
            "x": state.position[:, 0],
            "y": state.position[:, 1],
            "distance": _length(state.position),
            "outside": self.outside(state),
        }

    @cached_property
    def _scenes(self) -> UInt8[np.ndarray, "scenes h w C"]:
        """The floor, and the glitch: its rows torn sideways, its colours inverted and mixed up."""
        pixel = np.arange(SIDE) + 0.5 - SIDE / 2
        distance = np.hypot(pixel[None, :], pixel[:, None]) / (_SCALE * self.radius)
        light = np.clip(0.25 + 0.5 * distance, 0.0, 1.0)[:, :, None]
        floor = np.rint(light * np.array([120, 190, 210])).astype(np.uint8)
        rim, middle = _SCALE * self.radius, SIDE / 2

        def ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return np.abs(np.hypot(x - middle, y - middle) - rim) < 0.5

        def wall(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            return np.maximum(np.abs(x - middle), np.abs(y - middle)) > _SCALE + 1

        floor = fill(fill(floor, ring, (250, 250, 250)), wall, (40, 44, 52))
        shift = (np.arange(SIDE) // 4 * 23) % SIDE
        torn = floor[np.arange(SIDE)[:, None], (np.arange(SIDE) + shift[:, None]) % SIDE]
        glitch = 255 - torn[:, :, [1, 2, 0]]
        glitch[np.arange(SIDE) // 4 % 3 == 0] = (255, 0, 220)
        return np.stack([floor, glitch])


def _length(vector: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, " N"]:
    return np.hypot(vector[:, 0], vector[:, 1])
