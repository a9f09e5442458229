"""A planar arm of N links that reaches for a target."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from worldmodels.checks import check_between
from worldmodels.envs.world import World, WorldStep
from worldmodels.envs.worlds.discs import draw_discs
from worldmodels.envs.worlds.drawing import SIDE, fill, gradient, to_pixels
from worldmodels.types import ActionSpace

# The picture, in pixels: the arm's length, its half width, how many discs draw it.
_REACH = 29.0
_RADIUS = 1.2
_DISCS = 21


class ArmState(NamedTuple):
    """Joint angles (rad, each against the link before), the target, and the obstacle's centre.

    Places are (x, y) in lengths of the stretched arm, its base at (0, 0), y upwards.
    """

    angle: Float[np.ndarray, "N A"]
    target: Float[np.ndarray, "N 2"]
    obstacle: Float[np.ndarray, "N 2"]


class ArmN(World):
    """Reach for a target with the tip of an arm of ``links`` equal links; one action per joint.

    ``angle += speed * action``. The reward on arrival is ``1 / (1 + (distance / width)^2)`` of the
    tip's distance from the target: smooth everywhere, 1 at the target. Without an obstacle nothing
    else acts, so the return is a smooth function of the actions at every number of links.

    The arm starts almost straight, the target lies 1.2 to 2.2 rad further round. With
    ``obstacle_radius`` above 0 a disc stands half-way between: a step that would bring a link
    within its radius is refused, the arm stays as it was. So a straight swing is blocked, and the
    arm must fold, pass, and stretch again.

    Args:
        links: N, 2 to 16.
        obstacle_radius: of the disc, in lengths of the arm; 0 for none.

    Attributes:
        speed: radians per step under action 1.
        width: the distance at which the reward is 1/2.
        obstacle_distance: from the base to the obstacle's centre.

    Raises:
        ValueError: if ``links`` is not 2 to 16, or ``obstacle_radius`` not 0 to 0.2.
    """

    time_limit = 50
    frame_rate = 10.0
    speed = 0.15
    width = 0.2
    obstacle_distance = 0.7

    def __init__(self, links: int = 4, obstacle_radius: float = 0.0):
        check_between("ArmN", 2, 16, links=links)
        check_between("ArmN", 0, 0.2, obstacle_radius=obstacle_radius)
        self.links = links
        self.obstacle_radius = obstacle_radius
        self.action_space = ActionSpace(links, False)

    def reset(self, rng: np.random.Generator, num: int) -> ArmState:
        """Draws an arm, and mirrored beyond the obstacle's direction a target."""
        middle = rng.uniform(-np.pi, np.pi, num)
        swing = rng.uniform(0.6, 1.1, num) * rng.choice([-1, 1], num)
        # Bends that add up to 0.4 of the swing at most keep the start clear of the obstacle.
        bend = swing[:, None] * rng.uniform(-0.4, 0.4, (num, self.links)) / self.links
        angle = np.concatenate([(middle - swing)[:, None] + bend[:, :1], bend[:, 1:]], axis=1)
        reach = rng.uniform(0.6, 0.9, num)
        return ArmState(
            angle, _polar(reach, middle + swing), _polar(self.obstacle_distance, middle)
        )

    def step(self, state: ArmState, action: Float[np.ndarray, "N A"]) -> WorldStep:
        """Turns the joints, unless a link would enter the obstacle."""
        turned = state.angle + self.speed * np.clip(action, -1.0, 1.0)
        if self.obstacle_radius > 0:
            moved = state._replace(angle=turned)
            turned = np.where(self.touches(moved)[:, None], state.angle, turned)
        arrived = state._replace(angle=turned)
        return WorldStep(arrived, self.reward(arrived), np.zeros(len(turned), dtype=bool))

    def reward(self, state: ArmState) -> Float[np.ndarray, " N"]:
        """1 at the target, 1/2 at ``width`` from it."""
        return 1 / (1 + (self._distance(state) / self.width) ** 2)

    def joints(self, state: ArmState) -> Float[np.ndarray, "N P 2"]:
        """The base, every joint in turn, and the tip."""
        heading = np.cumsum(state.angle, axis=1)
        places = np.cumsum(_polar(1 / self.links, heading), axis=1)
        return np.pad(places, ((0, 0), (1, 0), (0, 0)))

    def touches(self, state: ArmState) -> Bool[np.ndarray, " N"]:
        """Whether any link lies within the obstacle's radius of its centre."""
        joints = self.joints(state)
        link = joints[:, 1:] - joints[:, :-1]
        offset = state.obstacle[:, None] - joints[:, :-1]
        along = np.clip((offset * link).sum(axis=2) * self.links**2, 0.0, 1.0)
        nearest = offset - along[:, :, None] * link
        return (np.hypot(nearest[:, :, 0], nearest[:, :, 1]) < self.obstacle_radius).any(axis=1)

    def render(self, state: ArmState) -> UInt8[np.ndarray, "N 64 64 3"]:
        """Target, obstacle and arm from above."""
        frames = np.broadcast_to(self._scene, (len(state.angle), SIDE, SIDE, 3)).copy()
        if self.obstacle_radius > 0:
            disc = to_pixels(state.obstacle[:, None], _REACH)
            draw_discs(frames, disc, _REACH * self.obstacle_radius - _RADIUS, (92, 84, 96))
        target = to_pixels(state.target[:, None], _REACH)
        draw_discs(frames, target, 3.2, (30, 140, 70))
        draw_discs(frames, target, 1.5, (170, 240, 180))
        joints = to_pixels(self.joints(state), _REACH)
        draw_discs(frames, self._along(joints), _RADIUS, (52, 84, 140))
        draw_discs(frames, joints[:, 1:-1], 0.5, (196, 216, 244))
        draw_discs(frames, joints[:, -1:], 1.9, (226, 60, 40))
        return frames

    def info(self, state: ArmState) -> dict[str, Shaped[np.ndarray, " N"]]:
        """``distance`` of the tip from the target, and the places of both."""
        tip = self.joints(state)[:, -1]
        return {
            "distance": self._distance(state),
            "tip_x": tip[:, 0],
            "tip_y": tip[:, 1],
            "target_x": state.target[:, 0],
            "target_y": state.target[:, 1],
        }

    def _distance(self, state: ArmState) -> Float[np.ndarray, " N"]:
        gap = self.joints(state)[:, -1] - state.target
        return np.hypot(gap[:, 0], gap[:, 1])

    def _along(self, joints: Float[np.ndarray, "N P 2"]) -> Float[np.ndarray, "N D 2"]:
        """Evenly spaced places from the base to the tip."""
        place = np.linspace(0, self.links, _DISCS)
        link = np.minimum(place.astype(np.int64), self.links - 1)
        share = (place - link)[:, None]
        return (1 - share) * joints[:, link] + share * joints[:, link + 1]

    @cached_property
    def _scene(self) -> UInt8[np.ndarray, "h w C"]:
        image = gradient((240, 242, 246), (228, 232, 238))
        middle = SIDE / 2

        def within(x: np.ndarray, y: np.ndarray, radius: float) -> np.ndarray:
            return np.hypot(x - middle, y - middle) < radius

        image = fill(
            image,
            lambda x, y: within(x, y, _REACH + 0.6) & ~within(x, y, _REACH - 0.4),
            (206, 212, 222),
        )
        return fill(image, lambda x, y: within(x, y, 3.5), (120, 128, 142))


def _polar(
    radius: float | Float[np.ndarray, "*batch"], angle: Float[np.ndarray, "*batch"]
) -> Float[np.ndarray, "*batch 2"]:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
