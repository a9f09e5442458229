"""The decoder's loss: every frame is drawn from its latent."""

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.checks import check_at_least
from worldmodels.losses.base import LatentModel, LossTerm, Observed
from worldmodels.types import Batch


class Reconstruction(LossTerm):
    """Squared error of decoded frames, summed over a frame's pixels.

    The fraction of variance unexplained (FVU) is 1 where the decoder draws only the mean image,
    which says that latents carry nothing about the frames.

    Args:
        weight: of the squared error.
        fraction: share of the time steps that are decoded, drawn anew for every batch (an
            unbiased estimate).

    Raises:
        ValueError: when a number is out of its range.

    Reference: Hafner et al., 2019 (PlaNet), equation 3.
    """

    def __init__(self, weight: float = 1.0, fraction: float = 1.0):
        super().__init__()
        check_at_least("Reconstruction", 0, weight=weight)
        if not 0 < fraction <= 1:
            raise ValueError(
                f"Reconstruction: fraction={fraction}: choose a share above 0 and at most 1"
            )
        self.weights = {"image": weight}
        self.fraction = fraction

    def setup(self, model: LatentModel) -> None:
        """Refuses a model without a decoder."""
        if model.decoder is None:
            raise ValueError(
                "terms: Reconstruction needs a decoder, but decoder=None: give one, or take "
                "RedundancyReduction, InfoNCE or LatentConsistency in its place"
            )

    def forward(
        self, model: LatentModel, batch: Batch, observed: Observed
    ) -> dict[str, Float[Tensor, "B T"]]:
        """``image`` (0 where a frame is not decoded), and the metric ``image_fvu``."""
        feature, obs = observed.feature, batch.obs
        steps = obs.shape[1]
        count = max(1, round(self.fraction * steps))
        chosen = None
        if count < steps:
            chosen = torch.randperm(steps, device=obs.device)[:count]  # T' of the T steps
            feature, obs = feature[:, chosen], obs[:, chosen]  # B T' ...
        target = model.pixels(obs)  # B T' C h w
        error = model.decoder.squared_error(feature, target)  # B T'
        power = target.square().sum((-1, -2, -3)).mean()
        fvu = error.detach().mean() / power.clamp(min=1e-8)
        if chosen is not None:
            # Those that are decoded stand for the others.
            none = torch.zeros(batch.reward.shape, dtype=error.dtype, device=error.device)
            error = none.index_copy(1, chosen, steps / count * error)  # B T
        return {"image": error, "image_fvu": fvu.expand_as(error)}
