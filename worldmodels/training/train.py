"""`train`: collect (or open a data set), learn, evaluate, save."""

import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import yaml
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from worldmodels.agent import Agent
from worldmodels.checkpoint import (
    describe_agent,
    load_pretrained_critic,
    load_pretrained_world_model,
    save_agent,
)
from worldmodels.checks import check_at_least
from worldmodels.envs.base import PixelEnv
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.datamodule import ReplayDataModule
from worldmodels.replay.files import write_text
from worldmodels.replay.store import DatasetSpec, EpisodeStore
from worldmodels.training.loggers import open_loggers
from worldmodels.training.metrics import Clock, JsonlLogger, Metrics
from worldmodels.training.module import WorldModelModule
from worldmodels.training.progress import Progress
from worldmodels.training.round import Round
from worldmodels.training.run import Run, RunFolder
from worldmodels.training.settings import (
    Batches,
    Collect,
    Evaluate,
    Optimiser,
    Panels,
    Replay,
    Trainer,
)
from worldmodels.types import describe


def train(
    agent: Agent,
    env: PixelEnv | None = None,
    *,
    data: Path | str | None = None,
    name: str = "run",
    out: Path | str = "runs",
    resume: bool = False,
    seed: int = 0,
    updates: int = 10_000,
    round_updates: int = 100,
    checkpoint_every: int = 1,
    log_every: int = 50,
    loggers: Sequence[str] = (),
    world_model: Path | str | None = None,
    only: Literal["decoder"] | None = None,
    freeze_critic: bool = False,
    autoencoder_updates: int = 0,
    overlap: bool = True,
    optimiser: Optimiser = Optimiser(),
    replay: Replay = Replay(),
    batches: Batches = Batches(),
    collect: Collect = Collect(),
    evaluate: Evaluate = Evaluate(),
    panels: Panels = Panels(),
    trainer: Trainer = Trainer(),
    callbacks: Sequence[L.Callback] = (),
) -> Run:
    """Trains an agent in an environment, or on recorded episodes alone.

    ``worldmodels fit`` has the same arguments as options, and the run's ``config.yaml`` holds them.

    Args:
        agent: what learns: its world model, and its behaviour where it has one.
        env: where to collect and evaluate.
        data: a data set to learn from instead; no environment is needed then.
        name: the run's folder is ``<out>/<name>``.
        out: folder of all runs.
        resume: continue from the last checkpoint, exactly.
        seed: of collection, batches, noise and evaluation.
        updates: optimiser steps in all, rounded up to whole rounds.
        round_updates: updates between two collections.
        checkpoint_every: rounds between checkpoints.
        log_every: updates between two log points.
        loggers: beside ``metrics.jsonl``: ``tensorboard``, ``wandb``.
        world_model: a run whose world model is loaded and frozen; the behaviour alone learns.
        only: ``decoder`` trains a new decoder alone, on the latents of the agent's frozen model, so
            that the dreams of a model without decoder can be seen.
        freeze_critic: also load and freeze the critic of that run's behaviour; the policy alone
            learns.
        autoencoder_updates: two-stage training: for this many updates the encoder learns as an
            autoencoder, then it is frozen.
        overlap: on a CPU, compute the gradients of world model and behaviour side by side.
        optimiser: learning rate, weight decay, cooldown, clipping.
        replay: memory, sampling, held-out episodes.
        batches: their size and length.
        collect: prefill and replay ratio.
        evaluate: episodes without exploration, and how often.
        panels: dreams for the loggers that take pictures.
        trainer: device, strategy, precision.
        callbacks: further Lightning callbacks; they run before the checkpoint of a round.

    Returns:
        The run: ``run.agent`` (in evaluation mode), ``run.metrics``, ``run.path``.

    Raises:
        FileExistsError: when the run exists and ``resume`` is not given.
        FileNotFoundError: when ``resume`` finds no checkpoint, or ``data`` is no data set.
        ValueError: when an argument does not fit.

    Example::

        run = wm.train(agent, env, updates=14_300, name="cart")
        print(run, wm.evaluate(run, episodes=20))
    """
    settings = {name: value for name, value in locals().items() if name not in _OBJECTS}
    counts = {"updates": updates, "round_updates": round_updates}
    check_at_least("train", 1, **counts, checkpoint_every=checkpoint_every)
    if (env is None) == (data is None):
        raise ValueError(
            "give an environment (--env.id) to learn online, or --data to learn from recorded "
            "episodes"
        )
    if freeze_critic and world_model is None:
        raise ValueError("freeze_critic keeps the critic of --world_model RUN: give that, too")
    if agent.behaviour is not None and agent.behaviour.validates and not replay.held_out:
        raise ValueError(
            "this behaviour measures the model on held-out episodes: "
            "give --replay.held_out a share such as 0.1"
        )
    if world_model is not None and only is None:
        load_pretrained_world_model(world_model, agent.world_model)
        if freeze_critic:
            load_pretrained_critic(world_model, agent.behaviour)
    if only is not None:
        agent.requires_grad_(False)
        agent.world_model.add_decoder()
    config = _config(agent, env, settings)
    round_updates = min(round_updates, updates)
    rounds = math.ceil(updates / round_updates)

    run, leads = RunFolder(Path(out) / name), getattr(rank_zero_only, "rank", 0) == 0
    marker = _begin(run, resume, leads)
    L.seed_everything(seed, verbose=False)
    store = _open_store(env, data, run, leads)
    try:
        _check_spaces(agent, store)
        buffer = ReplayBuffer(store, replay.capacity_bytes, replay.sampler, replay.held_out)
        loaded = round_updates * optimiser.accumulate
        loader = ReplayDataModule(buffer, loaded, seed, **asdict(batches))
        total = rounds * round_updates
        module = WorldModelModule(agent, total, optimiser, autoencoder_updates, overlap)
        clock, console = Clock(), Console()
        # Recorded episodes stay as many as they are: offline, progress is counted in updates.
        steps, update = (lambda: store.steps), (lambda: module.update)
        metrics = Metrics(clock, steps, update if env is None else steps, log_every)
        progress = Progress(metrics, total, console)
        shown = {"id": store.spec.env, "action_repeat": store.spec.action_repeat}
        shown |= store.spec.options if env is None or not env.arguments else env.arguments
        round = Round(
            run, env, buffer, loader, metrics, progress,
            lambda: save_agent(run.model, agent, shown), seed, checkpoint_every,
            collect, evaluate, panels, fits_pixels=world_model is None and only is None,
        )  # fmt: skip
        loop = _lightning(
            trainer, run, rounds, loaded, loggers, [metrics, *callbacks, progress, round]
        )
        facts = _Facts(loop, agent, module, store, clock)
        if marker is not None:
            buffer.load_state_dict({"episodes": marker["episodes"]})
        if leads:
            # The run exists from here on: a mistake above leaves its name free.
            write_text(run.config, yaml.safe_dump(config, sort_keys=False))
            run.describe(**facts.now(), finished=False)
            console.print(facts.line(run, total), highlight=False)
            console.print(buffer.describe(), highlight=False, soft_wrap=True)
        checkpoint = None if marker is None else run.checkpoints / marker["file"]
        loop.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
        if leads:
            run.describe(**facts.now(), finished=True)
    finally:
        store.close()
    return Run(run.path, agent.eval())


