"""Policies: from a feature to a distribution of actions."""

import math
from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.nn.blocks import MLP, zero_init
from worldmodels.nn.distributions import OneHotStraightThrough, TanhNormal
from worldmodels.types import ActionSpace, Distribution

IMITATION_WEIGHT = 4.0
"""Weight of the mode's squared error relative to the likelihood of the spread."""


class ActorNetwork(nn.Module, ABC):
    """A stochastic policy. Its last layer starts at zero, so that it begins without preference."""

    @abstractmethod
    def forward(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        """The distribution of actions."""

    @abstractmethod
    def imitation_loss(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        """The loss of imitating given actions in given states."""


class ContinuousActor(ActorNetwork):
    """A tanh-normal that cannot saturate: its mean before the tanh is 2 tanh(m / 2).

    A saturated actor stops learning, because the tanh's gradient vanishes at its ends.

    Args:
        feature_dim: F.
        action_dim: A.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        mean_bound: the largest mean before the tanh.
        min_std: floor of the standard deviation before the tanh.
    """

    def __init__(
        self,
        feature_dim: int,
        action_dim: int,
        hidden: int,
        layers: int,
        mean_bound: float = 2.0,
        min_std: float = 0.1,
    ):
        super().__init__()
        self.mean_bound, self.min_std = mean_bound, min_std
        self.net = MLP(feature_dim, 2 * action_dim, hidden, layers)
        zero_init(self.net.output)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> TanhNormal:
        # Under mixed precision too: bfloat16 has too few digits near the tanh's ends.
        raw = self.net(feature).float()  # *batch 2A
        return TanhNormal.from_raw(raw, self.min_std, self.mean_bound)

    def imitation_loss(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        """Squared error of the mode, plus the negative log-likelihood with the mean held fixed.

        A likelihood alone divides the mean's error by its variance: the mean would learn least
        where the teacher's labels vary most. Actions are clamped to the range that the mean can
        reach, because planners often choose the bounds, where a tanh-normal's density is infinite.

        Reference: Seitzer et al., 2022 (pitfalls of heteroscedastic uncertainty estimation).
        """
        reach = math.tanh(self.mean_bound)
        action = action.clamp(-reach, reach)  # *batch A
        policy = self(feature)
        error = (policy.mode() - action).square().sum(-1)  # *batch
        spread = TanhNormal(policy.normal.mean.detach(), policy.normal.std)
        return IMITATION_WEIGHT * error - spread.log_prob(action)  # *batch


class DiscreteActor(ActorNetwork):
    """A categorical distribution mixed with a share of the uniform one.

    Args:
        feature_dim: F.
        action_dim: A.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        unimix: share of the uniform distribution, so that every choice keeps a probability.

    Reference: Hafner et al., 2023 (DreamerV3), section on the actor (unimix).
    """

    def __init__(
        self, feature_dim: int, action_dim: int, hidden: int, layers: int, unimix: float = 0.01
    ):
        super().__init__()
        self.unimix = unimix
        self.net = MLP(feature_dim, action_dim, hidden, layers)
        zero_init(self.net.output)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> OneHotStraightThrough:
        logits = self.net(feature).float()  # *batch A
        return OneHotStraightThrough(logits, self.unimix)

    def imitation_loss(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy against the choices."""
        return -self(feature).log_prob(action)  # *batch


def make_actor(
    feature_dim: int, action_space: ActionSpace, hidden: int, layers: int, min_std: float = 0.1
) -> ActorNetwork:
    """The actor for an action space: ``DiscreteActor``, or ``ContinuousActor`` with ``min_std``."""
    if action_space.discrete:
        return DiscreteActor(feature_dim, action_space.dim, hidden, layers)
    return ContinuousActor(feature_dim, action_space.dim, hidden, layers, min_std=min_std)
