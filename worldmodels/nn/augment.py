"""Random changes of training frames that leave their meaning as it is."""

import torch
from einops import rearrange
from jaxtyping import Shaped
from torch import Tensor


def randomly_shifted(image: Shaped[Tensor, "B T C h w"], shift: int) -> Shaped[Tensor, "B T C h w"]:
    """Each sequence moved by up to ``shift`` pixels both ways; its borders are repeated.

    To be used on scaled frames: a mean image that is subtracted later would not move along.

    Reference: Yarats, Kostrikov and Fergus, 2021 (DrQ).
    """
    if shift == 0:
        return image
    height, width = image.shape[-2:]
    moves = torch.randint(-shift, shift + 1, (len(image), 2), device=image.device)
    rows = (torch.arange(height, device=image.device) + moves[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=image.device) + moves[:, 1:]).clamp(0, width - 1)
    source = rearrange(width * rows[:, :, None] + columns[:, None], "B h w -> B 1 (h w)")
    planes = rearrange(image, "B T C h w -> B (T C) (h w)")
    return planes.gather(2, source.expand_as(planes)).view(image.shape)
