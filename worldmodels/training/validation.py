"""What a behaviour wants to know about episodes that nothing has learned from."""

import lightning as L
import torch

from worldmodels.agent import Agent
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.datamodule import ReplayDataModule
from worldmodels.training.callbacks import evaluating, mixed_seed
from worldmodels.training.metrics import Metrics
from worldmodels.training.module import WorldModelModule


class Validate(L.Callback):
    """Shows the behaviour a batch of held-out episodes at the start of a round, where it asks.

    Its answers are logged. As long as no episode is held out yet, there is nothing to show. Its
    noise follows from the round, so it belongs after ``RoundSeeds``.

    Args:
        agent: whose behaviour may ask.
        buffer: with a share of its episodes held out.
        data: whose batches these are like.
        metrics: where answers are logged.
        seed: of the sequences drawn.

    Raises:
        ValueError: when the behaviour asks and no episode is ever held out.
    """

    def __init__(
        self,
        agent: Agent,
        buffer: ReplayBuffer,
        data: ReplayDataModule,
        metrics: Metrics,
        seed: int,
    ):
        asks = agent.behaviour is not None and agent.behaviour.validates
        if asks and not buffer.held_out:
            raise ValueError(
                "this behaviour measures the model on held-out episodes: "
                "give --replay.held_out a share such as 0.1"
            )
        self.buffer, self.data, self.metrics, self.seed = buffer, data, metrics, seed

    @torch.no_grad()
    def on_train_epoch_start(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """Draws a batch, the same one for the same round."""
        behaviour = module.agent.behaviour
        if behaviour is None or not behaviour.validates or not self.buffer.held_out_episodes:
            return
        size, length = self.data.batch_size, self.data.batch_length
        seed = mixed_seed(self.seed, 4, trainer.current_epoch)
        batch = self.buffer.sample_held_out(size, length, seed).to(module.device)
        with evaluating(module):
            answers = behaviour.validate(module.world_model, batch)
        values = {f"held_out/{name}": float(value) for name, value in answers.items()}
        self.metrics.write(trainer, module, values)
