"""Actor-critic in imagination: policy and value learn from imagined trajectories alone."""

from collections.abc import Callable
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from worldmodels.behaviours.actors import ActorFactory, ContinuousActor, make_actor
from worldmodels.behaviours.base import (
    Behaviour,
    ParameterGroup,
    StartStates,
    all_starts,
    detached,
    sample_starts,
)
from worldmodels.behaviours.critic import Critic
from worldmodels.behaviours.gradients import PolicyGradient, Reinforce
from worldmodels.behaviours.returns import ReturnScale, lambda_returns, step_weights
from worldmodels.behaviours.transitions import replayed_transitions
from worldmodels.checks import check_at_least, check_between
from worldmodels.nn.blocks import LayerNorm, Norm
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
        continuous_actor: the policy over continuous actions: ``ContinuousActor`` or
            ``BoundedNormalActor``; discrete ones have ``DiscreteActor``.
        norm: of the hidden layers of actor and critic: ``LayerNorm`` or ``RMSNorm``.
        outscale: factor on the initial weights of the actor's last layer.
        bootstrap: which critic returns and baselines read: the ``slow`` target or the ``fast``
            critic.
        slow_regularizer: weight of the critic's cross-entropy against the slow target.
        replay_critic: weight of the critic's loss on replayed rows, whose returns bootstrap from
            those imagined at the same rows; needs ``starts=None``. Its gradient stays in the
            critic; the reference lets it through to the world model.
        debias: the moving average of the scale begins at the first returns; else at 0.

    Raises:
        ValueError: when an option is out of its range.

    Reference: Hafner et al., 2020 (Dreamer); 2023 (DreamerV3), section on critic and actor; 2025
    (Nature) for the last seven options.
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
        continuous_actor: ActorFactory = ContinuousActor,
        norm: Callable[[int], Norm] = LayerNorm,
        outscale: float = 0.0,
        bootstrap: Literal["slow", "fast"] = "slow",
        slow_regularizer: float = 0.0,
        replay_critic: float = 0.0,
        debias: bool = True,
    ):
        super().__init__()
        check_at_least("ActorCritic", 1, horizon=horizon, starts=starts)
        check_at_least("ActorCritic", 0, replay_critic=replay_critic)
        check_between("ActorCritic", 0, 1, lambda_=lambda_)
        if replay_critic and starts is not None:
            raise ValueError(
                f"ActorCritic: replay_critic={replay_critic} needs the return imagined at every "
                f"row, starts={starts} imagines from some: give starts null, or replay_critic 0"
            )
        if replay_critic and objective is not None:
            raise ValueError(
                f"ActorCritic: replay_critic={replay_critic} learns from replayed rewards, which "
                f"are not those of objective={objective!r}: give replay_critic 0"
            )
        self.gradient, self.objective = gradient(), objective
        self.horizon, self.starts = horizon, starts
        self.lambda_, self.entropy_coef = lambda_, entropy_coef
        self.replay_critic = replay_critic
        self.actor = make_actor(
            feature_dim, action_space, hidden, layers, continuous_actor, norm, outscale
        )
        self.critic = Critic(feature_dim, hidden, layers, tau, norm, bootstrap, slow_regularizer)
        self.scale = ReturnScale(return_ema, debias=debias)
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
        """The losses of actor and critic on imagined trajectories, and of the critic on replay."""
        starts = self._starts(batch, posterior, batch.counted(world_model.burn_in))
        # Gradients of returns pass through a copy of the model whose parameters receive none.
        with torch.set_grad_enabled(self.gradient.through_dynamics):
            model = detached(world_model) if self.gradient.through_dynamics else world_model
            trajectory = model.imagine(starts.state, self._sample, self.horizon, self.objective)
            value = self.critic.bootstrapped(trajectory.feature)  # N H+1
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
        total = actor + critic

        metrics = {
            "loss/actor": actor,
            "loss/critic": critic,
            "policy_entropy": entropy.mean(),
            "imagined_reward": trajectory.reward.mean(),
            "imagined_return": returns.mean(),
            "return_scale": scale,
        }
        if self.replay_critic:
            replayed = self._replay_loss(
                batch, trajectory.feature[:, 0], returns[:, 0], world_model
            )
            total = total + self.replay_critic * replayed
            metrics["loss/replay_critic"] = replayed
        return Losses(total, {name: number.detach() for name, number in metrics.items()})

    def _starts(self, batch: Batch, posterior: State, counted: Bool[Tensor, "B T"]) -> StartStates:
        if not self.replay_critic:
            return sample_starts(batch, posterior, self.starts, counted)
        # Replayed rows find their imagined returns by their place.
        starts = all_starts(batch, posterior)
        return starts._replace(continues=starts.continues * counted.flatten())

    def _replay_loss(
        self,
        batch: Batch,
        feature: Float[Tensor, "N F"],
        imagined: Float[Tensor, " N"],
        model: WorldModel,
    ) -> Float[Tensor, ""]:
        """The critic's loss on the N = B T replayed rows, where ``imagined`` are the returns."""
        feature = rearrange(feature, "(B T) F -> B T F", B=len(batch.reward))
        imagined = rearrange(imagined, "(B T) -> B T", B=len(batch.reward))
        rows = replayed_transitions(batch, feature, model.discount, model.burn_in)  # B T-1
        # A return does not pass the last row of an episode: it ends with the imagined one there.
        follows = torch.cat([rows.weight[:, 1:], torch.ones_like(rows.weight[:, :1])], 1)  # B T-1
        returns = lambda_returns(
            rows.reward, rows.discount, imagined[:, 1:], self.lambda_ * follows
        )  # B T-1
        return (rows.weight * self.critic.loss(rows.feature, returns)).mean()

    def _sample(self, feature: Tensor) -> Tensor:
        # Detached: an action's gradient comes from its effects, not through the policy's own input.
        return self.actor(feature.detach()).sample()  # N A
