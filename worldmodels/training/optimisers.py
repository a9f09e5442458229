"""LaProp, the optimiser of DreamerV3, with adaptive gradient clipping."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from worldmodels.checks import check_above, check_share

# Torch's functions over lists of tensors have private names.
# pyright: reportPrivateImportUsage=false


class LaProp(torch.optim.Optimizer):
    """Clips each tensor's gradient by its weights' norm, divides by its RMS, then averages.

    With g the clipped gradient of update t, and both averages corrected for their start at 0::

        v = beta2 v + (1 - beta2) g^2
        m = beta1 m + (1 - beta1) g / (sqrt(v / (1 - beta2^t)) + eps)
        weights -= lr m / (1 - beta1^t)

    Adam averages gradients and divides then; here each gradient is divided by the RMS of its own
    time, so that momentum cannot blow up when the RMS falls. There is no weight decay.

    Args:
        params: tensors or groups of them.
        lr: learning rate.
        agc: the largest norm of a tensor's gradient, as a share of the norm of its weights; None
            clips nothing.
        min_norm: weights of a smaller norm count as this one, so that zeros can learn.
        betas: of the momentum and of the mean square.
        eps: added to the RMS.

    Raises:
        ValueError: when a number is out of its range.

    Reference: Ziyin et al., 2020 (LaProp), algorithm 1; Brock et al., 2021 (adaptive gradient
    clipping); Hafner et al., 2025 (DreamerV3, Nature).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 4e-5,
        agc: float | None = 0.3,
        min_norm: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-20,
    ):
        check_above("LaProp", 0, min_norm=min_norm, eps=eps)
        check_share("LaProp", beta1=betas[0], beta2=betas[1])
        if agc is not None:
            check_above("LaProp", 0, agc=agc)
        options = {"lr": lr, "agc": agc, "min_norm": min_norm, "betas": betas, "eps": eps}
        super().__init__(params, options)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every tensor that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            learning = [tensor for tensor in group["params"] if tensor.grad is not None]
            if learning:
                self._update(learning, group)
        return loss

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        states = [self._state(tensor) for tensor in weights]
        squares = [state["square"] for state in states]
        momenta = [state["momentum"] for state in states]
        beta1, beta2 = group["betas"]
        gradients = _clipped(weights, group["agc"], group["min_norm"])

        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)
        rms = torch._foreach_div(squares, [1 - beta2 ** state["step"] for state in states])
        torch._foreach_sqrt_(rms)
        torch._foreach_add_(rms, group["eps"])
        torch._foreach_lerp_(momenta, torch._foreach_div(gradients, rms), 1 - beta1)
        rates = [-group["lr"] / (1 - beta1 ** state["step"]) for state in states]
        torch._foreach_add_(weights, torch._foreach_mul(momenta, rates))

    def _state(self, tensor: Tensor) -> dict[str, Any]:
        """The tensor's averages, and its updates with this one."""
        state = self.state[tensor]
        if not state:
            state.update(step=0, square=torch.zeros_like(tensor), momentum=torch.zeros_like(tensor))
        state["step"] += 1
        return state


def _clipped(weights: list[Tensor], agc: float | None, min_norm: float) -> list[Tensor]:
    """The gradients, each at most ``agc`` times as long as its tensor."""
    gradients = [tensor.grad for tensor in weights if tensor.grad is not None]
    if agc is None:
        return gradients
    limits = torch._foreach_norm(weights)
    torch._foreach_clamp_min_(limits, min_norm)
    torch._foreach_mul_(limits, agc)
    excess = torch._foreach_div(torch._foreach_norm(gradients), limits)
    torch._foreach_clamp_min_(excess, 1.0)
    return list(torch._foreach_div(gradients, excess))
