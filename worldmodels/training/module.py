"""One update: the losses of an agent's parts, their gradients, one step of the optimiser."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch
from jaxtyping import Float, UInt8
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from worldmodels.agent import Agent
from worldmodels.behaviours.base import ParameterGroup
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.training.optimisers import LaProp
from worldmodels.training.overlap import Overlap
from worldmodels.training.settings import Optimiser
from worldmodels.types import Batch, Losses, State
from worldmodels.world_model import LatentModel


class Autoencoder(nn.Module):
    """Stage one of the two-stage route: the world model's encoder with a decoder of embeddings.

    Reference: Ha & Schmidhuber, 2018 (World Models), section 2.1, without the variational part.
    """

    def __init__(self, world_model: LatentModel):
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
    """Trains an agent's world model and, where it has one, its behaviour.

    Parts whose parameters are frozen (``requires_grad_(False)``) are kept as they are. No gradient
    crosses between world model and behaviour, so one optimiser with a group of parameters for each
    part equals one optimiser for each.

    Args:
        agent: whose world model and behaviour learn.
        updates: of the whole run.
        optimiser: see ``Optimiser``.
        autoencoder_updates: two-stage training: for this many updates the encoder learns as an
            autoencoder, then it is frozen and the dynamics learn over its embeddings. With 0 all
            parts learn jointly.
        overlap: on a CPU with two threads or more the behaviour imagines and learns while the
            gradients of the world model are computed; the numbers are the same.

    Attributes:
        update: optimiser steps so far.

    Raises:
        ValueError: when nothing would learn.
    """

    def __init__(
        self,
        agent: Agent,
        updates: int,
        optimiser: Optimiser = Optimiser(),
        autoencoder_updates: int = 0,
        overlap: bool = True,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.agent, self.updates, self.optimiser = agent, updates, optimiser
        self.model_learns = _learns(agent.world_model)
        self.behaviour_learns = agent.behaviour is not None and _learns(agent.behaviour)
        if not self.model_learns and not self.behaviour_learns:
            raise ValueError(
                "the world model is frozen: give --behaviour, so that something else learns"
            )
        if autoencoder_updates and not _learns(agent.world_model.encoder):
            raise ValueError(
                f"autoencoder_updates={autoencoder_updates}: the encoder is frozen and cannot "
                "learn as an autoencoder: give 0"
            )
        self.autoencoder_updates = autoencoder_updates
        self.autoencoder = Autoencoder(agent.world_model) if autoencoder_updates else None
        self.overlap = Overlap() if overlap else None
        self.update = 0

    @property
    def world_model(self) -> LatentModel:
        """The agent's latent model."""
        return self.agent.world_model

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One update, from a batch to the metrics that are logged."""
        batch, share = Batch(*batch), 1 / self.optimiser.accumulate

        # The loss of the world model on replayed sequences, and the states that it infers.
        losses, posterior = self._world_model_loss(batch)

        # The loss of the behaviour, which imagines from these states, and the gradients of both.
        if self.overlap is not None and self._independent(losses):
            learned = self.overlap(
                lambda: self._backward(share * losses.total),
                lambda: self._behaviour_backward(batch, posterior, share),
            )
        else:
            learned = self._behaviour_loss(batch, posterior)
            self._backward(share * (losses.total + learned.total))
        loss = (losses.total + learned.total).detach()
        metrics = {"loss": loss, **losses.metrics, **learned.metrics}
        if (batch_idx + 1) % self.optimiser.accumulate:
            return metrics

        # One step of the optimiser for every part; then moving averages follow.
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        for group in self.parameter_groups():
            if self.optimiser.gradient_clip is not None:
                nn.utils.clip_grad_norm_(group.parameters, self.optimiser.gradient_clip)
        for options in optimizer.param_groups:
            options["lr"] = options["initial_lr"] * self._warmup() * self._cooldown()
        optimizer.step()
        optimizer.zero_grad()
        if self.model_learns:
            self.world_model.update_target()
        if self.agent.behaviour is not None and self.behaviour_learns:
            self.agent.behaviour.update_target()
        self.update += 1
        return metrics

    def _world_model_loss(self, batch: Batch) -> tuple[Losses, State | None]:
        if self.pretrains:
            assert self.autoencoder is not None
            return self.autoencoder.loss(batch), None
        if self.model_learns:
            return self.world_model.loss(batch)
        with torch.no_grad():
            observed = self.world_model.observe(batch.obs, batch.action, batch.is_first)
        return NOTHING, observed.posterior

    def _behaviour_loss(self, batch: Batch, posterior: State | None) -> Losses:
        behaviour = self.agent.behaviour
        if behaviour is None or posterior is None or not self.behaviour_learns:
            return NOTHING
        return behaviour.loss(self.world_model, batch, posterior)

    def _backward(self, loss: Float[Tensor, ""]) -> None:
        # Lightning holds autocast over the whole step. A backward pass repeats the precisions of
        # its forward pass by itself; under autocast it would round those that are kept exact.
        with torch.autocast(self.device.type, enabled=False):
            self.manual_backward(loss)

    def _behaviour_backward(self, batch: Batch, posterior: State | None, share: float) -> Losses:
        # Autocast is a setting of each thread.
        with self.trainer.precision_plugin.forward_context():
            learned = self._behaviour_loss(batch, posterior)
        (share * learned.total).backward()
        return Losses(learned.total.detach(), learned.metrics)

    def _independent(self, losses: Losses) -> bool:
        """Whether the gradients of world model and behaviour can be computed side by side."""
        alone = self.trainer.world_size == 1 and self.device.type == "cpu"
        assert self.overlap is not None
        both = self.behaviour_learns and not self.pretrains and losses.total.requires_grad
        return alone and both and self.overlap.possible

    @property
    def pretrains(self) -> bool:
        """Whether the encoder learns as an autoencoder at this update."""
        return self.update < self.autoencoder_updates

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Freezes the encoder when stage one is over."""
        if self.autoencoder is not None:
            self.world_model.encoder.requires_grad_(self.pretrains)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW in its fused form, or LaProp. The weights of products decay; all else does not.

        Reference: Hafner et al., 2023 (DreamerV3), released code (decay of kernels alone).
        """
        groups = []
        for part in self.parameter_groups():
            for decay, parameters in _by_decay(part.parameters, self.optimiser.weight_decay):
                rate = part.learning_rate
                groups.append(
                    {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
                )
        if self.optimiser.name == "laprop":
            return LaProp(groups, agc=self.optimiser.agc)
        return torch.optim.AdamW(groups, fused=True)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The world model (with the autoencoder's decoder), then the behaviour's parts."""
        groups = []
        if self.model_learns:
            parts = [self.world_model, *([] if self.autoencoder is None else [self.autoencoder])]
            # The autoencoder holds the same encoder: each parameter once.
            own = dict.fromkeys(parameter for part in parts for parameter in part.parameters())
            groups.append(ParameterGroup(list(own), self.optimiser.learning_rate))
        if self.agent.behaviour is not None and self.behaviour_learns:
            groups += self.agent.behaviour.parameter_groups()
        return groups

    def _warmup(self) -> float:
        """The share of its learning rate that every part has yet."""
        return min(1.0, self.update / self.optimiser.warmup) if self.optimiser.warmup else 1.0

    def _cooldown(self) -> float:
        """The share of its learning rate that every part has left."""
        share = self.optimiser.cooldown
        return min(1.0, (self.updates - self.update) / (share * self.updates)) if share else 1.0

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the counter."""
        checkpoint["update"] = self.update

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restores the counter.

        Raises:
            ValueError: when the checkpoint is of another model.
        """
        own, saved = (_shapes(weights) for weights in (self.state_dict(), checkpoint["state_dict"]))
        for name in sorted(own.keys() | saved.keys()):
            if own.get(name) != saved.get(name):
                raise ValueError(
                    f"the checkpoint is of another model ({name}: {saved.get(name)} there, "
                    f"{own.get(name)} here): resume with the options of its config.yaml"
                )
        self.update = checkpoint["update"]


NOTHING = Losses(torch.zeros(()), {})
"""The loss of a part that does not learn."""


def _learns(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


def _by_decay(
    parameters: list[nn.Parameter], decay: float
) -> Iterator[tuple[float, list[nn.Parameter]]]:
    """Matrices and kernels with their decay, then all else with none."""
    kernels = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() < 2]
    yield from ((d, group) for d, group in ((decay, kernels), (0.0, others)) if group)


def _shapes(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}
