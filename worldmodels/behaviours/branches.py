"""Which replayed states imagined rollouts branch from."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool
from torch import Tensor

from worldmodels.types import Batch


class Branches(ABC):
    """A choice of start states among the states of a batch."""

    @abstractmethod
    def eligible(self, batch: Batch) -> Bool[Tensor, "B T"]:
        """The states that a rollout may start from."""


class EveryState(Branches):
    """Every replayed state: short rollouts then reach all parts of an episode."""

    def eligible(self, batch: Batch) -> Bool[Tensor, "B T"]:
        return torch.ones_like(batch.is_first)


class EpisodeStarts(Branches):
    """First states of episodes alone, as when a simulator replaces the environment.

    Short rollouts from there never reach later parts of an episode. A batch without the beginning
    of an episode yields no rollout.
    """

    def eligible(self, batch: Batch) -> Bool[Tensor, "B T"]:
        return batch.is_first
