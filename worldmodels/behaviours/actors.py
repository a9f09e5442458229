"""Policies: from a feature to a distribution of actions."""

import math
from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.nn.blocks import MLP, zero_init
from worldmodels.nn.distributions import OneHotStraightThrough, TanhNormal
from worldmodels.types import ActionSpace, Distribution

IMITATION_WEIGHT = 4.0
"""Of a mode's squared error against its spread's likelihood."""


class Actor(nn.Module, ABC):
    """A stochastic policy. Untrained, it prefers nothing: its last layer starts at zero."""

    @abstractmethod
    def forward(self, feature: Float[Tensor, "*batch F"]) -> Distribution:
        """The distribution of actions."""

    @abstractmethod
    def imitation_loss(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        """How far this policy is from somebody else's actions."""


class ContinuousActor(Actor):
    """A tanh-normal, kept out of saturation: its mean before the tanh is 2 tanh(m / 2).

    Saturated actors settle on a false plateau: the tanh's gradient vanishes at its ends.

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
        """The distribution of actions."""
        # Under mixed precision too: bfloat16 has too few digits near the tanh's ends.
        raw = self.net(feature).float()
        return TanhNormal.from_raw(raw, self.min_std, self.mean_bound)

    def imitation_loss(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        """Squared error of the mode, and the negative log-likelihood that sets the spread about it.

        A likelihood alone weighs the mean's error by the inverse of its variance: it learns least
        where a teacher's answers scatter, and there an action decides most. Actions are moved
        inside the range that the mean can reach: planners love the bounds, where a tanh-normal's
        likelihood is without limit.

        Reference: Seitzer et al., 2022 (pitfalls of heteroscedastic uncertainty estimation).
        """
        reach = math.tanh(self.mean_bound)
        action = action.clamp(-reach, reach)
        policy = self(feature)
        error = (policy.mode() - action).square().sum(-1)
        spread = TanhNormal(policy.normal.mean.detach(), policy.normal.std)
        return IMITATION_WEIGHT * error - spread.log_prob(action)


class DiscreteActor(Actor):
    """A categorical with a share of the uniform distribution mixed in.

    Args:
        feature_dim: F.
        action_dim: A.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        unimix: share of the uniform distribution, so that no choice dies.

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
        """The distribution of actions."""
        return OneHotStraightThrough(self.net(feature).float(), self.unimix)

    def imitation_loss(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy against the choices."""
        return -self(feature).log_prob(action)


def make_actor(feature_dim: int, action_space: ActionSpace, hidden: int, layers: int) -> Actor:
    """The actor that fits an action space."""
    chosen = DiscreteActor if action_space.discrete else ContinuousActor
    return chosen(feature_dim, action_space.dim, hidden, layers)
