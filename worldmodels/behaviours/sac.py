"""Soft actor-critic, for continuous and for discrete actions."""

import math
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.behaviours.actors import ContinuousActor, make_actor
from worldmodels.behaviours.algorithm import Algorithm
from worldmodels.behaviours.base import ParameterGroup, detached
from worldmodels.behaviours.q_values import DoubleQ
from worldmodels.behaviours.transitions import Transitions, weighted_mean
from worldmodels.checks import check_above
from worldmodels.types import ActionSpace, Distribution, Losses


class SAC(Algorithm):
    """Maximises return plus entropy; a learned temperature holds the entropy at its target.

    Entropies are not minus the log-probability of the sampled action. They are exact for discrete
    actions; for continuous ones the normal's entropy is exact and only the tanh's correction is
    sampled. The expectation is the same and the variance lower.

    Args:
        feature_dim: F.
        action_space: what an action is.
        target_entropy: nats; when None, -A for continuous actions and 0.3 ln A for discrete ones.
        temperature: its initial value.
        hidden: width of actor and critics.
        layers: hidden layers of actor and critics.
        actor_learning_rate: of the actor.
        critic_learning_rate: of both critics.
        temperature_learning_rate: of the temperature's logarithm.
        tau: share of the critics in their moving-average targets after every update.
        value_scale: the rough size of returns, and the unit of the continuous actions' critics
            (those of discrete actions fit any size).
        min_std: floor of the continuous policy's standard deviation before the tanh. At 1e-3 a
            policy around 0 has -5.5 nats a dimension at least, so the target entropy is within
            reach; a floor of 0.1 ends at -0.9, above -1.

    Raises:
        ValueError: when temperature, ``value_scale`` or ``min_std`` is not above 0, or the target
            entropy is out of reach.

    Reference: Haarnoja et al., 2018 (Soft Actor-Critic Algorithms and Applications), equations 3,
    7 and 18; Christodoulou, 2019, for discrete actions.
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
        min_std: float = 1e-3,
    ):
        super().__init__()
        check_above("SAC", 0, temperature=temperature, value_scale=value_scale, min_std=min_std)
        self.target_entropy = _checked_entropy(target_entropy, action_space)
        self.actor = make_actor(
            feature_dim, action_space, hidden, layers, partial(ContinuousActor, min_std=min_std)
        )
        self.critics = DoubleQ(feature_dim, action_space, hidden, layers, tau, value_scale)
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))
        self.learning_rates = actor_learning_rate, critic_learning_rate, temperature_learning_rate

    def policy(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        return self.actor(feature)

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The smaller critic's value of the policy's mode, which includes later entropies."""
        return self.critics.heads.mode_value(self.actor(feature), feature)  # *batch

    def parameter_groups(self) -> list[ParameterGroup]:
        parts = [self.actor.parameters(), self.critics.heads.parameters(), [self.log_temperature]]
        return [
            ParameterGroup(list(part), rate)
            for part, rate in zip(parts, self.learning_rates, strict=True)
        ]

    def update_target(self) -> None:
        self.critics.update_target()

    @torch.no_grad()
    def targets(self, transitions: Transitions) -> Float[Tensor, "N H"]:
        """Soft returns: the reward, plus the discounted value and entropy of the next state."""
        policy = self.actor(transitions.after)
        value = self.critics.target.value(policy, transitions.after)  # N H
        soft = value + self.log_temperature.exp() * policy.entropy()  # N H
        return transitions.reward + transitions.discount * soft  # N H

    def loss(self, transitions: Transitions) -> Losses:
        """The weighted means of the losses of critics, actor and temperature."""
        returns = self.targets(transitions)  # N H
        critic = self.critics.heads.loss(transitions.feature, transitions.action, returns)  # N H

        # Detached: only the critics' loss trains an encoder.
        feature = transitions.feature.detach()  # N H F
        policy = self.actor(feature)
        entropy = policy.entropy()  # N H
        value = detached(self.critics.heads).value(policy, feature)  # N H
        temperature = self.log_temperature.exp()
        actor = -(value + temperature.detach() * entropy)  # N H
        # The temperature rises while the entropy is below its target.
        dual = temperature * (entropy.detach() - self.target_entropy)  # N H

        parts = {"loss/critic": critic, "loss/actor": actor, "loss/temperature": dual}
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
