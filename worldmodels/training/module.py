"""The Lightning module of an agent's learned parts: optimiser and counters, no algorithm."""

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from worldmodels.agent import Agent
from worldmodels.behaviours.base import ParameterGroup
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.training.overlap import Together
from worldmodels.types import Batch, Losses, State
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
    """Trains an agent's world model and, where it has one, its behaviour.

    A world model whose parameters are all fixed is kept as it is: the behaviour learns in it alone.
    No gradient crosses between the two, so the sum of their losses and one AdamW with a group of
    parameters for each part equal one loss and one optimiser for each part.

    Args:
        agent: whose world model and behaviour learn; the callbacks let it act.
        learning_rate: of the world model (a behaviour brings its own).
        weight_decay: of AdamW, for every part.
        cooldown: over this share of a run's updates, its last ones, all learning rates fall
            linearly to zero: what the last batches would leave in the weights is averaged out.
        autoencoder_updates: two-stage training: for this many updates the encoder learns as an
            autoencoder, then it is frozen and the dynamics learn over its embeddings. With 0 all
            parts learn jointly.
        together: on a CPU with two threads or more the behaviour dreams and learns while the
            gradients of the world model are computed; the numbers are the same.

    Attributes:
        update: optimiser steps so far (Lightning's own counter counts every optimiser's steps).
    """

    def __init__(
        self,
        agent: Agent,
        learning_rate: float = 6e-4,
        weight_decay: float = 0.0,
        cooldown: float = 0.0,
        autoencoder_updates: int = 0,
        together: bool = True,
    ):
        super().__init__()
        if learning_rate <= 0:
            raise ValueError(f"learning_rate={learning_rate}: choose a number above 0")
        if not 0 <= cooldown <= 1:
            raise ValueError(f"cooldown={cooldown}: choose a share, 0 to 1")
        self.agent = agent
        if not self.model_learns and (agent.behaviour is None or autoencoder_updates):
            raise ValueError(
                "the world model is fixed: give --behaviour, and no autoencoder_updates, "
                "so that something else learns"
            )
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.cooldown = cooldown
        self.autoencoder_updates = autoencoder_updates
        self.autoencoder = Autoencoder(agent.world_model) if autoencoder_updates else None
        self.together = Together() if together else None
        self._dream: Callable[[], Losses] | None = None
        self._metrics: dict[str, Tensor] = {}
        self.update = 0

    @property
    def world_model(self) -> WorldModel:
        """What the agent dreams with."""
        return self.agent.world_model

    @property
    def model_learns(self) -> bool:
        """Whether anything of the world model is to be trained."""
        return any(parameter.requires_grad for parameter in self.world_model.parameters())

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """One loss; Lightning does the rest."""
        batch = Batch(*batch)
        if self.autoencoder is not None and self.update < self.autoencoder_updates:
            losses = self.autoencoder.loss(batch)
        else:
            losses = self._joint(batch)
        # What learns in ``backward`` adds its metrics to these.
        self._metrics = {"loss": losses.total.detach(), **losses.metrics}
        return {"loss": losses.total, "metrics": self._metrics}

    def _joint(self, batch: Batch) -> Losses:
        """The world model's loss, plus the behaviour's on the states that the model has seen."""
        if self.model_learns:
            losses, posterior = self.world_model.loss(batch)
        else:
            losses, posterior = self._seen(batch)
        if self.agent.behaviour is None:
            return losses
        dream = partial(self.agent.behaviour.loss, self.world_model, batch, posterior)
        if self._learns_together:
            self._dream = dream
            return losses
        learned = dream()
        return Losses(losses.total + learned.total, losses.metrics | learned.metrics)

    @property
    def _learns_together(self) -> bool:
        alone = self.trainer.world_size == 1 and self.device.type == "cpu"
        return alone and self.model_learns and self.together is not None and self.together.possible

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Gradients; where the behaviour has not dreamt yet, it does so meanwhile."""
        dream, self._dream = self._dream, None
        if dream is None:
            super().backward(loss, *args, **kwargs)
            return

        def behave() -> None:
            with self.trainer.precision_plugin.forward_context():
                learned = dream()
            self._metrics.update(
                learned.metrics, loss=self._metrics["loss"] + learned.total.detach()
            )
            # As Lightning divides the loss that it hands over.
            (learned.total / self.trainer.accumulate_grad_batches).backward()

        assert self.together is not None
        self.together(partial(super().backward, loss, *args, **kwargs), behave)

    @torch.no_grad()
    def _seen(self, batch: Batch) -> tuple[Losses, State]:
        seen = self.world_model.observe(batch.obs, batch.action, batch.is_first)
        return Losses(torch.zeros((), device=batch.obs.device), {}), seen.posterior

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Freezes the encoder when stage one is over."""
        if self.autoencoder is not None:
            learns = self.update < self.autoencoder_updates
            self.world_model.encoder.requires_grad_(learns)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Counts updates: with gradient accumulation several batches make one."""
        super().optimizer_step(*args, **kwargs)
        self.update += 1
        if self.agent.behaviour is not None:
            self.agent.behaviour.after_update()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips every part's norm; Lightning refuses to under bfloat16 with a fused optimiser.

        Its reason (the optimiser unscales gradients) holds for float16 alone.
        """
        for group in self._groups() if gradient_clip_val else ():
            nn.utils.clip_grad_norm_(group.parameters, gradient_clip_val)  # type: ignore[arg-type]

    def configure_optimizers(self) -> Any:
        """AdamW in its fused form, with a group for every part."""
        groups = [
            {"params": group.parameters, "lr": group.learning_rate} for group in self._groups()
        ]
        optimizer = torch.optim.AdamW(groups, weight_decay=self.weight_decay, fused=True)
        if not self.cooldown:
            return optimizer
        # Not the method itself: a schedule's checkpoint leaves out functions alone.
        rate = lambda update: self._rate(update)  # noqa: E731
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _rate(self, update: int) -> float:
        """The share of its learning rate that every part has left."""
        trainer = self.trainer
        batches = (trainer.max_epochs or 0) * int(trainer.limit_train_batches or 0)
        updates = batches / trainer.accumulate_grad_batches
        return min(1.0, (updates - update) / (self.cooldown * updates))

    def _groups(self) -> list[ParameterGroup]:
        parts = [
            self.world_model,
            *([] if self.autoencoder is None else [self.autoencoder.decoder]),
        ]
        simulator = [parameter for part in parts for parameter in part.parameters()]
        behaviour = self.agent.behaviour
        learned = [] if behaviour is None else behaviour.parameter_groups()
        own = [ParameterGroup(simulator, self.learning_rate)] if self.model_learns else []
        return [*own, *learned]

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


def _shapes(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in weights.items()}
