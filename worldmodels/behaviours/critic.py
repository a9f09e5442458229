"""The critic: a two-hot value and its slowly moving target."""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.nn.heads import TwoHotHead


class Critic(nn.Module):
    """Predicts returns by classification over symlog-spaced bins.

    Args:
        feature_dim: F.
        hidden: width of the hidden layers.
        layers: number of hidden layers.
        tau: share of the new weights in the target after every update.

    Attributes:
        head: what learns.
        target: its moving average. Returns bootstrap from it, so that the regression target does
            not move with every update.

    Reference: Hafner et al., 2023 (DreamerV3), section on the critic.
    """

    def __init__(self, feature_dim: int, hidden: int, layers: int, tau: float):
        super().__init__()
        check_tau(tau)
        self.tau = tau
        self.head = TwoHotHead(feature_dim, hidden, layers)
        self.target = copy.deepcopy(self.head).requires_grad_(False)

    def forward(self, feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
        """The expected return."""
        return self.head(feature)  # *batch

    def loss(
        self, feature: Float[Tensor, "*batch F"], returns: Float[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """Cross-entropy against the returns; no gradient reaches features or returns."""
        return self.head.loss(feature.detach(), returns.detach())  # *batch

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
