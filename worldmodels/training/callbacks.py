"""What happens around the updates: seeds, collection, evaluation, checkpoints.

One Lightning epoch is one round: collect, update, evaluate, checkpoint. All randomness of a round
follows from (seed, round), and a checkpoint is written between two rounds, so a run that was
killed anywhere and resumed repeats its unfinished round exactly.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import lightning as L
import numpy as np
import torch
from torch import nn

from worldmodels.agent import Agent
from worldmodels.envs.base import PixelEnv
from worldmodels.evaluation import evaluate_returns
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.collect import RandomAgent, collect_episodes
from worldmodels.training.metrics import Metrics, write_csv
from worldmodels.training.module import WorldModelModule
from worldmodels.training.run import RunFolder


def mixed_seed(*numbers: int) -> int:
    """One seed from several numbers; different numbers give unrelated seeds."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


class RoundSeeds(L.Callback):
    """Seeds torch anew at the start of every round, per process."""

    def __init__(self, seed: int):
        self.seed = seed

    def on_train_epoch_start(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """From here on all noise follows from (seed, process, round)."""
        torch.manual_seed(mixed_seed(self.seed, 1, trainer.global_rank, trainer.current_epoch))


class FitPixels(L.Callback):
    """Adapts the pixel scaling to the first data, once, before the first update."""

    def __init__(self, buffer: ReplayBuffer, frames: int = 4096):
        self.buffer, self.frames = buffer, frames

    def on_train_epoch_start(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """Fits on frames drawn from the buffer, unless the model is a finished one."""
        if module.update == 0 and module.model_learns:
            batch = self.buffer.sample(self.frames // 16, 16, seed=(0,))
            pixels = module.world_model.pixels
            pixels.fit(batch.obs.flatten(0, 1).to(module.device))


class Collect(L.Callback):
    """Records whole episodes at the start of a round: first random ones, then the agent's.

    Args:
        env: where to act.
        buffer: where episodes go.
        metrics: where returns are logged.
        seed: of the environment and the agent's noise.
        prefill: steps by a random agent before the first update.
        updates_per_step: updates per environment step (of the whole run).
        episodes: collected at a time; a multiple of the number of environments is fastest.
    """

    def __init__(
        self,
        env: PixelEnv,
        buffer: ReplayBuffer,
        metrics: Metrics,
        seed: int,
        prefill: int = 1000,
        updates_per_step: float = 0.5,
        episodes: int = 1,
    ):
        for name, value in {"prefill": prefill, "updates_per_step": updates_per_step}.items():
            if value <= 0:
                raise ValueError(f"collect.{name}={value}: choose a number above 0")
        self.env, self.buffer = env, buffer
        self.metrics, self.seed = metrics, seed
        self.prefill, self.updates_per_step = prefill, updates_per_step
        self.episodes = episodes

    def on_train_epoch_start(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """Collects until the replay ratio holds."""
        store = self.buffer.store
        if trainer.is_global_zero:
            with self.metrics.clock.spent("env"), evaluating(module):
                while store.steps < self.prefill:
                    self._record(trainer, module, RandomAgent(self.env.action_space), "random")
                while store.steps < self.prefill + module.update / self.updates_per_step:
                    self._record(trainer, module, module.agent, module.agent.acting.name)
        trainer.strategy.barrier()
        store.refresh()
        self.buffer.refresh()

    def _record(
        self, trainer: L.Trainer, module: WorldModelModule, agent: Agent | RandomAgent, policy: str
    ) -> None:
        count = self.buffer.store.episodes
        episodes = collect_episodes(
            self.env,
            agent,
            self.episodes,
            seed=mixed_seed(self.seed, 2, count),
            explore=True,
            policy=policy,
            round=trainer.current_epoch,
            on_episode=self.buffer.append,
        )
        returns = [float(episode.reward.sum()) for episode in episodes]
        values = {
            "collect/return": float(np.mean(returns)),
            "collect/length": float(np.mean([len(e.reward) - 1 for e in episodes])),
        }
        self.metrics.write(trainer, module, values)


class Evaluate(L.Callback):
    """Plays episodes without exploration at the end of a round.

    Args:
        env: where to play.
        metrics: where the result is logged.
        seed: the episodes are the same at every evaluation.
        episodes: how many.
        every: rounds between evaluations (0: never).
    """

    def __init__(
        self,
        env: PixelEnv,
        metrics: Metrics,
        seed: int,
        episodes: int = 10,
        every: int = 5,
    ):
        self.env, self.metrics = env, metrics
        self.seed, self.episodes, self.every = seed, episodes, every

    def on_train_epoch_end(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """Every ``every`` rounds, and after the last."""
        done = trainer.current_epoch + 1
        due = self.every and (done % self.every == 0 or done == trainer.max_epochs)
        if due and trainer.is_global_zero:
            with self.metrics.clock.spent("evaluate"), evaluating(module):
                result = evaluate_returns(
                    module.agent, self.env, self.episodes, mixed_seed(self.seed, 3)
                )
            interval = result.interval
            values = {"mean": interval.mean, "low": interval.low, "high": interval.high}
            self.metrics.write(
                trainer, module, {f"eval/return_{name}": value for name, value in values.items()}
            )


class Checkpoint(L.Callback):
    """Writes a complete checkpoint between two rounds: all of it or none of it.

    Args:
        run: the run folder.
        buffer: its cursor belongs to the checkpoint.
        save_model: writes the ``model/`` folder, so that a run can be looked at while it goes on.
        every: rounds between checkpoints.
    """

    def __init__(
        self,
        run: RunFolder,
        buffer: ReplayBuffer,
        save_model: Callable[[], None],
        every: int = 1,
    ):
        self.run, self.buffer, self.every = run, buffer, every
        self.save_model = save_model

    def on_train_epoch_end(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """Writes under a temporary name, renames, then sets the marker."""
        done = trainer.current_epoch + 1
        if done % self.every and done != trainer.max_epochs:
            return
        target = self.run.checkpoints / f"update-{module.update:09d}.ckpt"
        temporary = target.with_suffix(".tmp")
        trainer.save_checkpoint(temporary, weights_only=False)
        if trainer.is_global_zero:
            os.replace(temporary, target)
            about = {
                "update": module.update,
                "round": done,
                "episodes": self.buffer.store.episodes,
                "metrics_bytes": self.run.metrics.stat().st_size,
            }
            self.run.complete(target, about)
            self.save_model()
            write_csv(self.run.metrics)
