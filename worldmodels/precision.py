"""Which number format a device plans in."""

from contextlib import AbstractContextManager, nullcontext

import torch


def planning_precision(device: torch.device) -> AbstractContextManager:
    """Bfloat16 products on processors that multiply it natively, float32 everywhere else.

    Thousands of candidates make products large enough to pay for the casts. Returns only rank
    candidates; `worldmodels bench plan` shows how far the returns of both formats' plans differ.
    """
    if device.type == "cpu" and has_bfloat16_units():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


def has_bfloat16_units() -> bool:
    """Whether this processor multiplies bfloat16 in hardware; others emulate it, slowly."""
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
