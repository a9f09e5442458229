"""Values of actions in states.

Choices are valued by classification over symlog-spaced bins, as ``Critic`` values states.
Real-valued actions learn from the slope of their value, which bins give too roughly: there the
squared error rules.
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
    """Q(s, a): the return after an action."""

    @abstractmethod
    def loss(
        self,
        feature: Float[Tensor, "*batch F"],
        action: Float[Tensor, "*batch A"],
        returns: Float[Tensor, "*batch"],
    ) -> Float[Tensor, "*batch"]:
        """How wrong the taken actions' values are about the returns."""


class ContinuousValue(ActionValue):
    """Reads the action beside the feature.

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
        return self.scale * self.head(torch.cat([feature, action], -1))

    def loss(
        self,
        feature: Float[Tensor, "*batch F"],
        action: Float[Tensor, "*batch A"],
        returns: Float[Tensor, "*batch"],
    ) -> Float[Tensor, "*batch"]:
        """Half the squared error, in units of the scale."""
        return self.head.loss(torch.cat([feature, action], -1), returns / self.scale)


class DiscreteValue(ActionValue):
    """Answers for every choice at once.

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
        return TwoHot(self._logits(feature), self.bins).mean()

    def loss(
        self,
        feature: Float[Tensor, "*batch F"],
        action: Float[Tensor, "*batch A"],
        returns: Float[Tensor, "*batch"],
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy of the choice's bins against the return."""
        chosen = (action[..., None] * self._logits(feature)).sum(-2)
        return -TwoHot(chosen, self.bins).log_prob(returns)

    def _logits(self, feature: Tensor) -> Tensor:
        return rearrange(self.net(feature), "... (A K) -> ... A K", K=len(self.bins))


class QPair(nn.Module, ABC):
    """Two action values of which the lesser one is believed.

    A policy seeks out what is overrated; two networks rarely overrate the same.

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
        one = self.first.loss(feature, action, returns)
        return one + self.second.loss(feature, action, returns)

    @abstractmethod
    def value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """The lesser value of what a policy does, with its gradient to the policy."""

    @abstractmethod
    def mode_value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """``value`` without noise."""


class ContinuousQPair(QPair):
    """The value of one sampled action."""

    def __init__(self, feature_dim: int, action_dim: int, hidden: int, layers: int, scale: float):
        super().__init__()
        self.first = ContinuousValue(feature_dim, action_dim, hidden, layers, scale)
        self.second = ContinuousValue(feature_dim, action_dim, hidden, layers, scale)

    def value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """See ``QPair.value``; one reparameterised sample."""
        return self._least(feature, policy.sample())

    def mode_value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """The value of the policy's mode."""
        return self._least(feature, policy.mode())

    def _least(self, feature: Tensor, action: Tensor) -> Tensor:
        return torch.minimum(self.first(feature, action), self.second(feature, action))


class DiscreteQPair(QPair):
    """The value of all choices, each by its probability: nothing is sampled.

    Reference: Christodoulou, 2019 (SAC for discrete actions).
    """

    def __init__(self, feature_dim: int, action_dim: int, hidden: int, layers: int):
        super().__init__()
        self.first = DiscreteValue(feature_dim, action_dim, hidden, layers)
        self.second = DiscreteValue(feature_dim, action_dim, hidden, layers)

    def value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """See ``QPair.value``; exact."""
        assert isinstance(policy, OneHotStraightThrough)
        least = torch.minimum(self.first(feature), self.second(feature))
        return (policy.probs * least).sum(-1)

    def mode_value(
        self, policy: Distribution, feature: Float[Tensor, "*batch F"]
    ) -> Float[Tensor, "*batch"]:
        """The value itself: it has no noise."""
        return self.value(policy, feature)


class DoubleQ(nn.Module):
    """A pair of action values and its slowly moving target.

    Args:
        feature_dim: F.
        action_space: what an action is.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        tau: share of the new weights in the target after every update.
        scale: of real-valued actions' returns, see ``ContinuousValue``.

    Attributes:
        heads: what learns.
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
        if scale <= 0:
            raise ValueError(f"value_scale={scale}: choose a number above 0")
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
