"""Deep Q-learning for choices: double Q with a slowly moving target."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.behaviours.algorithm import Algorithm
from worldmodels.behaviours.base import ParameterGroup
from worldmodels.behaviours.critic import check_tau, update_target
from worldmodels.behaviours.q_values import DiscreteValue
from worldmodels.behaviours.transitions import Transitions, weighted_mean
from worldmodels.nn.distributions import OneHotStraightThrough
from worldmodels.types import ActionSpace, Losses


class DQN(Algorithm):
    """Takes the choice of the highest value, and sometimes any other.

    Args:
        feature_dim: F.
        action_space: what an action is; discrete.
        exploration: epsilon, probability of a uniformly random choice when actions are sampled.
        hidden: width of the network.
        layers: its hidden layers.
        learning_rate: its learning rate.
        tau: how fast the target follows it.

    Raises:
        ValueError: when actions are no choices, or ``exploration`` is no probability above 0.

    Reference: Mnih et al., 2015; van Hasselt, Guez and Silver, 2016 (double Q-learning);
    Farebrother et al., 2024 (values by classification).
    """

    def __init__(
        self,
        feature_dim: int,
        action_space: ActionSpace,
        exploration: float = 0.1,
        hidden: int = 256,
        layers: int = 2,
        learning_rate: float = 5e-4,
        tau: float = 0.01,
    ):
        super().__init__()
        if not action_space.discrete:
            raise ValueError(f"DQN chooses among discrete actions, not {action_space}: use SAC")
        if not 0 < exploration <= 1:
            raise ValueError(f"exploration={exploration}: choose a probability above 0")
        check_tau(tau)
        self.exploration, self.tau = exploration, tau
        self.learning_rate = learning_rate
        self.head = DiscreteValue(feature_dim, action_space.dim, hidden, layers)
        self.target = copy.deepcopy(self.head).requires_grad_(False)

    def policy(self, feature: Float[Tensor, "*batch F"]) -> OneHotStraightThrough:
        """The best choice with probability 1 - epsilon, else any; its mode is the best."""
        best = self._best(feature)
        share = self.exploration / best.shape[-1]
        return OneHotStraightThrough(((1 - self.exploration) * best + share).log())

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The highest value."""
        return self.head(feature).amax(-1)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The network."""
        return [ParameterGroup(list(self.head.parameters()), self.learning_rate)]

    def update_target(self) -> None:
        """The target follows."""
        update_target(self.target, self.head, self.tau)

    @torch.no_grad()
    def targets(self, transitions: Transitions) -> Float[Tensor, "N H"]:
        """The reward, and what the target says of the choice that the network likes best."""
        chosen = self._best(transitions.after)
        value = (chosen * self.target(transitions.after)).sum(-1)
        return transitions.reward + transitions.discount * value

    def loss(self, transitions: Transitions) -> Losses:
        """Of the choices that were made."""
        returns = self.targets(transitions)
        critic = self.head.loss(transitions.feature, transitions.action, returns)
        mean = weighted_mean(critic, transitions.weight)
        metrics = {
            "loss/critic": mean.detach(),
            "target_value": weighted_mean(returns, transitions.weight),
        }
        return Losses(mean, metrics)

    @torch.no_grad()
    def _best(self, feature: Tensor) -> Tensor:
        values = self.head(feature)
        return nn.functional.one_hot(values.argmax(-1), values.shape[-1]).to(values.dtype)
