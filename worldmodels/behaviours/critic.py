"""The critic: a two-hot value and its slowly moving target."""

import copy
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.behaviours.base import detached
from worldmodels.checks import check_at_least
from worldmodels.nn.blocks import LayerNorm, Norm
from worldmodels.nn.heads import TwoHotHead


class Critic(nn.Module):
    """Predicts returns by classification over symlog-spaced bins.

    Args:
        feature_dim: F.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        tau: share of the new weights in the target after every update.
        norm: of the hidden layers.
        bootstrap: which critic returns and baselines read: ``slow``, the target, or ``fast``, what
            learns.
        slow_regularizer: weight of the cross-entropy against the target's mean.

    Attributes:
        head: what learns.
        target: its moving average. The regression target does not move with every update where
            returns bootstrap from it. Where they bootstrap from the head, which is ahead of it, the
            regularizer holds the head near.

    Raises:
        ValueError: when an option is out of its range.

    Reference: Hafner et al., 2023 (DreamerV3), section on the critic; 2025 (Nature) bootstraps from
    the fast one.
    """

    def __init__(
        self,
        feature_dim: int,
        hidden: int,
        layers: int,
        tau: float,
        norm: Callable[[int], Norm] = LayerNorm,
        bootstrap: Literal["slow", "fast"] = "slow",
        slow_regularizer: float = 0.0,
    ):
        super().__init__()
        check_tau(tau)
        check_at_least("Critic", 0, slow_regularizer=slow_regularizer)
        if bootstrap not in ("slow", "fast"):
            raise ValueError(f"Critic: bootstrap={bootstrap!r}: choose slow or fast")
        self.tau, self.bootstrap, self.slow_regularizer = tau, bootstrap, slow_regularizer
        self.head = TwoHotHead(feature_dim, hidden, layers, norm=norm)
        self.target = copy.deepcopy(self.head).requires_grad_(False)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The expected return."""
        return self.head(feature)  # *batch

    def bootstrapped(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The value that returns and baselines read; no gradient reaches the critic."""
        critic = self.target if self.bootstrap == "slow" else detached(self.head)
        return critic(feature)  # *batch

    def loss(
        self, feature: Float[Tensor, "*batch F"], returns: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy against the returns, and against the target where that regularizes.

        No gradient reaches features, returns or the target.
        """
        feature, returns = feature.detach(), returns.detach()
        if not self.slow_regularizer:
            return self.head.loss(feature, returns)  # *batch
        # The head is asked once for both.
        prediction, slow = self.head.distribution(feature), self.target(feature)
        return -prediction.log_prob(returns) - self.slow_regularizer * prediction.log_prob(slow)

    def update_target(self) -> None:
        """Moves the target a little towards the head, unless that is frozen."""
        if next(self.head.parameters()).requires_grad:
            update_target(self.target, self.head, self.tau)


@torch.no_grad()
def update_target(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Moves the weights of ``target`` towards those of ``online`` by the share ``tau``."""
    for slow, fast in zip(target.parameters(), online.parameters(), strict=True):
        slow.lerp_(fast, tau)


def check_tau(tau: float) -> None:
    """Refuses a rate outside (0, 1].

    Raises:
        ValueError: naming the option.
    """
    if not 0 < tau <= 1:
        raise ValueError(f"tau={tau}: choose a share above 0 and at most 1")
