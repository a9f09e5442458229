"""Action values Q(s, a).

Discrete actions use classification over symlog-spaced bins, as ``Critic`` does for states. For
continuous actions the policy is trained through the gradient of Q with respect to the action,
which two-hot bins approximate too coarsely: there Q is fitted by the squared error.
"""

import copy
from abc import ABC, abstractmethod

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.behaviours.critic import check_tau, update_target
from worldmodels.nn.blocks import MLP, zero_init
from worldmodels.nn.distributions import OneHotStraightThrough, TwoHot, symexp_bins
from worldmodels.nn.heads import GaussianRewardHead
from worldmodels.types import ActionSpace, Distribution


class ActionValue(nn.Module, ABC):
    """Q(s, a): the expected return after an action."""

    @abstractmethod
    def loss(
        self,
        feature: Float[Tensor, "*batch F"],
        action: Float[Tensor, "*batch A"],
        returns: Float[Tensor, "*batch"],
    ) -> Float[Tensor, "*batch"]:
        """The regression loss of the taken actions' values against returns."""


class ContinuousValue(ActionValue):
    """Q of continuous actions: a network of feature and action.

    Args:
        feature_dim: F.
        action_dim: A.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        scale: the return that a network's output of 1 stands for.
    """

    def __init__(self, feature_dim: int, action_dim: int, hidden: int, layers: int, scale: float):
        super().__init__()
        self.scale = scale
        self.head = GaussianRewardHead(feature_dim + action_dim, hidden, layers)

    def forward(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        """The expected return after ``action``."""
        both = torch.cat([feature, action], -1)  # *batch F+A
        return self.scale * self.head(both)  # *batch

    def loss(
        self,
        feature: Float[Tensor, "*batch F"],
        action: Float[Tensor, "*batch A"],
        returns: Float[Tensor, "*batch"],
    ) -> Float[Tensor, "*batch"]:
        """Half the squared error, in units of the scale."""
        both = torch.cat([feature, action], -1)  # *batch F+A
        return self.head.loss(both, returns / self.scale)  # *batch


class DiscreteValue(ActionValue):
    """Q of discrete actions: a network of the feature with one output for every choice.

    Args:
        feature_dim: F.
        action_dim: A.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        bins: odd number of bins.
        limit: symlog of the largest bin.
    """

    bins: Tensor

    def __init__(
        self,
        feature_dim: int,
        action_dim: int,
        hidden: int,
        layers: int,
        bins: int = 255,
        limit: float = 20.0,
    ):
        super().__init__()
        self.net = MLP(feature_dim, action_dim * bins, hidden, layers)
        zero_init(self.net.output)
        self.register_buffer("bins", symexp_bins(bins, limit))

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch A"]:
        """The expected return after each choice."""
        return TwoHot(self._logits(feature), self.bins).mean()  # *batch A

    def loss(
        self,
        feature: Float[Tensor, "*batch F"],
        action: Float[Tensor, "*batch A"],
        returns: Float[Tensor, "*batch"],
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy of the chosen action's bins against the return."""
        chosen = (action[..., None] * self._logits(feature)).sum(-2)  # *batch K
        return -TwoHot(chosen, self.bins).log_prob(returns)  # *batch

    def _logits(self, feature: Tensor) -> Tensor:
        return rearrange(self.net(feature), "... (A K) -> ... A K", K=len(self.bins))  # *batch A K


class QPair(nn.Module, ABC):
    """Two action values, of which the smaller one is used.

    A policy exploits overestimated actions, and two networks rarely overestimate the same ones.

    Reference: Fujimoto, van Hoof and Meger, 2018 (TD3), clipped double Q-learning.
    """

    first: ActionValue
    second: ActionValue

    def loss(
        self,
        feature: Float[Tensor, "*batch F"],
        action: Float[Tensor, "*batch A"],
        returns: Float[Tensor, "*batch"],
    ) -> Float[Tensor, "*batch"]:
        """The sum of both losses."""
        first = self.first.loss(feature, action, returns)  # *batch
        return first + self.second.loss(feature, action, returns)  # *batch

    @abstractmethod
    def value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """The smaller value of the policy's actions, differentiable in the policy."""

    @abstractmethod
    def mode_value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """The same without sampling noise."""


class ContinuousQPair(QPair):
    """The smaller value of a continuous action, estimated from one sample of the policy."""

    def __init__(self, feature_dim: int, action_dim: int, hidden: int, layers: int, scale: float):
        super().__init__()
        self.first = ContinuousValue(feature_dim, action_dim, hidden, layers, scale)
        self.second = ContinuousValue(feature_dim, action_dim, hidden, layers, scale)

    def value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """See ``QPair.value``; one reparameterised sample."""
        return self._smaller(feature, policy.sample())  # *batch

    def mode_value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """The value of the policy's mode."""
        return self._smaller(feature, policy.mode())  # *batch

    def _smaller(self, feature: Tensor, action: Tensor) -> Tensor:
        return torch.minimum(self.first(feature, action), self.second(feature, action))  # *batch


class DiscreteQPair(QPair):
    """The exact expectation over all choices under the policy: nothing is sampled.

    Reference: Christodoulou, 2019 (SAC for discrete actions).
    """

    def __init__(self, feature_dim: int, action_dim: int, hidden: int, layers: int):
        super().__init__()
        self.first = DiscreteValue(feature_dim, action_dim, hidden, layers)
        self.second = DiscreteValue(feature_dim, action_dim, hidden, layers)

    def value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        assert isinstance(policy, OneHotStraightThrough)
        smaller = torch.minimum(self.first(feature), self.second(feature))  # *batch A
        return (policy.probs * smaller).sum(-1)  # *batch

    def mode_value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """``value``, which has no noise."""
        return self.value(policy, feature)  # *batch


class DoubleQ(nn.Module):
    """A pair of action values, and the moving average of both that targets bootstrap from.

    Args:
        feature_dim: F.
        action_space: what an action is.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        tau: share of the new weights in the target after every update.
        scale: of continuous actions' returns, see ``ContinuousValue``.

    Attributes:
        heads: the pair that learns.
        target: its moving average.
    """

    def __init__(
        self,
        feature_dim: int,
        action_space: ActionSpace,
        hidden: int,
        layers: int,
        tau: float,
        scale: float,
    ):
        super().__init__()
        check_tau(tau)
        self.tau = tau
        self.heads = _pair(feature_dim, action_space, hidden, layers, scale)
        self.target = copy.deepcopy(self.heads).requires_grad_(False)

    def update_target(self) -> None:
        """Moves the target a little towards the heads."""
        update_target(self.target, self.heads, self.tau)


def _pair(
    feature_dim: int, action_space: ActionSpace, hidden: int, layers: int, scale: float
) -> QPair:
    if action_space.discrete:
        return DiscreteQPair(feature_dim, action_space.dim, hidden, layers)
    return ContinuousQPair(feature_dim, action_space.dim, hidden, layers, scale)
