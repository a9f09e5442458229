"""Augmented data: a model-free algorithm on real transitions and short imagined ones."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from worldmodels.behaviours.algorithm import AlgorithmBehaviour, AlgorithmFactory
from worldmodels.behaviours.base import StartStates, sample_starts
from worldmodels.behaviours.branches import Branches, EveryState
from worldmodels.behaviours.lengths import FixedLength, RolloutLength, open_loop_error
from worldmodels.behaviours.sac import SAC
from worldmodels.behaviours.transitions import (
    Transitions,
    imagined_transitions,
    replayed_transitions,
)
from worldmodels.dynamics.base import select_state
from worldmodels.types import ActionSpace, Batch, Losses, State
from worldmodels.world_model import LatentModel, WorldModel


class _Share(NamedTuple):
    """Transitions of one kind and its share in the loss."""

    share: float
    transitions: Transitions


class MBPO(AlgorithmBehaviour):
    """Branches short rollouts of the policy from replayed states, and learns from both.

    The replayed transitions are D_env, the imagined ones D_model. Both are made anew at every
    update: latents move while the model learns, so that stored ones would be of another model.

    Args:
        feature_dim: F.
        action_space: what an action is.
        algorithm: ``SAC``, ``DQN`` or ``PPO``, with its options.
        length: imagined steps: ``FixedLength``, ``LinearLength`` or ``ValidatedLength``.
        real_ratio: weight of the mean loss over replayed transitions, against that over imagined
            ones, however many there are of each: 0 learns from the model alone, 1 from replay
            alone. 0 for algorithms that are ``on_policy``, such as PPO.
        starts: rollouts at every update, in turn from all that ``branches`` offers; one from each
            when None.
        branches: where rollouts start: ``EveryState`` or ``EpisodeStarts``.

    Raises:
        ValueError: when an option is out of its range.

    Reference: Sutton, 1990 (Dyna); Janner et al., 2019 (MBPO), algorithm 2.
    """

    updates: Tensor

    def __init__(
        self,
        feature_dim: int,
        action_space: ActionSpace,
        algorithm: AlgorithmFactory = SAC,
        length: Callable[[], RolloutLength] = FixedLength,
        real_ratio: float = 0.05,
        starts: int | None = None,
        branches: Callable[[], Branches] = EveryState,
    ):
        super().__init__(feature_dim, action_space, algorithm)
        if not 0 <= real_ratio <= 1:
            raise ValueError(f"real_ratio={real_ratio}: choose a share from 0 to 1")
        if self.algorithm.on_policy and real_ratio > 0:
            raise ValueError(
                f"real_ratio={real_ratio}: {type(self.algorithm).__name__} learns from its present "
                "policy's transitions alone, replay holds older ones: give --behaviour.real_ratio 0"
            )
        if starts is not None and starts < 1:
            raise ValueError(f"starts={starts}: choose 1 or more")
        self.real_ratio, self.starts = real_ratio, starts
        self.length, self.branches = length(), branches()
        self.validates = self.length.measured > 0
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def update_target(self) -> None:
        """The algorithm's targets follow; updates are counted."""
        super().update_target()
        self.updates += 1

    def loss(self, world_model: LatentModel, batch: Batch, posterior: State) -> Losses:
        """The algorithm's loss on both kinds of transitions, each weighted by its share.

        Raises:
            TypeError: when there is no model of the world: nothing would train the encoder.
        """
        if not isinstance(world_model, WorldModel):
            raise TypeError("MBPO needs a world model: give --model WorldModel or use ModelFree")
        steps = self.length(int(self.updates))
        total, metrics = torch.zeros((), device=batch.reward.device), {}
        for share, transitions in self._shares(world_model, batch, posterior, steps):
            losses = self.algorithm.loss(transitions)
            total = total + share * losses.total
            for name, value in losses.metrics.items():
                metrics[name] = metrics.get(name, 0) + share * value
        metrics["rollout_length"] = torch.tensor(float(steps))
        return Losses(total, metrics)

    def validate(self, world_model: WorldModel, batch: Batch) -> dict[str, Tensor]:
        """Lets the rollout length follow the model's error."""
        errors = open_loop_error(world_model, batch, self.length.measured)
        self.length.update(errors)
        return {f"open_loop_error/{step}": error for step, error in enumerate(errors, 1)}

    @torch.no_grad()
    def _shares(
        self, world_model: WorldModel, batch: Batch, posterior: State, steps: int
    ) -> list[_Share]:
        shares = []
        if self.real_ratio > 0:
            # Made without gradients: what is learned here must not bend the latents.
            real = replayed_transitions(batch, world_model.feature(posterior), world_model.discount)
            shares.append(_Share(self.real_ratio, real))
        if self.real_ratio < 1:
            dreamt = self.branch(world_model, batch, posterior, steps)
            shares.append(_Share(1 - self.real_ratio, dreamt))
        return shares

    @torch.no_grad()
    def branch(
        self, world_model: WorldModel, batch: Batch, posterior: State, steps: int
    ) -> Transitions:
        """Imagined transitions from the states of a batch; of an ensemble, by several members."""
        drawn = sample_starts(batch, posterior, self.starts, self.branches.eligible(batch))
        starts = drawn if self.starts is None else _in_turn(drawn, self.starts)
        dream = world_model.imagine(starts.state, self.algorithm.act, steps)
        return imagined_transitions(dream, starts.continues, world_model.discount)


def _in_turn(starts: StartStates, count: int) -> StartStates:
    """``count`` of them, the same ones again where there are fewer (none where there is none)."""
    available = len(starts.continues)
    rows = torch.arange(count if available else 0, device=starts.continues.device) % max(
        available, 1
    )
    return StartStates(select_state(starts.state, rows), starts.continues[rows])
