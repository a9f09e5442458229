"""Model-based policy optimisation: an RL algorithm on replayed and short imagined transitions."""

from collections.abc import Callable

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
from worldmodels.checks import check_at_least, check_between
from worldmodels.dynamics.base import select_state
from worldmodels.types import ActionSpace, Batch, Losses, State
from worldmodels.world_model import LatentModel, WorldModel


class MBPO(AlgorithmBehaviour):
    """Branches short rollouts of the policy from replayed states, and learns from both.

    The replayed transitions are D_env of the paper, the imagined ones D_model. Both are computed
    anew at every update: the latents change while the model learns, so stored ones would be stale.

    Every update of the model is one update of the algorithm. The paper makes 20 to 40 of the
    algorithm for every step of the environment, from model rollouts that it keeps, and trains the
    model less often; so with the same data this learner has had fewer updates.

    Args:
        feature_dim: F.
        action_space: what an action is.
        algorithm: ``SAC``, ``DQN`` or ``PPO``, with its options.
        length: imagined steps: ``FixedLength``, ``LinearLength`` or ``ValidatedLength``.
        real_ratio: weight of the mean loss over replayed transitions; that over imagined ones has
            1 minus it, whatever their numbers. At 0 the algorithm learns from the model alone, at 1
            from replay alone. It must be 0 for algorithms that are ``on_policy``, such as PPO.
        starts: rollouts at every update, distributed evenly over the states that ``branches``
            offers; one from each when None.
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
        check_between("MBPO", 0, 1, real_ratio=real_ratio)
        check_at_least("MBPO", 1, starts=starts)
        if self.algorithm.on_policy and real_ratio > 0:
            raise ValueError(
                f"real_ratio={real_ratio}: {type(self.algorithm).__name__} learns from its present "
                "policy's transitions alone, replay holds older ones: give --behaviour.real_ratio 0"
            )
        self.real_ratio, self.starts = real_ratio, starts
        self.length, self.branches = length(), branches()
        self.validates = self.length.measured > 0
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def update_target(self) -> None:
        super().update_target()
        self.updates += 1

    def loss(self, world_model: LatentModel, batch: Batch, posterior: State) -> Losses:
        """The algorithm's losses on replayed and on imagined transitions, mixed by ``real_ratio``.

        Raises:
            TypeError: without a world model: it could not imagine, and no loss would train the
                encoder.
        """
        if not isinstance(world_model, WorldModel):
            raise TypeError("MBPO needs a world model: give --model WorldModel or use ModelFree")
        steps = self.length(int(self.updates))
        parts = []
        # Without gradients: a behaviour's loss must not change the latents that it learns from.
        with torch.no_grad():
            if self.real_ratio > 0:
                feature = world_model.feature(posterior)  # B T F
                replayed = replayed_transitions(
                    batch, feature, world_model.discount, world_model.burn_in
                )
                parts.append((self.real_ratio, replayed))
            if self.real_ratio < 1:
                imagined = self.branch(world_model, batch, posterior, steps)
                parts.append((1 - self.real_ratio, imagined))

        total, metrics = torch.zeros((), device=batch.reward.device), {}
        for share, transitions in parts:
            losses = self.algorithm.loss(transitions)
            total = total + share * losses.total
            for name, value in losses.metrics.items():
                metrics[name] = metrics.get(name, 0) + share * value
        metrics["rollout_length"] = torch.tensor(float(steps))
        return Losses(total, metrics)

    def validate(self, world_model: WorldModel, batch: Batch) -> dict[str, Tensor]:
        """Adapts the rollout length to the model's open-loop error."""
        errors = open_loop_error(world_model, batch, self.length.measured)
        self.length.update(errors)
        return {f"open_loop_error/{step}": error for step, error in enumerate(errors, 1)}

    @torch.no_grad()
    def branch(
        self, world_model: WorldModel, batch: Batch, posterior: State, steps: int
    ) -> Transitions:
        """Imagined transitions from states of a batch.

        In an ensemble every start state carries the member that observed it, so that the rollouts
        of one batch use several members.
        """
        eligible = self.branches.eligible(batch) & batch.counted(world_model.burn_in)  # B T
        starts = sample_starts(batch, posterior, self.starts, eligible)
        if self.starts is not None:
            starts = _repeated(starts, self.starts)
        trajectory = world_model.imagine(starts.state, self.algorithm.act, steps)
        return imagined_transitions(trajectory, starts.continues, world_model.discount)


def _repeated(starts: StartStates, count: int) -> StartStates:
    """``count`` start states: where there are fewer, they repeat; of none, none."""
    available = len(starts.continues)
    rows = torch.arange(count if available else 0, device=starts.continues.device)  # N
    rows = rows % max(available, 1)  # N
    return StartStates(select_state(starts.state, rows), starts.continues[rows])
