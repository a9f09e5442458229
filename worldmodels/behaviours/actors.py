"""Policies: from a feature to a distribution of actions."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.nn.blocks import MLP, LayerNorm, Norm
from worldmodels.nn.distributions import DiagonalGaussian, OneHotStraightThrough, TanhNormal
from worldmodels.nn.precision import precise
from worldmodels.types import ActionSpace, Distribution

IMITATION_WEIGHT = 4.0
"""Weight of the mode's squared error relative to the likelihood of the spread."""


class ActorNetwork(nn.Module, ABC):
    """A stochastic policy.

    Subclasses take ``(feature_dim, action_dim, hidden, layers, norm, outscale)`` first. By default
    the last layer starts at zero, so that a policy begins without preference.
    """

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
        norm: of the hidden layers.
        outscale: factor on the last layer's initial weights.
        mean_bound: the largest mean before the tanh.
        min_std: floor of the standard deviation before the tanh.
    """

    def __init__(
        self,
        feature_dim: int,
        action_dim: int,
        hidden: int,
        layers: int,
        norm: Callable[[int], Norm] = LayerNorm,
        outscale: float = 0.0,
        mean_bound: float = 2.0,
        min_std: float = 0.1,
    ):
        super().__init__()
        self.mean_bound, self.min_std = mean_bound, min_std
        self.net = MLP(feature_dim, 2 * action_dim, hidden, layers, norm=norm, outscale=outscale)

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
        spread = TanhNormal(policy.normal.mean.detach(), policy.normal.std)
        return _imitation(policy.mode(), spread, action)  # *batch


class BoundedNormalActor(ActorNetwork):
    """A normal whose mean is in (-1, 1) and whose standard deviation is in (0.1, 1).

    Samples are not squashed: they leave [-1, 1], the environment clips them, and the entropy is the
    normal's own. The dynamics must read them as what they do, as ``BlockRSSM`` does.

    Args:
        feature_dim: F.
        action_dim: A.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        norm: of the hidden layers.
        outscale: factor on the last layer's initial weights.
        min_std: the least standard deviation.
        max_std: the largest one.

    Reference: Hafner et al., 2025 (DreamerV3, Nature), released code.
    """

    def __init__(
        self,
        feature_dim: int,
        action_dim: int,
        hidden: int,
        layers: int,
        norm: Callable[[int], Norm] = LayerNorm,
        outscale: float = 0.0,
        min_std: float = 0.1,
        max_std: float = 1.0,
    ):
        super().__init__()
        if not 0 < min_std < max_std:
            raise ValueError(
                f"BoundedNormalActor: min_std={min_std}, max_std={max_std}: choose "
                "0 < min_std < max_std"
            )
        self.min_std, self.max_std = min_std, max_std
        self.net = MLP(feature_dim, 2 * action_dim, hidden, layers, norm=norm, outscale=outscale)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> DiagonalGaussian:
        mean, std = precise(self.net(feature)).chunk(2, -1)  # *batch A each
        share = torch.sigmoid(std + 2)  # *batch A
        return DiagonalGaussian(mean.tanh(), self.min_std + (self.max_std - self.min_std) * share)

    def imitation_loss(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        """Squared error of the mean, plus the negative log-likelihood with the mean held fixed.

        Reference: Seitzer et al., 2022 (pitfalls of heteroscedastic uncertainty estimation).
        """
        policy = self(feature)
        spread = DiagonalGaussian(policy.mean.detach(), policy.std)
        return _imitation(policy.mean, spread, action)  # *batch


def _imitation(
    mode: Float[Tensor, "*batch A"], spread: Distribution, action: Float[Tensor, "*batch A"]
) -> Float[Tensor, "*batch"]:
    error = (mode - action).square().sum(-1)  # *batch
    return IMITATION_WEIGHT * error - spread.log_prob(action)  # *batch


class DiscreteActor(ActorNetwork):
    """A categorical distribution mixed with a share of the uniform one.

    Args:
        feature_dim: F.
        action_dim: A.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        norm: of the hidden layers.
        outscale: factor on the last layer's initial weights.
        unimix: share of the uniform distribution, so that every choice keeps a probability.

    Reference: Hafner et al., 2023 (DreamerV3), section on the actor (unimix).
    """

    def __init__(
        self,
        feature_dim: int,
        action_dim: int,
        hidden: int,
        layers: int,
        norm: Callable[[int], Norm] = LayerNorm,
        outscale: float = 0.0,
        unimix: float = 0.01,
    ):
        super().__init__()
        self.unimix = unimix
        self.net = MLP(feature_dim, action_dim, hidden, layers, norm=norm, outscale=outscale)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> OneHotStraightThrough:
        logits = self.net(feature).float()  # *batch A
        return OneHotStraightThrough(logits, self.unimix)

    def imitation_loss(
        self, feature: Float[Tensor, "*batch F"], action: Float[Tensor, "*batch A"]
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy against the choices."""
        return -self(feature).log_prob(action)  # *batch


ActorFactory = Callable[[int, int, int, int, Callable[[int], Norm], float], ActorNetwork]
"""An actor's class: ``(feature_dim, action_dim, hidden, layers, norm, outscale)`` to an actor."""


def make_actor(
    feature_dim: int,
    action_space: ActionSpace,
    hidden: int,
    layers: int,
    continuous: ActorFactory = ContinuousActor,
    norm: Callable[[int], Norm] = LayerNorm,
    outscale: float = 0.0,
) -> ActorNetwork:
    """The actor for an action space: ``continuous``, or ``DiscreteActor`` for discrete actions."""
    chosen = DiscreteActor if action_space.discrete else continuous
    return chosen(feature_dim, action_space.dim, hidden, layers, norm, outscale)
