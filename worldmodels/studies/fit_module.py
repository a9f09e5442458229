"""Supervised fits that are no agent: a module and its loss, through Lightning."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn


def fit_module(
    module: nn.Module,
    loss: Callable[[], Float[Tensor, ""]],
    updates: int,
    learning_rate: float,
) -> None:
    """Minimises ``loss`` by Adam.

    Args:
        module: whose parameters learn.
        loss: computed anew for every update.
        updates: optimiser steps.
        learning_rate: of Adam.
    """
    # Imported on use: Lightning takes seconds that studies without learning need not wait.
    import lightning as L

    class Fit(L.LightningModule):
        """One update: the loss."""

        def __init__(self):
            super().__init__()
            self.module = module

        def training_step(self, batch: int, batch_idx: int) -> Tensor:
            return loss()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(module.parameters(), learning_rate)

    # On the CPU, where the data of a loss lies that knows no device.
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Fit(), range(updates))
