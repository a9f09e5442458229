"""Representation without a decoder: a feature must recognise its own frame among all others."""

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.checks import check_above, check_at_least
from worldmodels.losses.base import LatentModel, LossTerm, Observed, embed_std, precise
from worldmodels.nn.blocks import initialise
from worldmodels.types import Batch


class InfoNCE(LossTerm):
    """Cross-entropy of picking the frame of a feature among all frames of the batch.

    Feature and embedding are projected and compared by their cosine; the positive is the same row
    and step, the negatives are all others::

        -log( exp(cos(f_n, e_n) / temperature) / sum_m exp(cos(f_n, e_m) / temperature) )

    Both sides learn, since negatives make collapse the worst answer: a constant latent costs
    log(B T) and finds its frame no more often than chance. Two metrics show it: ``found``, the
    share of features whose own frame scores best, and ``information``, the lower bound in nats
    log(B T) - loss on what features tell about frames. Frames that look alike cannot be told
    apart, so a world at rest has a loss above 0.

    Args:
        weight: of the cross-entropy.
        temperature: of the cosines; lower ones look at the most similar negatives only.
        dim: size of both projections.

    Raises:
        ValueError: when a number is out of its range.

    Reference: van den Oord et al., 2018 (CPC), equation 4; Hafner et al., 2020 (Dreamer), section 4
    and appendix B, for features against the frames of the batch; Chen et al., 2020 (SimCLR), for
    cosines and temperature.
    """

    of_feature: nn.Linear
    of_embed: nn.Linear

    def __init__(self, weight: float = 1.0, temperature: float = 0.1, dim: int = 128):
        super().__init__()
        check_at_least("InfoNCE", 0, weight=weight)
        check_above("InfoNCE", 0, temperature=temperature)
        check_at_least("InfoNCE", 1, dim=dim)
        self.weights = {"contrastive": weight}
        self.temperature, self.dim = temperature, dim

    def setup(self, model: LatentModel) -> None:
        """Makes both projections."""
        self.of_feature = nn.Linear(model.dynamics.feature_dim, self.dim)
        self.of_embed = nn.Linear(model.encoder.embed_dim, self.dim)
        initialise(self)

    def forward(
        self, model: LatentModel, batch: Batch, observed: Observed
    ) -> dict[str, Float[Tensor, "B T"]]:
        """``contrastive``, and the metrics ``information``, ``found`` and ``embed_std``."""
        feature, embed = observed.feature, observed.embed
        with torch.autocast(feature.device.type, enabled=False):
            features = rearrange(self.of_feature(precise(feature)), "B T D -> (B T) D")
            embeds = rearrange(self.of_embed(precise(embed)), "B T D -> (B T) D")
            logits = self.similarity(features, embeds)  # N N, N = B T
            own = torch.arange(len(logits), device=logits.device)  # N
            loss = F.cross_entropy(logits, own, reduction="none").view_as(batch.reward)  # B T
        return {
            "contrastive": loss,
            "information": math.log(len(logits)) - loss.detach(),
            "found": (logits.argmax(-1) == own).to(loss.dtype).view_as(loss),
            "embed_std": embed_std(embed).expand_as(loss),
        }

    def similarity(
        self, features: Float[Tensor, "N D"], embeds: Float[Tensor, "N D"]
    ) -> Float[Tensor, "N N"]:
        """Cosines of every feature with every embedding, over the temperature."""
        return F.normalize(features, dim=-1) @ F.normalize(embeds, dim=-1).mT / self.temperature
