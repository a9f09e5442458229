"""Which replayed states imagined rollouts branch from."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool
from torch import Tensor

from worldmodels.types import Batch


class Branches(ABC):
    """A choice among the states of a batch."""

    @abstractmethod
    def eligible(self, batch: Batch) -> Bool[Tensor, "B T"]:
        """The states that a rollout may start from."""


class EveryState(Branches):
    """All of them: whatever was visited is imagined on from, so that short rollouts reach far."""

    def eligible(self, batch: Batch) -> Bool[Tensor, "B T"]:
        """True everywhere."""
        return torch.ones_like(batch.is_first)


class EpisodeStarts(Branches):
    """First states of episodes alone: how a simulator would be used, and what short rollouts miss.

    A batch with no beginning of an episode in it imagines nothing.
    """

    def eligible(self, batch: Batch) -> Bool[Tensor, "B T"]:
        """Where ``is_first``."""
        return batch.is_first
