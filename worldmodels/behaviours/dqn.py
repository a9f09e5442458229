"""Deep Q-learning for discrete actions: double Q-learning with a moving-average target."""

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
    """Epsilon-greedy: takes the action of the highest value, and sometimes a random one.

    Args:
        feature_dim: F.
        action_space: what an action is; discrete.
        exploration: epsilon, probability of a uniformly random choice when actions are sampled.
        hidden: width of the network.
        layers: its hidden layers.
        learning_rate: its learning rate.
        tau: share of the network in its moving-average target after every update.

    Raises:
        ValueError: when actions are continuous, or ``exploration`` is not a probability above 0.

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
        """The best choice with probability 1 - epsilon, otherwise a uniformly random one.

        Its mode is the best choice. Of choices with equal values, such as an untrained network's,
        each is as likely to be the best.
        """
        best = self._best(feature)  # *batch A
        share = self.exploration / best.shape[-1]
        return OneHotStraightThrough(((1 - self.exploration) * best + share).log())  # *batch A

    def value(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The value of the best choice."""
        return self.head(feature).amax(-1)  # *batch

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(list(self.head.parameters()), self.learning_rate)]

    def update_target(self) -> None:
        update_target(self.target, self.head, self.tau)

    @torch.no_grad()
    def targets(self, transitions: Transitions) -> Float[Tensor, "N H"]:
        """The reward plus the target network's discounted value of the online network's choice."""
        chosen = self._best(transitions.after)  # N H A
        value = (chosen * self.target(transitions.after)).sum(-1)  # N H
        return transitions.reward + transitions.discount * value  # N H

    def loss(self, transitions: Transitions) -> Losses:
        """The weighted mean loss of the values of the choices that were made."""
        returns = self.targets(transitions)  # N H
        critic = self.head.loss(transitions.feature, transitions.action, returns)  # N H
        mean = weighted_mean(critic, transitions.weight)
        metrics = {
            "loss/critic": mean.detach(),
            "target_value": weighted_mean(returns, transitions.weight),
        }
        return Losses(mean, metrics)

    @torch.no_grad()
    def _best(self, feature: Tensor) -> Tensor:
        values = self.head(feature)  # *batch A
        # Ties in [1, 2), all others in [0, 1).
        tied = (values == values.amax(-1, keepdim=True)) + torch.rand_like(values)  # *batch A
        best = nn.functional.one_hot(tied.argmax(-1), values.shape[-1])  # *batch A
        return best.to(values.dtype)
