"""Heads that read a latent feature: reward, value and continuation."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.nn.blocks import MLP, LayerNorm, Norm
from worldmodels.nn.distributions import Bernoulli, TwoHot, symexp_bins


class Head(nn.Module, ABC):
    """A scalar prediction from a feature.

    Subclasses take ``feature_dim`` first, everything else has a default. An untrained head answers
    0 (a continue head: 0.5), because by default its last layer starts at zero.
    """

    @abstractmethod
    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The expected value."""

    @abstractmethod
    def loss(
        self, feature: Float[Tensor, "*batch F"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Negative log-likelihood of each target."""


class GaussianRewardHead(Head):
    """A normal of unit variance: regression by half the squared error (the constant left out).

    Args:
        feature_dim: F.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        norm: of the hidden layers: ``LayerNorm`` or ``RMSNorm``.
    """

    def __init__(
        self,
        feature_dim: int,
        hidden: int = 256,
        layers: int = 2,
        norm: Callable[[int], Norm] = LayerNorm,
    ):
        super().__init__()
        self.net = MLP(feature_dim, 1, hidden, layers, norm=norm, outscale=0.0)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The mean."""
        return self.net(feature)[..., 0]  # *batch

    def loss(
        self, feature: Float[Tensor, "*batch F"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Half the squared error."""
        return 0.5 * (self(feature) - target).square()


class TwoHotHead(Head):
    """Classification over symexp-spaced bins: robust to the scale of rewards and returns.

    Args:
        feature_dim: F.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        bins: odd number of bins (41 is cheaper and enough where targets stay small).
        limit: symlog of the largest bin.
        norm: of the hidden layers: ``LayerNorm`` or ``RMSNorm``.

    Reference: Hafner et al., 2023 (DreamerV3), equations 9 and 10.
    """

    bins: Tensor

    def __init__(
        self,
        feature_dim: int,
        hidden: int = 256,
        layers: int = 2,
        bins: int = 255,
        limit: float = 20.0,
        norm: Callable[[int], Norm] = LayerNorm,
    ):
        super().__init__()
        self.net = MLP(feature_dim, bins, hidden, layers, norm=norm, outscale=0.0)
        self.register_buffer("bins", symexp_bins(bins, limit))

    def distribution(self, feature: Float[Tensor, "*batch F"]) -> TwoHot:
        """The whole prediction."""
        return TwoHot(self.net(feature), self.bins)  # logits *batch K

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The expected value."""
        return self.distribution(feature).mean()

    def loss(
        self, feature: Float[Tensor, "*batch F"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy against the two-hot target."""
        return -self.distribution(feature).log_prob(target)


class ContinueHead(Head):
    """The probability that the episode goes on (1 - terminal).

    Args:
        feature_dim: F.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        norm: of the hidden layers: ``LayerNorm`` or ``RMSNorm``.
        outscale: factor on the last layer's initial weights; with 0 an untrained head answers 0.5.
    """

    def __init__(
        self,
        feature_dim: int,
        hidden: int = 256,
        layers: int = 2,
        norm: Callable[[int], Norm] = LayerNorm,
        outscale: float = 0.0,
    ):
        super().__init__()
        self.net = MLP(feature_dim, 1, hidden, layers, norm=norm, outscale=outscale)

    def distribution(self, feature: Float[Tensor, "*batch F"]) -> Bernoulli:
        """The whole prediction."""
        return Bernoulli(self.net(feature)[..., 0])  # logit *batch

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The probability to continue."""
        return self.distribution(feature).mean()

    def loss(
        self, feature: Float[Tensor, "*batch F"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy; a target may lie between 0 and 1."""
        return -self.distribution(feature).log_prob(target)


class NeverEnds(Head):
    """In place of a continue head where no state is terminal: always 1.

    Such worlds only run out of time, and a plan is cheaper without a head to ask.
    """

    def __init__(self, feature_dim: int):
        super().__init__()

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """One."""
        return torch.ones_like(feature[..., 0])

    def loss(
        self, feature: Float[Tensor, "*batch F"], target: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Nothing to learn."""
        return torch.zeros_like(feature[..., 0])
