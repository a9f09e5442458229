"""Random changes of training frames that leave their meaning as it is."""

import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor


def randomly_shifted(obs: UInt8[Tensor, "B T C h w"], shift: int) -> UInt8[Tensor, "B T C h w"]:
    """Each sequence moved by up to ``shift`` pixels both ways; its borders are repeated.

    Reference: Yarats, Kostrikov and Fergus, 2021 (DrQ).
    """
    if shift == 0:
        return obs
    height, width = obs.shape[-2:]
    moves = torch.randint(-shift, shift + 1, (len(obs), 2), device=obs.device)
    rows = (torch.arange(height, device=obs.device) + moves[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=obs.device) + moves[:, 1:]).clamp(0, width - 1)
    sequence = torch.arange(len(obs), device=obs.device)[:, None, None]
    # Indices on both sides of a slice put their axes first.
    moved = obs[sequence, :, :, rows[:, :, None], columns[:, None, :]]
    return rearrange(moved, "B h w T C -> B T C h w").contiguous()
