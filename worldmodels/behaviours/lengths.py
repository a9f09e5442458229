"""The length of imagined rollouts: fixed, scheduled, or as far as the model is accurate."""

from abc import ABC, abstractmethod

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.checks import check_above, check_at_least
from worldmodels.dynamics.base import flatten_state, select_state
from worldmodels.types import Batch
from worldmodels.world_model import WorldModel


class RolloutLength(nn.Module, ABC):
    """The number of imagined steps at an update.

    Attributes:
        measured: for how many steps ahead ``update`` needs the model's error (0: it needs none).
    """

    measured: int = 0

    @abstractmethod
    def forward(self, update: int) -> int:
        """The number of steps at update number ``update``."""

    def update(self, errors: Float[Tensor, " H"]) -> None:
        """Adapts to the model's error on held-out episodes, 1 to ``measured`` steps ahead."""


class FixedLength(RolloutLength):
    """The same number of steps at every update.

    Args:
        steps: the number of imagined steps.

    Raises:
        ValueError: when ``steps`` is below 1.
    """

    def __init__(self, steps: int = 3):
        super().__init__()
        check_at_least("FixedLength", 1, steps=steps)
        self.steps = steps

    def forward(self, update: int) -> int:
        return self.steps


class LinearLength(RolloutLength):
    """Changes linearly between two updates.

    Args:
        first: steps until ``begin``.
        last: steps from ``end`` on.
        begin: update at which the change begins.
        end: update at which it is complete.

    Raises:
        ValueError: when a length is below 1, or ``end`` does not come after ``begin``.

    Reference: Janner et al., 2019 (MBPO), appendix C.
    """

    def __init__(self, first: int = 1, last: int = 5, begin: int = 0, end: int = 5000):
        super().__init__()
        check_at_least("LinearLength", 1, first=first, last=last)
        if not 0 <= begin < end:
            raise ValueError(
                f"LinearLength: begin={begin}, end={end}: choose a begin of 0 or more and an end "
                "after it"
            )
        self.first, self.last, self.begin, self.end = first, last, begin, end

    def forward(self, update: int) -> int:
        """The interpolated length, rounded to whole steps."""
        done = (update - self.begin) / (self.end - self.begin)
        return round(self.first + min(max(done, 0.0), 1.0) * (self.last - self.first))


class ValidatedLength(RolloutLength):
    """As long as the model's error on held-out episodes stays within a tolerance; 1 at least.

    Needs ``replay.held_out`` above 0. The error is measured at the start of every round.

    Args:
        longest: steps at most.
        tolerance: the largest accepted ``open_loop_error``: 0 is perfect, 1 is as bad as
            predicting the mean.

    Raises:
        ValueError: when an option is out of its range.
    """

    steps: Tensor

    def __init__(self, longest: int = 10, tolerance: float = 0.3):
        super().__init__()
        check_at_least("ValidatedLength", 1, longest=longest)
        check_above("ValidatedLength", 0, tolerance=tolerance)
        self.measured, self.tolerance = longest, tolerance
        # A buffer, so that a checkpoint holds it.
        self.register_buffer("steps", torch.ones((), dtype=torch.int64))

    def forward(self, update: int) -> int:
        """The length that the last call of ``update`` chose."""
        return int(self.steps)

    def update(self, errors: Float[Tensor, " H"]) -> None:
        """Counts the steps before the first one whose error exceeds the tolerance."""
        within = (errors <= self.tolerance).long().cumprod(0).sum()
        self.steps.copy_(within.clamp(min=1))


@torch.no_grad()
def open_loop_error(world_model: WorldModel, batch: Batch, horizon: int) -> Float[Tensor, " H"]:
    """The features' fraction of variance unexplained, 1 to H steps ahead.

    From every row that is followed by H recorded actions without a reset, the model predicts their
    outcome without seeing frames (open loop). The predicted features are compared with those of
    the recorded frames.

    Args:
        world_model: the model whose predictions are measured.
        batch: sequences that the model has not learned from.
        horizon: H.

    Raises:
        ValueError: when no row is followed by H actions.
    """
    observed = world_model.observe(batch.obs, batch.action, batch.is_first)
    posterior, feature = observed.posterior, observed.feature
    steps = batch.is_first.shape[1] - horizon  # S, the rows with H rows after them
    if steps < 1 or not (whole := _without_reset(batch, horizon)).any():
        raise ValueError(
            f"no sequence of {batch.is_first.shape[1]} rows has {horizon} steps without a reset: "
            "choose a larger batches.batch_length or a shorter rollout"
        )
    starts = select_state(posterior, (slice(None), slice(steps)))  # B S ...
    start = select_state(flatten_state(starts), whole)  # N ...
    actions = batch.action[:, 1:].unfold(1, horizon, 1)  # B S A H
    actions = rearrange(actions, "B S A H -> (B S) H A")[whole]  # N H A
    target = feature[:, 1:].unfold(1, horizon, 1)  # B S F H
    target = rearrange(target, "B S F H -> (B S) H F")[whole]  # N H F
    error = world_model.feature(world_model.dynamics.predict(start, actions)) - target  # N H F
    variance = (target - target.mean((0, 1))).square().sum(-1).mean()
    return error.square().sum(-1).mean(0) / variance.clamp(min=1e-8)  # H


def _without_reset(batch: Batch, horizon: int) -> Tensor:
    """Which rows, of those with ``horizon`` rows after them, have no reset among these."""
    resets = batch.is_first[:, 1:].unfold(1, horizon, 1).any(-1)  # B S
    return (~resets).flatten()  # B*S
