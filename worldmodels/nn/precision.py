"""Which number format a device plans in, and what stays exact under mixed precision."""

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor

# Rows times width squared: with less to multiply, casts cost more than the products save.
LEAST_WORK = 2_500_000


def planning_precision(device: torch.device, rows: int, width: int) -> AbstractContextManager:
    """Bfloat16 products where they are faster, float32 everywhere else.

    They are on processors that multiply bfloat16 natively, once products are large enough to pay
    for the casts. Returns only rank candidates; `worldmodels bench plan` shows how far the returns
    of both formats' plans differ.

    Args:
        device: that plans.
        rows: of the states that are imagined at once.
        width: of a state's feature.
    """
    if device.type == "cpu" and rows * width**2 >= LEAST_WORK and has_bfloat16_units():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; others emulate it, slowly."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def precise(x: Float[Tensor, "*batch X"]) -> Float[Tensor, "*batch X"]:
    """At least float32, whatever autocast made of ``x``: logits and correlations need it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
