"""Scores of plans by the worlds' own equations: planners compared without a model's errors."""

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from worldmodels.envs.world import World, WorldState
from worldmodels.envs.worlds.arm import ArmN, ArmState
from worldmodels.types import ScoreFn


def world_score(world: World, repeat: int = 1) -> ScoreFn:
    """The undiscounted return of plans for B copies of a world with real-valued actions.

    The score takes the world's own states, one for each copy.

    Args:
        world: the simulator.
        repeat: world steps per action.
    """

    def score(state: WorldState, actions: Float[Tensor, "B N H A"]) -> Float[Tensor, "B N"]:
        count = actions.shape[1]
        now = type(state)(*(np.repeat(field, count, axis=0) for field in state))
        total = np.zeros(len(actions) * count)
        continues = np.ones_like(total)
        for action in rearrange(actions, "B N H A -> H (B N) A").double().numpy():
            for _ in range(repeat):
                step = world.step(now, action)
                now = step.state
                total += continues * step.reward
                continues *= ~step.terminated
        return rearrange(torch.from_numpy(total).to(actions), "(B N) -> B N", N=count)

    return score


def arm_score(world: ArmN) -> ScoreFn:
    """As ``world_score`` for an arm, in torch: the return has a gradient to the actions.

    Where the obstacle refuses a step, the refused action has no influence and its gradient is 0.

    Args:
        world: the arm.
    """

    def score(state: ArmState, actions: Float[Tensor, "B N H A"]) -> Float[Tensor, "B N"]:
        fields = (torch.from_numpy(field)[:, None].to(actions) for field in state)
        start, target, obstacle = fields
        angle = start.expand(-1, actions.shape[1], -1)
        total = torch.zeros_like(actions[..., 0, 0])
        for action in actions.unbind(2):
            turned = angle + world.speed * action.clamp(-1, 1)
            if world.obstacle_radius > 0:
                refused = _touches(world, joints(turned), obstacle)
                turned = torch.where(refused[..., None], angle, turned)
            angle = turned
            square = (joints(angle)[..., -1, :] - target).square().sum(-1)
            total = total + 1 / (1 + square / world.width**2)
        return total

    return score


def joints(angle: Float[Tensor, "B N A"]) -> Float[Tensor, "B N P 2"]:
    """The base, every joint in turn, and the tip (see ``ArmN.joints``)."""
    heading = angle.cumsum(-1)
    link = torch.stack([heading.cos(), heading.sin()], -1) / angle.shape[-1]
    return torch.cat([torch.zeros_like(link[..., :1, :]), link.cumsum(-2)], -2)


def _touches(world: ArmN, places: Tensor, obstacle: Tensor) -> Tensor:
    """See ``ArmN.touches``."""
    link = places[..., 1:, :] - places[..., :-1, :]
    offset = obstacle[..., None, :] - places[..., :-1, :]
    along = ((offset * link).sum(-1) * world.links**2).clamp(0, 1)
    nearest = offset - along[..., None] * link
    return (nearest.square().sum(-1) < world.obstacle_radius**2).any(-1)
