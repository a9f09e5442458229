"""Soft actor-critic, for real-valued actions and for choices."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.behaviours.actors import make_actor
from worldmodels.behaviours.algorithm import Algorithm
from worldmodels.behaviours.base import ParameterGroup, detached
from worldmodels.behaviours.q_values import DoubleQ
from worldmodels.behaviours.transitions import Transitions, weighted_mean
from worldmodels.types import ActionSpace, Distribution, Losses


class SAC(Algorithm):
    """Maximises return plus entropy; a temperature holds the entropy at its target.

    Entropies are not those of one sampled action: exact for choices, and for real-valued actions
    the normal's, with the tanh's share sampled. Same expectation, less variance.

    Args:
        feature_dim: F.
        action_space: what an action is.
        target_entropy: nats; when None, -A for real-valued actions, 0.3 ln A for choices.
        temperature: at the start.
        hidden: width of actor and critics.
        layers: hidden layers of actor and critics.
        actor_learning_rate: of the actor.
        critic_learning_rate: of both critics.
        temperature_learning_rate: of the temperature's logarithm.
        tau: how fast the critics' targets follow them.
        value_scale: roughly the size of returns: the critics of real-valued actions count in it
            (those of choices read any size).

    Raises:
        ValueError: when the temperature is not above 0, or the target entropy out of reach.

    Reference: Haarnoja et al., 2018 (Soft Actor-Critic Algorithms and Applications), equations 3,
    7 and 18; Christodoulou, 2019, for choices.
    """

    def __init__(
        self,
        feature_dim: int,
        action_space: ActionSpace,
        target_entropy: float | None = None,
        temperature: float = 0.1,
        hidden: int = 256,
        layers: int = 2,
        actor_learning_rate: float = 3e-4,
        critic_learning_rate: float = 5e-4,
        temperature_learning_rate: float = 3e-4,
        tau: float = 0.01,
        value_scale: float = 1.0,
    ):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature={temperature}: choose a number above 0")
        self.target_entropy = _checked_entropy(target_entropy, action_space)
        self.actor = make_actor(feature_dim, action_space, hidden, layers)
        self.critics = DoubleQ(feature_dim, action_space, hidden, layers, tau, value_scale)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.learning_rates = actor_learning_rate, critic_learning_rate, temperature_learning_rate

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        """The actor's distribution of actions."""
        return self.actor(feature)

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The critics' lesser value of the policy, which includes later entropies."""
        return self.critics.heads.mode_value(self.actor(feature), feature)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Actor, critics, temperature."""
        parts = [self.actor.parameters(), self.critics.heads.parameters(), [self.log_temperature]]
        return [
            ParameterGroup(list(part), rate)
            for part, rate in zip(parts, self.learning_rates, strict=True)
        ]

    def update_target(self) -> None:
        """The critics' targets follow."""
        self.critics.update_target()

    @torch.no_grad()
    def targets(self, transitions: Transitions) -> Float[Tensor, "N H"]:
        """Soft returns: the reward, and what the policy is value from there with its entropy."""
        policy = self.actor(transitions.after)
        value = self.critics.target.value(policy, transitions.after)
        soft = value + self.log_temperature.exp() * policy.entropy()
        return transitions.reward + transitions.discount * soft

    def loss(self, transitions: Transitions) -> Losses:
        """Critics, actor and temperature."""
        returns = self.targets(transitions)
        critic = self.critics.heads.loss(transitions.feature, transitions.action, returns)
        # Detached: the actor must not bend what it sees.
        feature = transitions.feature.detach()
        policy = self.actor(feature)
        entropy = policy.entropy()
        value = detached(self.critics.heads).value(policy, feature)
        temperature = self.log_temperature.exp()
        parts = {
            "loss/critic": critic,
            "loss/actor": -(value + temperature.detach() * entropy),
            "loss/temperature": temperature * (entropy.detach() - self.target_entropy),
        }
        means = {name: weighted_mean(part, transitions.weight) for name, part in parts.items()}
        metrics = {name: mean.detach() for name, mean in means.items()}
        metrics["policy_entropy"] = weighted_mean(entropy.detach(), transitions.weight)
        metrics["temperature"] = temperature.detach()
        return Losses(torch.stack(list(means.values())).sum(), metrics)


def _checked_entropy(target: float | None, space: ActionSpace) -> float:
    if target is None:
        return 0.3 * math.log(space.dim) if space.discrete else -float(space.dim)
    highest = math.log(space.dim) if space.discrete else space.dim * math.log(2)
    if target >= highest:
        raise ValueError(
            f"target_entropy={target}: the uniform policy has {highest:.3g} nats, choose less"
        )
    return target
