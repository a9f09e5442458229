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
from worldmodels.planning.objectives import Objective
from worldmodels.types import ActionSpace, Batch, Distribution, Losses, State
from worldmodels.world_model import WorldModel


class ActorCritic(Behaviour):
    """Imagines rollouts of its own policy from replayed states and learns from their returns.

    Args:
        feature_dim: F.
        action_space: what an action is.
        gradient: how the actor learns: ``Reinforce`` or ``DynamicsBackprop``.
        horizon: imagined agent steps.
        starts: states to imagine from at every update; all of the batch when None.
        lambda_: lambda of the returns.
        entropy: weight of the policy's entropy, where returns have the range 1.
        hidden: width of actor and critic.
        layers: hidden layers of actor and critic.
        actor_learning_rate: of the actor.
        critic_learning_rate: of the critic.
        tau: how fast the critic's target follows it.
        return_ema: how fast the scale of returns follows them.
        objective: what imagined steps are rewarded by, such as ``Curiosity``; the learned reward
            when None.

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
        check_imagination(horizon, starts, lambda_)
        self.gradient = gradient()
        self.horizon, self.starts, self.lambda_, self.entropy_coef = (
            horizon,
            starts,
            lambda_,
            entropy_coef,
        )
        self.actor = make_actor(feature_dim, action_space, hidden, layers)
        self.critic = Critic(feature_dim, hidden, layers, tau)
        self.scale = ReturnScale(return_ema)
        self.learning_rates = actor_learning_rate, critic_learning_rate
        self.objective = objective

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        """The actor's distribution of actions."""
        return self.actor(feature)

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The critic's expected return under the policy."""
        return self.critic(feature)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Actor and critic."""
        parts = (self.actor, self.critic.head)
        return [
            ParameterGroup(list(part.parameters()), rate)
            for part, rate in zip(parts, self.learning_rates, strict=True)
        ]

    def update_target(self) -> None:
        """The critic's target follows."""
        self.critic.update_target()

    def loss(self, world_model: WorldModel, batch: Batch, posterior: State) -> Losses:
        """The actor's and the critic's loss on imagined trajectories."""
        starts = sample_starts(batch, posterior, self.starts)
        # Backprop through the dynamics passes through a copy whose parameters do not learn.
        with torch.set_grad_enabled(self.gradient.through_dynamics):
            model = detached(world_model) if self.gradient.through_dynamics else world_model
            trajectory = model.imagine(starts.state, self._sample, self.horizon, self.objective)
            value = self.critic.target(trajectory.feature)  # N H+1
            returns = lambda_returns(
                trajectory.reward, trajectory.discount, value[:, 1:], self.lambda_
            )  # N H
        weight = step_weights(trajectory.discount, starts.continues)  # N H
        self.scale.update(returns)
        scale = self.scale()

        feature = trajectory.feature[:, :-1].detach()  # N H F
        policy = self.actor(feature)
        entropy = policy.entropy()  # N H
        gained = self.gradient.loss(
            policy, trajectory.action, returns / scale, value[:, :-1] / scale
        )  # N H
        actor = (weight * (gained - self.entropy_coef * entropy)).mean()
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
        # Detached: an action learns from what it causes, not from bending its own observation.
        return self.actor(feature.detach()).sample()


def check_imagination(horizon: int, starts: int | None, lambda_: float) -> None:
    """Refuses a rollout that cannot be.

    Raises:
        ValueError: naming the option.
    """
    for name, number in (("horizon", horizon), ("starts", starts)):
        if number is not None and number < 1:
            raise ValueError(f"{name}={number}: choose 1 or more")
    if not 0 <= lambda_ <= 1:
        raise ValueError(f"lambda_={lambda_}: choose a lambda between 0 and 1")
