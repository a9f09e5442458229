"""Returns of imagined rollouts: lambda-returns, the weight of each step, and their scale.

Indices of a rollout of H steps, as in ``Trajectory``: state k is left by action k for state
k + 1, where ``reward[k]`` and ``discount[k]`` belong. The discount is gamma times the probability
that the task goes on at state k + 1: a terminal state has discount 0, a time limit is not
terminal and keeps gamma.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn


def lambda_returns(
    reward: Float[Tensor, "N H"],
    discount: Float[Tensor, "N H"],
    value: Float[Tensor, "N H"],
    lambda_: float | Float[Tensor, "N H"],
) -> Float[Tensor, "N H"]:
    """The return from each of the states 0..H-1, a mix of n-step returns.

    ``R[k] = reward[k] + discount[k] ((1 - lambda_) value[k] + lambda_ R[k + 1])``, where the last
    ``R[k + 1]`` is ``value[k]``.

    Args:
        reward: on arrival at states 1..H.
        discount: of what comes after states 1..H.
        value: of states 1..H.
        lambda_: lambda; 0 trusts the next state's value alone, 1 only the last one's. One for
            every step cuts a sequence: at 0 the return ends with the next state's value.

    Reference: Hafner et al., 2023 (DreamerV3), equation 7; Sutton and Barto, 2018, equation 12.2.
    """
    known = reward + (1 - lambda_) * discount * value  # N H
    kept = lambda_ * discount  # N H
    following, returns = value[:, -1], []  # N
    for k in reversed(range(reward.shape[1])):
        following = known[:, k] + kept[:, k] * following  # N
        returns.append(following)
    return torch.stack(returns[::-1], 1)  # N H


def step_weights(
    discount: Float[Tensor, "N H"], continues: Float[Tensor, " N"]
) -> Float[Tensor, "N H"]:
    """The weight of each of the states 0..H-1: the discounted probability that it is reached.

    A rollout from a terminal state (``continues`` 0) cannot happen: its weight is 0. The weights
    carry no gradient: an actor must not learn to end episodes that are not rewarding.
    """
    reached = torch.cat([continues[:, None], discount[:, :-1]], 1)  # N H
    return reached.cumprod(1).detach()  # N H


class ReturnScale(nn.Module):
    """The range of returns, 5th to 95th percentile, as a moving average.

    Dividing by it makes one entropy coefficient fit every task. It is never below ``floor``, so
    that noise is not amplified where rewards are sparse.

    Args:
        rate: of the moving average.
        floor: the least scale.
        debias: the first returns are taken as they are; else the average begins at 0.

    Reference: Hafner et al., 2023 (DreamerV3), equations 11 and 12.
    """

    low: Tensor
    high: Tensor
    started: Tensor

    def __init__(self, rate: float = 0.01, floor: float = 1.0, debias: bool = True):
        super().__init__()
        self.rate, self.floor, self.debias = rate, floor, debias
        # Buffers, so that a checkpoint holds them.
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def update(self, returns: Float[Tensor, "N H"]) -> None:
        """Moves the averages towards the percentiles of ``returns``."""
        numbers = returns.detach().flatten().to(self.low.dtype)  # N*H
        shares = torch.tensor([0.05, 0.95], dtype=numbers.dtype, device=numbers.device)  # 2
        low, high = numbers.quantile(shares)  # scalars
        rate = torch.where(self.started, self.rate, 1.0) if self.debias else self.rate
        self.low.lerp_(low, rate)
        self.high.lerp_(high, rate)
        self.started.fill_(True)

    def forward(self) -> Float[Tensor, ""]:
        """The scale to divide returns and advantages by."""
        return (self.high - self.low).clamp(min=self.floor)
