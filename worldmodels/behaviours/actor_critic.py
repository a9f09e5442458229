"""Actor-critic in imagination: policy and value learn from imagined trajectories alone."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.actors import make_actor
from worldmodels.behaviours.base import Behaviour, ParameterGroup, detached, sample_starts
from worldmodels.behaviours.critic import Critic
from worldmodels.behaviours.gradients import PolicyGradient, Reinforce
from worldmodels.behaviours.returns import ReturnScale, lambda_returns, step_weights
from worldmodels.checks import check_at_least, check_between
from worldmodels.planning.objectives import Objective
from worldmodels.types import ActionSpace, Batch, Distribution, Losses, State
from worldmodels.world_model import WorldModel


class ActorCritic(Behaviour):
    """Imagines rollouts of its own policy from replayed states, and learns from their returns.

    Args:
        feature_dim: F.
        action_space: what an action is.
        gradient: the estimator of the policy gradient: ``Reinforce`` or ``DynamicsBackprop``.
        horizon: imagined agent steps.
        starts: states to imagine from at every update; all of the batch when None.
        lambda_: lambda of the returns.
        entropy_coef: weight of the policy's entropy; returns are scaled to the range 1.
        hidden: width of actor and critic.
        layers: hidden layers of actor and critic.
        actor_learning_rate: of the actor.
        critic_learning_rate: of the critic.
        tau: share of the critic in its moving-average target after every update.
        return_ema: share of the newest returns in the moving average of their scale.
        objective: rewards of imagined steps, such as ``Curiosity``; the learned ones when None.

    Raises:
        ValueError: when an option is out of its range.

    Reference: Hafner et al., 2020 (Dreamer); 2023 (DreamerV3), section on critic and actor.
    """

    def __init__(
        self,
        feature_dim: int,
        action_space: ActionSpace,
        gradient: Callable[[], PolicyGradient] = Reinforce,
        horizon: int = 15,
        starts: int | None = None,
        lambda_: float = 0.95,
        entropy_coef: float = 3e-4,
        hidden: int = 256,
        layers: int = 2,
        actor_learning_rate: float = 3e-4,
        critic_learning_rate: float = 5e-4,
        tau: float = 0.02,
        return_ema: float = 0.01,
        objective: Objective | None = None,
    ):
        super().__init__()
        check_at_least("ActorCritic", 1, horizon=horizon, starts=starts)
        check_between("ActorCritic", 0, 1, lambda_=lambda_)
        self.gradient, self.objective = gradient(), objective
        self.horizon, self.starts = horizon, starts
        self.lambda_, self.entropy_coef = lambda_, entropy_coef
        self.actor = make_actor(feature_dim, action_space, hidden, layers)
        self.critic = Critic(feature_dim, hidden, layers, tau)
        self.scale = ReturnScale(return_ema)
        self.learning_rates = actor_learning_rate, critic_learning_rate

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        return self.actor(feature)

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        return self.critic(feature)

    def parameter_groups(self) -> list[ParameterGroup]:
        parts = (self.actor, self.critic.head)
        return [
            ParameterGroup(list(part.parameters()), rate)
            for part, rate in zip(parts, self.learning_rates, strict=True)
        ]

    def update_target(self) -> None:
        self.critic.update_target()

    def loss(self, world_model: WorldModel, batch: Batch, posterior: State) -> Losses:
        """The losses of actor and critic on imagined trajectories."""
        counted = batch.counted(world_model.burn_in)  # B T
        starts = sample_starts(batch, posterior, self.starts, counted)
        # Gradients of returns pass through a copy of the model whose parameters receive none.
        with torch.set_grad_enabled(self.gradient.through_dynamics):
            model = detached(world_model) if self.gradient.through_dynamics else world_model
            trajectory = model.imagine(starts.state, self._sample, self.horizon, self.objective)
            value = self.critic.target(trajectory.feature)  # N H+1
            returns = lambda_returns(
                trajectory.reward, trajectory.discount, value[:, 1:], self.lambda_
            )  # N H
        weight = step_weights(trajectory.discount, starts.continues)  # N H
        self.scale.update(returns)
        scale = self.scale()  # scalar

        feature = trajectory.feature[:, :-1].detach()  # N H F
        policy = self.actor(feature)
        entropy = policy.entropy()  # N H
        baseline = value[:, :-1] / scale  # N H
        gradient = self.gradient.loss(policy, trajectory.action, returns / scale, baseline)  # N H
        actor = (weight * (gradient - self.entropy_coef * entropy)).mean()
        critic = (weight * self.critic.loss(feature, returns)).mean()

        metrics = {
            "loss/actor": actor,
            "loss/critic": critic,
            "policy_entropy": entropy.mean(),
            "imagined_reward": trajectory.reward.mean(),
            "imagined_return": returns.mean(),
            "return_scale": scale,
        }
        return Losses(actor + critic, {name: number.detach() for name, number in metrics.items()})

    def _sample(self, feature: Tensor) -> Tensor:
        # Detached: an action's gradient comes from its effects, not through the policy's own input.
        return self.actor(feature.detach()).sample()  # N A
