"""How studies train behaviours inside a world model that has stopped learning."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.lr_scheduler import LinearLR

from worldmodels.behaviours import Distillation
from worldmodels.behaviours.base import Behaviour, StartStates, sample_starts
from worldmodels.behaviours.critic import Critic
from worldmodels.planning import Planner
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.store import EpisodeStore
from worldmodels.studies.fitted_value import fit_value
from worldmodels.types import Batch, State, Value
from worldmodels.world_model import WorldModel


class Remembered(NamedTuple):
    """Replayed sequences and their posterior states (leading axes B T)."""

    batch: Batch
    posterior: State

    def starts(self) -> StartStates:
        """Every state."""
        return sample_starts(self.batch, self.posterior, None)


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

    Learning rates fall to zero over the second half.

    Args:
        behaviour: what learns, at its own learning rates.
        model: where it imagines.
        remembered: where it imagines from.
        updates: optimiser steps.
        seed: of all noise.
    """
    groups = behaviour.parameter_groups()
    optimiser = torch.optim.Adam([{"params": g.parameters, "lr": g.learning_rate} for g in groups])
    falling = LinearLR(optimiser, 1.0, 1 / updates, updates - updates // 2)
    torch.manual_seed(seed)
    for update in range(updates):
        losses = behaviour.loss(model, remembered.batch, remembered.posterior)
        optimiser.zero_grad()
        losses.total.backward()
        optimiser.step()
        behaviour.after_update()
        if update >= updates // 2:
            falling.step()


def fitted_critic(model: WorldModel, remembered: Remembered, updates: int, seed: int) -> Critic:
    """The value of the best that a model can do, by TD(lambda) without a policy."""
    torch.manual_seed(seed)
    critic = Critic(model.dynamics.feature_dim, hidden=128, layers=2, tau=0.05)
    fit_value(model, critic, remembered.starts(), updates, rows=64, learning_rate=3e-3)
    return critic


class Pupil(Distillation):
    """A student whose planner has a given value at its horizon.

    Args:
        model: where planner and student live.
        planner: who teaches.
        guide: the value at its horizon.
        every: updates between two lessons.
        lessons: states that the planner decides in at each of them.
        visited: share of them that the student visits.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        guide: Value,
        every: int,
        lessons: int,
        visited: float = 0.5,
    ):
        super().__init__(
            model.dynamics.feature_dim,
            model.action_space,
            lambda space: planner,
            teacher_every=every,
            lessons=lessons,
            visited=visited,
            hidden=128,
            actor_learning_rate=1e-3,
        )
        self.guide = guide

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The given one."""
        return self.guide(feature)

    def value_loss(self, world_model: WorldModel, starts: StartStates) -> Float[Tensor, ""]:
        """None: what is given is not learned."""
        return starts.alive.new_zeros(())
