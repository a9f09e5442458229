"""How far to imagine: fixed, on a schedule, or as far as the model is still right."""

from abc import ABC, abstractmethod

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.dynamics.base import flatten_state, select_state
from worldmodels.types import Batch
from worldmodels.world_model import WorldModel


class RolloutLength(nn.Module, ABC):
    """The number of imagined steps at an update.

    Attributes:
        measured: how many steps ``update`` wants to know the error of (0: none).
    """

    measured: int = 0

    @abstractmethod
    def forward(self, update: int) -> int:
        """Steps at update number ``update``."""

    def update(self, errors: Float[Tensor, " H"]) -> None:
        """Hears of the model's error on held-out episodes, 1 to ``measured`` steps ahead."""


class FixedLength(RolloutLength):
    """Always the same.

    Args:
        steps: that many.

    Raises:
        ValueError: when there is none.
    """

    def __init__(self, steps: int = 3):
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps={steps}: imagine 1 step or more")
        self.steps = steps

    def forward(self, update: int) -> int:
        """``steps``."""
        return self.steps


class LinearLength(RolloutLength):
    """Grows, or shrinks, in a straight line between two updates.

    Args:
        first: steps until ``begin``.
        last: steps from ``end`` on.
        begin: update at which the change begins.
        end: update at which it is complete.

    Raises:
        ValueError: when there is no step, or no time between ``begin`` and ``end``.

    Reference: Janner et al., 2019 (MBPO), appendix C.
    """

    def __init__(self, first: int = 1, last: int = 5, begin: int = 0, end: int = 5000):
        super().__init__()
        if min(first, last) < 1:
            raise ValueError(f"first={first}, last={last}: imagine 1 step or more")
        if not 0 <= begin < end:
            raise ValueError(f"begin={begin}, end={end}: begin at 0 or later, end after that")
        self.first, self.last, self.begin, self.end = first, last, begin, end

    def forward(self, update: int) -> int:
        """Rounded to whole steps."""
        done = (update - self.begin) / (self.end - self.begin)
        return round(self.first + min(max(done, 0.0), 1.0) * (self.last - self.first))


class ValidatedLength(RolloutLength):
    """As long as the model's error on held-out episodes stays within a tolerance; 1 at least.

    Needs ``replay.held_out`` above 0. The error is measured at the start of every round.

    Args:
        longest: steps at most.
        tolerance: the largest ``open_loop_error``: 0 is perfect, 1 no better than the mean.

    Raises:
        ValueError: when an option is out of its range.
    """

    steps: Tensor

    def __init__(self, longest: int = 10, tolerance: float = 0.3):
        super().__init__()
        if longest < 1:
            raise ValueError(f"longest={longest}: imagine 1 step or more")
        if tolerance <= 0:
            raise ValueError(f"tolerance={tolerance}: choose a share above 0")
        self.measured, self.tolerance = longest, tolerance
        # A buffer, so that a checkpoint holds it.
        self.register_buffer("steps", torch.ones((), dtype=torch.int64))

    def forward(self, update: int) -> int:
        """As chosen last."""
        return int(self.steps)

    def update(self, errors: Float[Tensor, " H"]) -> None:
        """Counts the steps before the first one that is too wrong."""
        within = (errors <= self.tolerance).long().cumprod(0).sum()
        self.steps.copy_(within.clamp(min=1))


@torch.no_grad()
def open_loop_error(world_model: WorldModel, batch: Batch, horizon: int) -> Float[Tensor, " H"]:
    """Open-loop error 1..H steps ahead: the fraction of the features' variance unexplained.

    From every row that is followed by H recorded actions without a reset, the model predicts their
    outcome; its features are compared with those of the frames that were recorded.

    Args:
        world_model: whose dreams are measured.
        batch: sequences that the model has not learned from.
        horizon: H.

    Raises:
        ValueError: when no row is followed by H actions.
    """
    observed = world_model.observe(batch.obs, batch.action, batch.is_first)
    posterior, feature = observed.posterior, observed.feature
    steps = batch.is_first.shape[1] - horizon
    if steps < 1 or not (whole := _without_reset(batch, horizon)).any():
        raise ValueError(
            f"no sequence of {batch.is_first.shape[1]} rows has {horizon} steps without a reset: "
            "choose a larger batches.batch_length or a shorter rollout"
        )
    start = select_state(flatten_state(select_state(posterior, (slice(None), slice(steps)))), whole)
    actions = rearrange(batch.action[:, 1:].unfold(1, horizon, 1), "B T A H -> (B T) H A")[whole]
    target = rearrange(feature[:, 1:].unfold(1, horizon, 1), "B T F H -> (B T) H F")[whole]
    error = world_model.feature(world_model.dynamics.predict(start, actions)) - target  # N H F
    variance = (target - target.mean((0, 1))).square().sum(-1).mean()
    return error.square().sum(-1).mean(0) / variance.clamp(min=1e-8)  # H


def _without_reset(batch: Batch, horizon: int) -> Tensor:
    """Which rows, of those with ``horizon`` rows after them, have no reset among these."""
    resets = batch.is_first[:, 1:].unfold(1, horizon, 1).any(-1)
    return (~resets).flatten()
