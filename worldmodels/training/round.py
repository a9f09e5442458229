"""One round: collect, update, validate, evaluate, show, log, checkpoint.

One Lightning epoch is one round. All randomness of a round follows from (seed, round), and a
checkpoint is written between two rounds, so a run that was killed anywhere and resumed repeats its
unfinished round exactly.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import lightning as L
import numpy as np
import torch
from torch import nn

from worldmodels.agent import Agent
from worldmodels.envs.base import PixelEnv
from worldmodels.evaluation.returns import evaluate_returns
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.collect import RandomAgent, collect_episodes
from worldmodels.replay.datamodule import ReplayDataModule
from worldmodels.replay.files import move_into_place
from worldmodels.training.metrics import Metrics
from worldmodels.training.module import WorldModelModule
from worldmodels.training.panels import draw_panel, show, takes_pictures
from worldmodels.training.progress import Progress
from worldmodels.training.run import RunFolder
from worldmodels.training.settings import Collect, Evaluate, Panels
from worldmodels.world_model import WorldModel

PIXEL_FRAMES = 4096
"""Frames that the pixel scaling is fitted to."""


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


@dataclass(eq=False)
class Round(L.Callback):
    """What happens around the updates of a round; ``steps`` is the whole of it.

    Attributes:
        run: the run's folder.
        env: where to collect and evaluate; None offline.
        buffer: where episodes go.
        data: makes the batches of the updates.
        metrics: where everything is logged.
        progress: the line that a person reads.
        save_model: writes the ``model/`` folder, so that a run can be looked at while it goes on.
        seed: of everything.
        checkpoint_every: rounds between checkpoints.
        collect: see ``settings.Collect``.
        evaluate: see ``settings.Evaluate``.
        panels: see ``settings.Panels``.
        fits_pixels: whether the first data sets the pixel scaling; a frozen model has its own.
    """

    run: RunFolder
    env: PixelEnv | None
    buffer: ReplayBuffer
    data: ReplayDataModule
    metrics: Metrics
    progress: Progress
    save_model: Callable[[], None]
    seed: int
    checkpoint_every: int
    collect: Collect
    evaluate: Evaluate
    panels: Panels
    fits_pixels: bool

    def steps(self, trainer: L.Trainer, module: WorldModelModule) -> Iterator[None]:
        """One round from top to bottom; Lightning makes the updates at the ``yield``."""
        round, leads = trainer.current_epoch, trainer.is_global_zero
        last = round + 1 == trainer.max_epochs

        if self.env is not None:
            if leads:
                self._collect(trainer, module, self.env, round)
            trainer.strategy.barrier()
            self.buffer.store.refresh()
            self.buffer.refresh()
        if module.update == 0 and self.fits_pixels:
            self._fit_pixels(module)
        # From here on all noise follows from (seed, process, round).
        torch.manual_seed(mixed_seed(self.seed, 1, trainer.global_rank, round))
        self._validate(trainer, module, round)

        yield  # the updates

        self.metrics.flush(trainer, module)
        if self.env is not None and leads and _due(self.evaluate.every, round, last):
            self._evaluate(trainer, module, self.env)
        if leads and _due(self.panels.every, round, last):
            self._show_dream(trainer, module)
        if leads:
            self.progress.print(module)
        if _due(self.checkpoint_every, round, last):
            self._checkpoint(trainer, module, round)

    def on_train_epoch_start(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """The first half of the round."""
        self._running = self.steps(trainer, module)
        next(self._running)

    def on_train_epoch_end(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """The second half of the round."""
        next(self._running, None)

    def _collect(
        self, trainer: L.Trainer, module: WorldModelModule, env: PixelEnv, round: int
    ) -> None:
        """Records whole episodes until the replay ratio holds: random ones first."""
        store, agent = self.buffer.store, module.agent
        batches = module.update * module.optimiser.accumulate * trainer.world_size
        replayed = batches * self.data.batch_size * self.data.batch_length
        wanted = self.collect.prefill + replayed / self.collect.replay_ratio
        with self.metrics.clock.spent("env"), evaluating(module):
            while store.steps < self.collect.prefill:
                random = RandomAgent(env.action_space)
                self._record(trainer, module, env, random, "random", round)
            while store.steps < wanted:
                self._record(trainer, module, env, agent, agent.actor.name, round)

    def _record(
        self,
        trainer: L.Trainer,
        module: WorldModelModule,
        env: PixelEnv,
        agent: Agent | RandomAgent,
        policy: str,
        round: int,
    ) -> None:
        episodes = collect_episodes(
            env,
            agent,
            self.collect.episodes or env.num_envs,
            seed=mixed_seed(self.seed, 2, self.buffer.store.episodes),
            explore=True,
            policy=policy,
            round=round,
            on_episode=self.buffer.append,
        )
        returns = [float(episode.reward.sum()) for episode in episodes]
        lengths = [len(episode.reward) - 1 for episode in episodes]
        values = {"collect/return": np.mean(returns), "collect/length": np.mean(lengths)}
        self.metrics.write(trainer, module, {name: float(v) for name, v in values.items()})

    def _fit_pixels(self, module: WorldModelModule) -> None:
        """Adapts the pixel scaling to the first data, once, before the first update."""
        batch = self.buffer.sample(PIXEL_FRAMES // 16, 16, seed=(0,))
        module.world_model.pixels.fit(batch.obs.flatten(0, 1).to(module.device))

    @torch.no_grad()
    def _validate(self, trainer: L.Trainer, module: WorldModelModule, round: int) -> None:
        """Shows a behaviour that asks for it a batch of held-out episodes, where there are any."""
        behaviour, model = module.agent.behaviour, module.world_model
        if behaviour is None or not (behaviour.validates and module.behaviour_learns):
            return
        if not self.buffer.held_out_episodes or not isinstance(model, WorldModel):
            return
        seed = mixed_seed(self.seed, 4, round)
        batch = self.buffer.sample_held_out(self.data.batch_size, self.data.batch_length, seed)
        with evaluating(module):
            answers = behaviour.validate(model, batch.to(module.device))
        values = {f"held_out/{name}": float(value) for name, value in answers.items()}
        self.metrics.write(trainer, module, values)

    def _evaluate(self, trainer: L.Trainer, module: WorldModelModule, env: PixelEnv) -> None:
        """Plays the same episodes without exploration."""
        with self.metrics.clock.spent("evaluate"), evaluating(module):
            result = evaluate_returns(
                module.agent, env, self.evaluate.episodes, mixed_seed(self.seed, 3)
            )
        interval = result.interval._asdict()
        values = {f"eval/return_{name}": value for name, value in interval.items()}
        self.metrics.write(trainer, module, values)

    def _show_dream(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """Sends the loggers that take pictures a dream of the newest episode."""
        shown = [logger for logger in trainer.loggers if takes_pictures(logger)]
        if not shown:
            return
        with self.metrics.clock.spent("log"), evaluating(module):
            panel = draw_panel(module, self.buffer.store, self.run.media, self.panels)
            for logger in shown if panel is not None else ():
                show(logger, panel, self.metrics.step())

    def _checkpoint(self, trainer: L.Trainer, module: WorldModelModule, round: int) -> None:
        """Writes a complete checkpoint: all of it or none of it."""
        target = self.run.checkpoints / f"update-{module.update:09d}.ckpt"
        temporary = target.with_suffix(".tmp")
        trainer.save_checkpoint(temporary, weights_only=False)
        if trainer.is_global_zero:
            move_into_place(temporary, target)
            about = {
                "update": module.update,
                "round": round + 1,
                "episodes": self.buffer.store.episodes,
                "metrics_bytes": self.run.metrics.stat().st_size,
            }
            self.save_model()
            self.run.write_csv()
            # Last: a run that is killed before repeats its round, and writes all of this again.
            self.run.complete(target, about)


def _due(every: int, round: int, last: bool) -> bool:
    """Every ``every`` rounds (0: never), and after the last."""
    return bool(every) and ((round + 1) % every == 0 or last)
