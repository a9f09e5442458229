"""Proximal policy optimisation, for continuous and for discrete actions."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.behaviours.actors import make_actor
from worldmodels.behaviours.algorithm import Algorithm
from worldmodels.behaviours.base import ParameterGroup
from worldmodels.behaviours.critic import Critic
from worldmodels.behaviours.returns import lambda_returns
from worldmodels.behaviours.transitions import Transitions, weighted_mean
from worldmodels.checks import check_at_least, check_between
from worldmodels.types import ActionSpace, Distribution, Losses


class PPO(Algorithm):
    """Limits how far each update moves the policy from the one that made the transitions.

    An older copy of the actor makes the transitions; it is renewed every ``refresh`` updates.
    Imagined transitions are therefore on-policy by construction. Replayed ones are on-policy where
    every round has ``refresh`` updates and replay samples the latest round alone.

    Args:
        feature_dim: F.
        action_space: what an action is.
        refresh: updates with one copy of the actor (epochs times minibatches).
        clip: epsilon, the distance of the probability ratio from 1 beyond which the gradient stops.
        lambda_: lambda of the returns and advantages.
        entropy_coef: weight of the policy's entropy; advantages have standard deviation 1.
        hidden: width of actor and critic.
        layers: hidden layers of actor and critic.
        actor_learning_rate: of the actor.
        critic_learning_rate: of the critic.
        tau: share of the critic in its moving-average target after every update.

    Raises:
        ValueError: when an option is out of its range.

    Reference: Schulman et al., 2017, equation 7; 2016 (generalised advantage estimation).
    """

    on_policy = True
    updates: Tensor

    def __init__(
        self,
        feature_dim: int,
        action_space: ActionSpace,
        refresh: int = 20,
        clip: float = 0.2,
        lambda_: float = 0.95,
        entropy_coef: float = 3e-3,
        hidden: int = 256,
        layers: int = 2,
        actor_learning_rate: float = 3e-4,
        critic_learning_rate: float = 5e-4,
        tau: float = 0.02,
    ):
        super().__init__()
        check_at_least("PPO", 1, refresh=refresh)
        check_between("PPO", 0, 1, lambda_=lambda_)
        if not 0 < clip < 1:
            raise ValueError(f"PPO: clip={clip}: choose a number between 0 and 1")
        self.refresh, self.clip = refresh, clip
        self.lambda_, self.entropy_coef = lambda_, entropy_coef
        self.actor = make_actor(feature_dim, action_space, hidden, layers)
        self.older = copy.deepcopy(self.actor).requires_grad_(False)
        self.critic = Critic(feature_dim, hidden, layers, tau)
        self.learning_rates = actor_learning_rate, critic_learning_rate
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def act(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch A"]:
        """Samples of the older policy."""
        return self.older(feature).sample()  # *batch A

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        return self.actor(feature)

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        return self.critic(feature)  # *batch

    def parameter_groups(self) -> list[ParameterGroup]:
        parts = (self.actor, self.critic.head)
        return [
            ParameterGroup(list(part.parameters()), rate)
            for part, rate in zip(parts, self.learning_rates, strict=True)
        ]

    def update_target(self) -> None:
        """Moves the critic's target; every ``refresh`` updates the older actor is renewed."""
        self.critic.update_target()
        self.updates += 1
        if self.updates % self.refresh == 0:
            self.older.load_state_dict(self.actor.state_dict())

    def loss(self, transitions: Transitions) -> Losses:
        """The weighted means of the clipped surrogate loss and the critic's loss."""
        returns = self.returns(transitions)  # N H
        weight = transitions.weight  # N H
        # Detached: only the critic's loss trains an encoder.
        feature = transitions.feature.detach()  # N H F
        with torch.no_grad():
            advantage = standardised(returns - self.critic.target(feature), weight)  # N H
            older = self.older(feature).log_prob(transitions.action)  # N H
        policy = self.actor(feature)
        ratio = (policy.log_prob(transitions.action) - older).exp()  # N H
        entropy = policy.entropy()  # N H
        surrogate = clipped_surrogate(ratio, advantage, self.clip)  # N H
        actor = weighted_mean(-surrogate - self.entropy_coef * entropy, weight)
        # The head itself: unlike `Critic.loss` it passes its gradient on to an encoder.
        critic = weighted_mean(self.critic.head.loss(transitions.feature, returns), weight)

        clipped = ((ratio - 1).abs() > self.clip).float()  # N H
        metrics = {
            "loss/actor": actor,
            "loss/critic": critic,
            "policy_entropy": weighted_mean(entropy, weight),
            "clipped": weighted_mean(clipped, weight),
        }
        return Losses(actor + critic, {name: value.detach() for name, value in metrics.items()})

    @torch.no_grad()
    def returns(self, transitions: Transitions) -> Float[Tensor, "N H"]:
        """Lambda-returns that end where the next transition does not follow from this one."""
        value = self.critic.target(transitions.after)  # N H
        follows = (transitions.weight[:, 1:] > 0).float()  # N H-1
        follows = torch.nn.functional.pad(follows, (0, 1), value=1.0)  # N H
        lambda_ = self.lambda_ * follows  # N H
        return lambda_returns(transitions.reward, transitions.discount, value, lambda_)  # N H


def clipped_surrogate(
    ratio: Float[Tensor, "N H"], advantage: Float[Tensor, "N H"], clip: float
) -> Float[Tensor, "N H"]:
    """PPO's objective: the smaller of ``ratio * advantage`` with and without clipping the ratio."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)  # N H


def standardised(
    advantage: Float[Tensor, "N H"], weight: Float[Tensor, "N H"]
) -> Float[Tensor, "N H"]:
    """Advantages with weighted mean 0 and weighted standard deviation 1."""
    centred = advantage - weighted_mean(advantage, weight)  # N H
    return centred / weighted_mean(centred.square(), weight).sqrt().clamp(min=1e-8)  # N H
