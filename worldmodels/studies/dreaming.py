"""How studies train behaviours inside a world model that has stopped learning."""

from typing import NamedTuple

import torch

from worldmodels.behaviours.base import Behaviour, Starts, draw_starts
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.store import EpisodeStore
from worldmodels.types import Batch, State
from worldmodels.world_model import WorldModel


class Remembered(NamedTuple):
    """Replayed sequences and their posterior states (leading axes B T)."""

    batch: Batch
    posterior: State

    def starts(self) -> Starts:
        """Every state."""
        return draw_starts(self.batch, self.posterior, None)


def remember(model: WorldModel, store: EpisodeStore, seed: int, sequences: int) -> Remembered:
    """Filters sequences of 40 frames, drawn from a run's episodes.

    Args:
        model: whose states they become.
        store: the episodes.
        seed: of the sequences and of the latents' noise.
        sequences: how many.
    """
    batch = ReplayBuffer(store).sample(sequences, 40, seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        return Remembered(batch, model.observe(batch.obs, batch.action, batch.is_first).posterior)


def practise(
    behaviour: Behaviour, model: WorldModel, remembered: Remembered, updates: int, seed: int
) -> None:
    """Trains a behaviour in the dreams of a model, which learns nothing itself.

    Args:
        behaviour: what learns, at its own learning rates.
        model: where it imagines.
        remembered: where it imagines from.
        updates: optimiser steps.
        seed: of all noise.
    """
    groups = behaviour.parameter_groups()
    optimiser = torch.optim.Adam([{"params": g.parameters, "lr": g.learning_rate} for g in groups])
    torch.manual_seed(seed)
    for _ in range(updates):
        losses = behaviour.loss(model, remembered.batch, remembered.posterior)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        behaviour.after_update()
