"""Imagined rollouts as objectives and terminal values see them, and the checks of what they say."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.types import ScoreFn, State, Value


class Followed(NamedTuple):
    """``actions`` (N H A) and the ``states`` that they led to (leading axes N H)."""

    states: State
    actions: Float[Tensor, "N H A"]


class Rollout(NamedTuple):
    """What an objective may judge: an imagined rollout, more of it on demand.

    The first four fields are those of ``Trajectory``. ``frames()`` decodes the H frames after
    each action (N H C h w, bytes: no gradient); ``disagreement()`` is the ensemble's about each
    step (N H).
    """

    feature: Float[Tensor, "N H+1 F"]
    action: Float[Tensor, "N H A"]
    reward: Float[Tensor, "N H"]
    discount: Float[Tensor, "N H"]
    frames: Callable[[], Tensor]
    disagreement: Callable[[], Tensor]


Judge = Callable[[Rollout], Tensor]
"""Rewards of every imagined step: a rollout to ``[N, H]``."""


class PlanScore(NamedTuple):
    """A score of plans, with the number of rollouts that the model imagines of each plan."""

    score: ScoreFn
    rollouts: int

    def __call__(self, actions: Float[Tensor, "B N H A"]) -> Float[Tensor, "B N"]:
        """The score."""
        return self.score(actions)


def judged(objective: Judge, rollout: Rollout) -> Float[Tensor, "N H"]:
    """The objective's rewards.

    Raises:
        ValueError: when their shape is wrong or one is not finite.
    """
    reward = objective(rollout)
    if reward.shape != rollout.reward.shape:
        raise ValueError(
            f"objective {objective!r} returned shape {tuple(reward.shape)}, "
            f"expected one reward per step [N, H] = {tuple(rollout.reward.shape)}"
        )
    wrong = int((~torch.isfinite(reward)).sum())
    if wrong:
        raise ValueError(
            f"objective {objective!r}: {wrong} of {reward.numel()} rewards are not finite: "
            "guard its logarithms and divisions"
        )
    return reward


def valued(value: Value, feature: Float[Tensor, "N F"]) -> Float[Tensor, " N"]:
    """The value of each feature.

    Raises:
        ValueError: when it does not read these features, or returns another shape.
    """
    fix = f"fit it to this model's features of size {feature.shape[-1]}"
    try:
        worth = value(feature)
    except RuntimeError as error:
        raise ValueError(f"the value cannot read the feature ({error}): {fix}") from error
    if worth.shape != feature.shape[:-1]:
        raise ValueError(
            f"the value returned shape {tuple(worth.shape)}, "
            f"expected {tuple(feature.shape[:-1])}: {fix}"
        )
    return worth
