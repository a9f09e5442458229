"""Transitions that a algorithm learns from, wherever they come from: replayed or imagined."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.returns import step_weights
from worldmodels.types import Batch, Trajectory


class Transitions(NamedTuple):
    """N sequences of H transitions between latent features.

    ``action[:, k]`` leads from ``feature[:, k]`` to ``after[:, k]``, where ``reward[:, k]`` is
    received. ``discount[:, k]`` is of all that comes later: 0 where the task ends there, the whole
    gamma at a time limit. ``weight[:, k]`` says how much the transition counts; 0 for one that did
    not happen, such as from the end of an episode to the beginning of the next.
    """

    feature: Float[Tensor, "N H F"]
    action: Float[Tensor, "N H A"]
    reward: Float[Tensor, "N H"]
    discount: Float[Tensor, "N H"]
    after: Float[Tensor, "N H F"]
    weight: Float[Tensor, "N H"]


def replayed_transitions(
    batch: Batch, feature: Float[Tensor, "B T F"], discount: float
) -> Transitions:
    """The T - 1 transitions of each replayed sequence, from the arrival convention to departures.

    Args:
        batch: the sequences.
        feature: of their rows.
        discount: gamma per agent step.
    """
    return Transitions(
        feature[:, :-1],
        batch.action[:, 1:],
        batch.reward[:, 1:],
        discount * (~batch.is_terminal[:, 1:]).float(),
        feature[:, 1:],
        # A terminal row, too, is followed by a first one: nothing ever leaves it.
        (~batch.is_first[:, 1:]).float(),
    )


def imagined_transitions(
    trajectory: Trajectory, continues: Float[Tensor, " N"], discount: float
) -> Transitions:
    """The transitions of imagined rollouts, each weighted by the chance that it comes to it.

    Args:
        trajectory: the rollouts.
        continues: 0 where a rollout starts in a terminal state: nothing follows from there.
        discount: gamma of the model that imagined, which the weights must not contain.
    """
    weight = step_weights(trajectory.discount / discount, continues)
    before, after = trajectory.feature[:, :-1], trajectory.feature[:, 1:]
    return Transitions(
        before, trajectory.action, trajectory.reward, trajectory.discount, after, weight
    )


def weighted_mean(values: Float[Tensor, "N H"], weight: Float[Tensor, "N H"]) -> Float[Tensor, ""]:
    """The mean over what happened; 0 where nothing did. Weights of under 1 in all count as 1."""
    return (weight * values).sum() / weight.sum().clamp(min=1)
