"""Transitions that an algorithm learns from, replayed or imagined."""

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.returns import step_weights
from worldmodels.types import Batch, Trajectory


class Transitions(NamedTuple):
    """N sequences of H transitions between latent features.

    ``action[:, k]`` leads from ``feature[:, k]`` to ``after[:, k]``, where ``reward[:, k]`` is
    received. ``discount[:, k]`` multiplies the value of ``after[:, k]``: it is 0 where the task
    ends there, and gamma at a time limit. ``weight[:, k]`` is the transition's weight in every
    mean; it is 0 for a transition that did not happen, such as from the end of an episode to the
    beginning of the next.
    """

    feature: Float[Tensor, "N H F"]
    action: Float[Tensor, "N H A"]
    reward: Float[Tensor, "N H"]
    discount: Float[Tensor, "N H"]
    after: Float[Tensor, "N H F"]
    weight: Float[Tensor, "N H"]


def replayed_transitions(
    batch: Batch, feature: Float[Tensor, "B T F"], discount: float, burn_in: int = 0
) -> Transitions:
    """The T - 1 transitions of each replayed sequence.

    Batches follow the arrival convention, in which the action and the reward of a transition stand
    in the row after its start: here they shift by one.

    Args:
        batch: the replayed sequences.
        feature: the features of their rows.
        discount: gamma per agent step.
        burn_in: transitions from rows that do not count have weight 0, see ``Batch.counted``.
    """
    happened = ~batch.is_first[:, 1:] & batch.counted(burn_in)[:, :-1]  # B T-1
    return Transitions(
        feature[:, :-1],  # B T-1 F
        batch.action[:, 1:],  # B T-1 A
        batch.reward[:, 1:],  # B T-1
        discount * (~batch.is_terminal[:, 1:]).float(),  # B T-1
        feature[:, 1:],  # B T-1 F
        # A terminal row is followed by a first one, so no transition leaves it either.
        happened.float(),  # B T-1
    )


def imagined_transitions(
    trajectory: Trajectory, continues: Float[Tensor, " N"], discount: float
) -> Transitions:
    """The transitions of imagined rollouts, each weighted by the probability that it is reached.

    Args:
        trajectory: the rollouts.
        continues: 0 where a rollout starts in a terminal state, 1 elsewhere.
        discount: gamma of the model that imagined; the weights do not contain it.
    """
    weight = step_weights(trajectory.discount / discount, continues)  # N H
    before = trajectory.feature[:, :-1]  # N H F
    after = trajectory.feature[:, 1:]  # N H F
    return Transitions(
        before, trajectory.action, trajectory.reward, trajectory.discount, after, weight
    )


def weighted_mean(values: Float[Tensor, "N H"], weight: Float[Tensor, "N H"]) -> Float[Tensor, ""]:
    """The weighted mean, with a denominator of at least 1: weights that are all 0 give 0."""
    return (weight * values).sum() / weight.sum().clamp(min=1)  # scalar
