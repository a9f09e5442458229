"""Representation without a decoder or negatives: decorrelated features that predict the frame."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from worldmodels.checks import check_at_least
from worldmodels.losses.base import LatentModel, LossTerm, Observed, embed_std, precise, standardize
from worldmodels.nn.blocks import initialise
from worldmodels.types import Batch


class RedundancyReduction(LossTerm):
    """Each entry of the frame's embedding is predicted, and by nothing that predicts another.

    With C the correlations between the entries of a linear projection of the feature and those of
    the embedding, over all rows and steps of the batch, the loss is::

        sum_i (1 - C_ii)^2 + off_diagonal * sum_{i != j} C_ij^2

    The embedding is a fixed target: the encoder learns through the posterior alone. A constant
    latent correlates with nothing and costs E, the largest loss on the diagonal, so collapse does
    not pay. The metric ``correlation`` is the mean of C_ii: 1 when features tell all of the
    embedding, 0 when they tell nothing.

    Args:
        weight: of the sum.
        off_diagonal: weight of the redundancy, lambda in the paper.

    Raises:
        ValueError: when a number is negative.

    Reference: Zbontar et al., 2021 (Barlow Twins), equations 1 and 2; R2-Dreamer, 2026
    (arXiv 2603.18202), for features against embeddings, both weights and the fixed target.
    """

    projection: nn.Linear

    def __init__(self, weight: float = 0.05, off_diagonal: float = 5e-4):
        super().__init__()
        check_at_least("RedundancyReduction", 0, weight=weight, off_diagonal=off_diagonal)
        self.weights = {"redundancy": weight}
        self.off_diagonal = off_diagonal

    def setup(self, model: LatentModel) -> None:
        """Makes the projection."""
        # Without a bias: the correlation subtracts every mean.
        sizes = model.dynamics.feature_dim, model.encoder.embed_dim
        self.projection = nn.Linear(*sizes, bias=False)
        initialise(self.projection)

    def forward(
        self, model: LatentModel, batch: Batch, observed: Observed
    ) -> dict[str, Float[Tensor, "B T"]]:
        """``redundancy``, and the metrics ``correlation`` and ``embed_std``."""
        feature, embed = observed.feature, observed.embed.detach()
        with torch.autocast(feature.device.type, enabled=False):
            predicted = self.projection(precise(feature))  # B T E
            loss, correlation = self.redundancy(
                rearrange(predicted, "B T E -> (B T) E"),
                rearrange(precise(embed), "B T E -> (B T) E"),
            )
        parts = {
            "redundancy": loss,
            "correlation": correlation.detach(),
            "embed_std": embed_std(embed),
        }
        return {name: part.expand_as(batch.reward) for name, part in parts.items()}

    def redundancy(
        self, predicted: Float[Tensor, "N E"], embed: Float[Tensor, "N E"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """The loss above, and the mean correlation on the diagonal."""
        correlations = standardize(predicted).mT @ standardize(embed) / len(embed)  # E E
        diagonal = correlations.diagonal()  # E
        off_diagonal = correlations.square().sum() - diagonal.square().sum()
        invariance = (1 - diagonal).square().sum()
        return invariance + self.off_diagonal * off_diagonal, diagonal.mean()
