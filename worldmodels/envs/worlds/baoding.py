"""Two balls in a dish: eight fingers at its rim keep them going round."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from worldmodels.envs.world import World, WorldStep
from worldmodels.envs.worlds.discs import draw_discs
from worldmodels.envs.worlds.drawing import SIDE, fill, gradient, to_pixels
from worldmodels.types import ActionSpace

# Pixels per unit of length.
_SCALE = 26.0
_COLOURS = (((96, 16, 24), (226, 60, 60)), ((16, 40, 110), (60, 120, 236)))
_ANGLES = np.pi / 4 * np.arange(8)
_FINGERS = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)])


class BaodingState(NamedTuple):
    """Balls in a dish of radius 1 (x to the right, y upwards), and where their targets stand.

    ``phase`` is the first target's angle (rad); the second stands opposite.
    """

    position: Float[np.ndarray, "N 2 2"]
    velocity: Float[np.ndarray, "N 2 2"]
    phase: Float[np.ndarray, " N"]
    dropped: Bool[np.ndarray, " N"]


class BaodingPix(World):
    """Roll two balls in a dish so that each follows its own moving target.

    Eight fingers stand evenly at the rim. Each pushes both balls away from itself (action 1) or
    pulls them (action -1) with ``strength * exp(-(d / reach)^2)`` at distance d, so all eight act
    on either ball. Balls push each other apart where they touch, roll weakly back to the middle,
    and lose 5 % of their velocity per step. The two targets turn about the middle, opposite each
    other. The reward on arrival is the mean of ``1 / (1 + (d / width)^2)`` over the balls'
    distances from their targets. A ball whose centre passes the rim is dropped: that pays
    ``-drop_penalty`` and ends the episode.

    Attributes:
        turn: radians that the targets turn per step.
        circle: radius on which they turn.
        ball_radius: of both balls.
        width: the distance at which a ball earns half.

    Reference: Nagabandi et al. 2019, "Deep Dynamics Models for Learning Dexterous Manipulation"
    (the Baoding balls, which a hand of 24 joints turns there).
    """

    action_space = ActionSpace(8, False)
    time_limit = 100
    frame_rate = 20.0
    turn = 2 * np.pi / 50
    circle = 0.55
    ball_radius = 0.16
    width = 0.15
    drop_penalty = 10.0
    strength = 0.04
    reach = 0.6
    damping = 0.05
    bowl = 0.005
    stiffness = 0.2

    def reset(self, rng: np.random.Generator, num: int) -> BaodingState:
        """Both balls lie near their targets, at rest."""
        phase = rng.uniform(-np.pi, np.pi, num)
        position = self.targets(phase) + rng.uniform(-0.1, 0.1, (num, 2, 2))
        return BaodingState(position, np.zeros((num, 2, 2)), phase, np.zeros(num, dtype=bool))

    def step(self, state: BaodingState, action: Float[np.ndarray, "N A"]) -> WorldStep:
        """Pushes the balls one step on; after a drop nothing moves."""
        force = (self.finger_force(state.position) * np.clip(action, -1.0, 1.0)[:, None, None]).sum(
            axis=3
        )
        velocity = (1 - self.damping) * state.velocity + force + self.passive_force(state.position)
        live = ~state.dropped
        velocity = velocity * live[:, None, None]
        position = state.position + velocity
        phase = state.phase + self.turn * live
        fallen = (np.hypot(position[:, :, 0], position[:, :, 1]) > 1.0).any(axis=1)
        after = BaodingState(position, velocity, phase, fallen)
        reward = np.where(fallen, -self.drop_penalty, self._tracking(after))
        return WorldStep(after, np.where(live, reward, 0.0), fallen)

    def targets(self, phase: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N 2 2"]:
        """The two targets' places."""
        first = self.circle * np.stack([np.cos(phase), np.sin(phase)], axis=1)
        return np.stack([first, -first], axis=1)

    def render(self, state: BaodingState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """Dish and fingers from above; each target is a ring in its ball's colour."""
        frames = np.broadcast_to(self._scene, (len(state.phase), SIDE, SIDE, 3)).copy()
        targets = to_pixels(self.targets(state.phase), _SCALE)
        balls = to_pixels(state.position, _SCALE)
        for index, (_, light) in enumerate(_COLOURS):
            draw_discs(frames, targets[:, index : index + 1], 3.0, light)
        draw_discs(frames, targets, 1.6, (236, 228, 210))
        radius = _SCALE * self.ball_radius
        for index, (dark, light) in enumerate(_COLOURS):
            draw_discs(frames, balls[:, index : index + 1], radius, dark)
            draw_discs(frames, balls[:, index : index + 1], radius - 1.2, light)
        return frames

    def info(self, state: BaodingState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """Each ball's distance from its target (``first``, ``second``), and ``dropped``."""
        gap = self._gap(state)
        return {"first": gap[:, 0], "second": gap[:, 1], "dropped": state.dropped}

    def finger_force(self, position: Float[np.ndarray, "N 2 2"]) -> Float[np.ndarray, "N 2 2 8"]:
        """The force on each ball, by axis and finger, under action 1."""
        away = position[:, :, :, None] - _FINGERS
        distance = np.maximum(np.hypot(away[:, :, 0], away[:, :, 1]), 1e-6)
        push = self.strength * np.exp(-((distance / self.reach) ** 2)) / distance
        return away * push[:, :, None]

    def passive_force(self, position: Float[np.ndarray, "N 2 2"]) -> Float[np.ndarray, "N 2 2"]:
        """The dish's slope, and the balls' push on each other."""
        apart = position[:, 0] - position[:, 1]
        distance = np.maximum(np.hypot(apart[:, 0], apart[:, 1]), 1e-6)
        overlap = np.maximum(2 * self.ball_radius - distance, 0.0)
        push = (self.stiffness * overlap / distance)[:, None] * apart
        return np.stack([push, -push], axis=1) - self.bowl * position

    def _gap(self, state: BaodingState) -> Float[np.ndarray, "N 2"]:
        gap = state.position - self.targets(state.phase)
        return np.hypot(gap[:, :, 0], gap[:, :, 1])

    def _tracking(self, state: BaodingState) -> Float[np.ndarray, " N"]:
        return (1 / (1 + (self._gap(state) / self.width) ** 2)).mean(axis=1)

    @cached_property
    def _scene(self) -> UInt8[np.ndarray, "h w C"]:
        image = gradient((120, 128, 140), (98, 106, 118))
        middle = SIDE / 2
        for x, y in (middle + (_SCALE + 2.5) * _FINGERS * [[1], [-1]]).T:
            image = fill(
                image, lambda u, v, x=x, y=y: np.hypot(u - x, v - y) < 3.4, (232, 184, 150)
            )
        for radius, colour in (
            (_SCALE + 1.0, (92, 72, 52)),
            (_SCALE, (236, 228, 210)),
            (_SCALE * 0.75, (228, 219, 199)),
        ):
            image = fill(image, lambda x, y, r=radius: np.hypot(x - middle, y - middle) < r, colour)
        return image
