"""The contract of a term of the world model's loss, and arithmetic that several terms share."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from worldmodels.nn.precision import precise
from worldmodels.types import Batch, Configurable

LatentModel = Any
"""The model that is trained: the class of that name in ``world_model.py``, one floor above."""

Observed = Any
"""What the model made of the batch's frames: ``embed`` [B, T, E], the states ``posterior`` and
``prior`` (leading axes B T), and ``feature`` [B, T, F] of the posterior (``world_model.py``)."""


class LossTerm(nn.Module, Configurable, ABC):
    """One term of the world model's loss; owns the modules that only it needs.

    A term that could be minimised by a constant latent also returns a metric that shows it.

    Attributes:
        weights: of each named loss that ``forward`` returns. Names that it lacks are metrics,
            which are logged and not learned.
    """

    weights: dict[str, float]

    def setup(self, model: LatentModel) -> None:
        """Makes what depends on the model's sizes; called once, by the model's constructor.

        Raises:
            ValueError: when the model lacks a part that the term needs.
        """
        # Most terms own nothing, so this is no abstract method.
        del model

    @abstractmethod
    def forward(
        self, model: LatentModel, batch: Batch, observed: Observed
    ) -> dict[str, Float[Tensor, "B T"]]:
        """Losses and metrics by name, of every row and time step.

        A statistic of the whole batch is expanded over rows and steps: its mean is the statistic.
        """

    def update_target(self) -> None:
        """Called after every optimiser step: moving averages follow; most terms have none."""
        return


def standardize(x: Float[Tensor, "N X"], eps: float = 1e-5) -> Float[Tensor, "N X"]:
    """Zero mean and unit variance of every column, as a batch norm without parameters.

    Columns whose standard deviation is far below ``sqrt(eps)`` stay near 0.
    """
    variance, mean = torch.var_mean(x, 0, correction=0)  # X
    return (x - mean) * torch.rsqrt(variance + eps)


def embed_std(embed: Float[Tensor, "*batch E"]) -> Float[Tensor, ""]:
    """How much embeddings differ within a batch: 0 when every frame is embedded alike.

    The mean standard deviation of the entries of embeddings scaled to length ``sqrt(E)``: at most
    1. Features are no measure of this: the noise of a stochastic latent varies also when the
    latent says nothing.

    Reference: Chen and He, 2021 (SimSiam), section 4.1.
    """
    rows = precise(embed.detach()).flatten(0, -2)  # N E
    unit = F.normalize(rows, dim=-1) * rows.shape[-1] ** 0.5  # N E
    return unit.std(0, correction=0).mean()
