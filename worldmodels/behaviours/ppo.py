"""Proximal policy optimisation, for real-valued actions and for choices."""

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
from worldmodels.types import ActionSpace, Distribution, Losses


class PPO(Algorithm):
    """Moves a policy no further from the one that made the transitions than a ratio allows.

    An older copy of the actor makes the transitions; it is renewed every ``refresh`` updates. So
    imagined transitions is on-policy by construction and fresh at every update; real transitions is
    where collection keeps step with ``refresh`` and replay shows the latest round alone.

    Args:
        feature_dim: F.
        action_space: what an action is.
        refresh: updates by one copy of the actor ("epochs" times minibatches).
        clip: how far the probability of an action may move before it stops to pay.
        lambda_: lambda of the returns and advantages.
        entropy: weight of the policy's entropy, where advantages have the standard deviation 1.
        hidden: width of actor and critic.
        layers: hidden layers of actor and critic.
        actor_learning_rate: of the actor.
        critic_learning_rate: of the critic.
        tau: how fast the critic's target follows it.

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
        _check_options(refresh, clip, lambda_)
        self.refresh, self.clip, self.lambda_, self.entropy_coef = (
            refresh,
            clip,
            lambda_,
            entropy_coef,
        )
        self.actor = make_actor(feature_dim, action_space, hidden, layers)
        self.older = copy.deepcopy(self.actor).requires_grad_(False)
        self.critic = Critic(feature_dim, hidden, layers, tau)
        self.learning_rates = actor_learning_rate, critic_learning_rate
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def act(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch A"]:
        """Samples of the older policy."""
        return self.older(feature).sample()

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
        """The critic's target follows; every ``refresh`` updates the older policy catches up."""
        self.critic.update_target()
        self.updates += 1
        if self.updates % self.refresh == 0:
            self.older.load_state_dict(self.actor.state_dict())

    def loss(self, transitions: Transitions) -> Losses:
        """Actor and critic."""
        returns = self.returns(transitions)
        weight = transitions.weight
        # Detached: the actor must not bend what it sees.
        feature = transitions.feature.detach()
        with torch.no_grad():
            advantage = standardised(returns - self.critic.target(feature), weight)
            older = self.older(feature).log_prob(transitions.action)
        policy = self.actor(feature)
        ratio = (policy.log_prob(transitions.action) - older).exp()
        entropy = policy.entropy()
        gained = clipped_gain(ratio, advantage, self.clip)
        actor = weighted_mean(-gained - self.entropy_coef * entropy, weight)
        # The head itself: unlike `Critic.loss` it hands its gradient on to an encoder.
        critic = weighted_mean(self.critic.head.loss(transitions.feature, returns), weight)
        clipped = ((ratio - 1).abs() > self.clip).float()
        metrics = {
            "loss/actor": actor,
            "loss/critic": critic,
            "policy_entropy": weighted_mean(entropy, weight),
            "clipped": weighted_mean(clipped, weight),
        }
        return Losses(actor + critic, {name: value.detach() for name, value in metrics.items()})

    @torch.no_grad()
    def returns(self, transitions: Transitions) -> Float[Tensor, "N H"]:
        """Lambda-returns, cut where the next transition does not follow from this one."""
        value = self.critic.target(transitions.after)
        goes_on = (transitions.weight[:, 1:] > 0).float()
        goes_on = torch.nn.functional.pad(goes_on, (0, 1), value=1.0)
        return lambda_returns(
            transitions.reward, transitions.discount, value, self.lambda_ * goes_on
        )


def clipped_gain(
    ratio: Float[Tensor, "N H"], advantage: Float[Tensor, "N H"], clip: float
) -> Float[Tensor, "N H"]:
    """What the policy gains, never more than at the edge of the range around 1."""
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)


def standardised(
    advantage: Float[Tensor, "N H"], weight: Float[Tensor, "N H"]
) -> Float[Tensor, "N H"]:
    """Advantages with mean 0 and standard deviation 1 over what happened."""
    distance = advantage - weighted_mean(advantage, weight)
    return distance / weighted_mean(distance.square(), weight).sqrt().clamp(min=1e-8)


def _check_options(refresh: int, clip: float, lambda_: float) -> None:
    if refresh < 1:
        raise ValueError(f"refresh={refresh}: choose 1 update or more")
    if not 0 < clip < 1:
        raise ValueError(f"clip={clip}: choose a number between 0 and 1")
    if not 0 <= lambda_ <= 1:
        raise ValueError(f"lambda_={lambda_}: choose a lambda between 0 and 1")