_OBJECTS = ("agent", "env", "callbacks", "resume")


def _config(agent: Agent, env: PixelEnv | None, settings: dict[str, Any]) -> dict[str, Any]:
    """What ``config.yaml`` holds: the arguments of ``train`` and of what it is given.

    Raises:
        ValueError: when a part of the agent cannot be named in a configuration.
    """
    config = describe_agent(agent) | {k: _plain(value) for k, value in settings.items()}
    if env is not None:
        config["env"] = _plain(env.arguments or {"id": env.name})
    return config


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return str(value) if isinstance(value, Path) else describe(value)


def _begin(run: RunFolder, resume: bool, leads: bool) -> dict[str, Any] | None:
    """The marker to resume from; the leading process also prepares the folder."""
    if not leads:
        return run.latest() if resume else None
    return run.resumable() if resume else run.create()


def _open_store(
    env: PixelEnv | None, data: Path | str | None, run: RunFolder, leads: bool
) -> EpisodeStore:
    if env is None:
        assert data is not None
        return EpisodeStore(data)
    # The number of copies changes nothing about what is recorded.
    own = ("id", "num_envs", "action_repeat")
    shown = {name: value for name, value in env.arguments.items() if name not in own}
    # One process records; the others of a distributed run read what it has recorded.
    return EpisodeStore(run.replay, DatasetSpec.of(env, shown) if leads else None)


def _check_spaces(agent: Agent, store: EpisodeStore) -> None:
    model = agent.world_model
    given = store.spec.obs_shape, store.spec.action_space
    if given != (model.obs_shape, model.action_space):
        raise ValueError(
            f"the world model sees {model.obs_shape} and acts by {model.action_space}, "
            f"{store.spec.env} shows {given[0]} and takes {given[1]}: build the model for it"
        )


def _lightning(
    trainer: Trainer,
    run: RunFolder,
    rounds: int,
    batches: int,
    loggers: Sequence[str],
    callbacks: list[L.Callback],
) -> L.Trainer:
    """Lightning's loop: one epoch is one round."""
    _quieten_lightning()
    opened = open_loggers(loggers, run.path)
    try:
        return L.Trainer(
            **asdict(trainer),
            max_epochs=rounds,
            limit_train_batches=batches,
            logger=[JsonlLogger(run.metrics), *opened],
            callbacks=callbacks,
            default_root_dir=run.path,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except MisconfigurationException as error:
        raise ValueError(f"--trainer: {error}") from error


class _Facts:
    """What ``run.json`` and the first line tell of a run."""

    def __init__(
        self,
        loop: L.Trainer,
        agent: Agent,
        module: WorldModelModule,
        store: EpisodeStore,
        clock: Clock,
    ):
        self.loop, self.agent, self.module = loop, agent, module
        self.store, self.clock = store, clock

    def now(self) -> dict[str, Any]:
        """The counters as they are now."""
        return {
            "device": str(self.loop.strategy.root_device),
            "parameters": sum(p.numel() for p in self.agent.parameters()),
            "updates": self.module.update,
            "env_steps": self.store.steps,
            "seconds": round(self.clock.total(), 1),
            **self.clock.shares(),
        }

    def line(self, run: RunFolder, updates: int) -> str:
        """For people."""
        facts = self.now()
        return (
            f"run {run.path} on {facts['device']}: {facts['parameters']:,} parameters, "
            f"{updates:,} updates"
        )


def _quieten_lightning() -> None:
    """Lightning's hints about hardware, loaders and its own products say nothing of this run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for text in ("isinstance.treespec", "Your .IterableDataset. has", "The number of training b"):
        warnings.filterwarnings("ignore", message=f".*{text}")
