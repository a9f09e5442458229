"""The Lightning module of the world model: optimiser and counters, no algorithm."""

from typing import Any

import lightning as L
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from worldmodels.agent import Agent
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.types import Batch, Losses
from worldmodels.world_model import WorldModel


class Autoencoder(nn.Module):
    """Stage one of the two-stage route: the world model's encoder with a decoder of embeddings.

    Reference: Ha & Schmidhuber, 2018 (World Models), section 2.1, without the variational part.
    """

    def __init__(self, world_model: WorldModel):
        super().__init__()
        self.pixels, self.encoder = world_model.pixels, world_model.encoder
        self.decoder = ConvDecoder(self.encoder.embed_dim, world_model.obs_shape)

    def forward(self, obs: UInt8[Tensor, "*batch C h w"]) -> Float[Tensor, "*batch C h w"]:
        """The reconstruction, in the encoder's scale."""
        return self.decoder(self.encoder(self.pixels(obs)))

    def loss(self, batch: Batch) -> Losses:
        """Squared error summed over a frame's pixels."""
        error = (self(batch.obs).float() - self.pixels(batch.obs)).square().sum((-1, -2, -3))
        return Losses(error.mean(), {"loss/autoencoder": error.detach().mean()})


class WorldModelModule(L.LightningModule):
    """Trains an agent's world model.

    Args:
        agent: whose world model learns; the callbacks let it act.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        autoencoder_updates: two-stage training: for this many updates the encoder learns as an
            autoencoder, then it is frozen and the dynamics learn over its embeddings. With 0 all
            parts learn jointly.

    Attributes:
        update: optimiser steps so far (Lightning's own counter counts every optimiser's steps).
    """

    def __init__(
        self,
        agent: Agent,
        learning_rate: float = 6e-4,
        weight_decay: float = 0.0,
        autoencoder_updates: int = 0,
    ):
        super().__init__()
        if learning_rate <= 0:
            raise ValueError(f"learning_rate={learning_rate}: choose a number above 0")
        self.agent = agent
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.autoencoder_updates = autoencoder_updates
        self.autoencoder = Autoencoder(agent.world_model) if autoencoder_updates else None
        self.update = 0

    @property
    def world_model(self) -> WorldModel:
        """The part that learns."""
        return self.agent.world_model

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One loss; Lightning does the rest."""
        batch = Batch(*batch)
        if self.autoencoder is not None and self.update < self.autoencoder_updates:
            losses = self.autoencoder.loss(batch)
        else:
            losses, _ = self.world_model.loss(batch)
        return {"loss": losses.total, "metrics": losses.metrics}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Freezes the encoder when stage one is over."""
        if self.autoencoder is not None:
            learns = self.update < self.autoencoder_updates
            self.world_model.encoder.requires_grad_(learns)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Counts updates: with gradient accumulation several batches make one."""
        super().optimizer_step(*args, **kwargs)
        self.update += 1

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips the norm ourselves: Lightning refuses to under bfloat16 with a fused optimiser.

        Its reason (the optimiser unscales gradients) holds for float16 alone.
        """
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW in its fused form."""
        return torch.optim.AdamW(
            self.parameters(), self.learning_rate, weight_decay=self.weight_decay, fused=True
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the counter."""
        checkpoint["update"] = self.update

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the counter."""
        self.update = checkpoint["update"]
