"""`worldmodels fit`: collect (or open a data set), train, evaluate, save."""

import json
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import lightning as L
from jsonargparse import ActionConfigFile, Namespace  # pyright: ignore[reportPrivateImportUsage]
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from worldmodels.agent import Agent
from worldmodels.checkpoint import (
    build_agent,
    load_pretrained_critic,
    load_pretrained_world_model,
    read_about,
    save_agent,
)
from worldmodels.config import OptionParser, load_plugins
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.make import make_env
from worldmodels.replay.buffer import ReplayBuffer
from worldmodels.replay.datamodule import ReplayDataModule
from worldmodels.replay.store import DatasetSpec, EpisodeStore
from worldmodels.training.callbacks import Checkpoint, Collect, Evaluate, FitPixels, RoundSeeds
from worldmodels.training.loggers import LOGGERS, open_loggers
from worldmodels.training.metrics import Clock, JsonlLogger, Metrics
from worldmodels.training.module import WorldModelModule
from worldmodels.training.panels import Panels
from worldmodels.training.progress import Progress
from worldmodels.training.run import RunFolder, write_text
from worldmodels.training.validation import Validate

AGENT = ("model", "planner", "controller", "noise", "behaviour", "acting")

_BatchesFactory = Callable[[ReplayBuffer, int, int], ReplayDataModule]
_CollectFactory = Callable[[PixelEnv, ReplayBuffer, Metrics, int], Collect]
_EvaluateFactory = Callable[[PixelEnv, Metrics, int], Evaluate]
_MetricsFactory = Callable[[Clock, Callable[[], int], Callable[[], int]], Metrics]
_PanelsFactory = Callable[[Metrics, ReplayBuffer, Path], Panels]

# What of Lightning's trainer follows from other options.
_OWNED = (
    "logger", "callbacks", "max_epochs", "max_steps", "min_epochs", "enable_checkpointing",
    "enable_progress_bar", "default_root_dir", "log_every_n_steps", "limit_train_batches",
    "reload_dataloaders_every_n_epochs",
)  # fmt: skip


def fit_parser(prog: str = "worldmodels fit") -> OptionParser:
    """Every option of ``fit``; defaults live beside the arguments they belong to."""
    load_plugins()
    parser = OptionParser(prog=prog, description="Trains a world model, online or from a data set.")
    add = parser.add_argument
    add("--config", action=ActionConfigFile, help="YAML of overrides; give several to merge them")
    add("--name", type=str, default="run", help="the run's folder is <out>/<name>")
    add("--out", type=str, default="runs", help="folder of all runs")
    add("--resume", action="store_true", help="continue from the last checkpoint, exactly")
    add("--seed", type=int, default=0)
    add("--updates", type=int, default=10_000, help="optimiser steps in all")
    add("--round_updates", type=int, default=100, help="updates between two collections")
    add("--checkpoint_every", type=int, default=1, help="rounds between checkpoints")
    add("--loggers", type=list[str], default=[], help=f"further loggers: {', '.join(LOGGERS)}")
    add("--data", type=str | None, default=None, help="train offline on these recorded episodes")
    kept = "keep the world model of this run as it is; the behaviour alone learns, inside it"
    add("--world_model", type=str | None, default=None, help=kept)
    value = "keep the value of that run's behaviour, too: the policy alone learns"
    add("--freeze_critic", action="store_true", help=value)
    add("--env.id", type=str | None, default=None, help="the environment, see make_env")
    parser.add_function_arguments(make_env, "env", skip={"id"})
    skip: set[str | int] = {"obs_shape", "action_space"}
    parser.add_function_arguments(build_agent, skip=skip, fail_untyped=False)
    add("--train", type=Callable[[Agent], WorldModelModule], default=WorldModelModule)
    add("--replay", type=Callable[[EpisodeStore], ReplayBuffer], default=ReplayBuffer)
    add("--batches", type=_BatchesFactory, default=ReplayDataModule)
    add("--collect", type=_CollectFactory, default=Collect)
    add("--evaluate", type=_EvaluateFactory, default=Evaluate)
    add("--metrics", type=_MetricsFactory, default=Metrics)
    add("--panels", type=_PanelsFactory, default=Panels)
    parser.add_class_arguments(L.Trainer, "trainer", skip=set(_OWNED), instantiate=False)
    parser.set_defaults({"trainer.enable_model_summary": False, "trainer.gradient_clip_val": 100.0})
    return parser


def fit(arguments: Sequence[str], callbacks: Sequence[L.Callback] = ()) -> Agent:
    """Trains a world model on an environment, or with --data on recorded episodes alone.

    Args:
        arguments: as on the command line, ``["--config", "configs/recipe/planet.yaml", ...]``.

        callbacks: further Lightning callbacks; they run before the checkpoint of a round.

    Returns:
        The trained agent, in evaluation mode.

    Raises:
        FileExistsError: when the run exists and ``--resume`` is not given.
        ValueError: when an option does not fit.
    """
    parser = fit_parser()
    options = parser.read(arguments)
    _check_counts(options)
    if (options.env.id is None) == (options.data is None):
        raise ValueError("give --env.id to learn online, or --data to learn from recorded episodes")
    if options.freeze_critic and options.world_model is None:
        raise ValueError("freeze_critic keeps the value of --world_model RUN: give that, too")
    if options.world_model is not None:
        # A recipe's sizes give way to those of the model that is there.
        trained = read_about(options.world_model)["agent"]["model"]
        options = parser.parse_object({"model": trained}, namespace=options)
    run = RunFolder(Path(options.out) / options.name)
    leads = getattr(rank_zero_only, "rank", 0) == 0
    marker = _begin(run, options.resume, leads)
    L.seed_everything(options.seed, verbose=False)
    parts = parser.instantiate(options)
    job = _Job(run, options, parts, leads)
    if marker is not None:
        job.buffer.load_state_dict({"episodes": marker["episodes"]})
    plain = json.loads(parser.dump(options, format="json"))
    job.agent_options = {name: plain[name] for name in AGENT if name in plain}
    try:
        trainer = job.trainer(callbacks)
        # The run exists from here on: a mistake above leaves its name free.
        if leads:
            write_text(run.config, parser.dump(options, skip_unset=True))
        job.train(trainer, None if marker is None else run.checkpoints / marker["file"])
    finally:
        job.buffer.store.close()
    return job.agent.eval()


def _check_counts(options: Namespace) -> None:
    for name in ("updates", "round_updates", "checkpoint_every"):
        if options[name] < 1:
            raise ValueError(f"--{name}={options[name]}: choose 1 or more")


def _begin(run: RunFolder, resume: bool, leads: bool) -> dict[str, Any] | None:
    """The marker to resume from; the leading process also prepares the folder."""
    if not leads:
        return run.latest() if resume else None
    return run.resumable() if resume else run.create()


class _Job:
    """One run's objects, made from its options."""

    def __init__(self, run: RunFolder, options: Namespace, parts: Namespace, leads: bool):
        self.run, self.options, self.parts, self.leads = run, options, parts, leads
        self.agent_options: dict[str, Any] = {}
        self.console = Console()
        self.env = make_env(**options.env.as_dict()) if options.data is None else None
        store = self._open_store()
        self.buffer = parts.replay(store)
        self.batches = options.round_updates * options.trainer.accumulate_grad_batches
        self.data = parts.batches(self.buffer, self.batches, options.seed)
        self.agent = build_agent(
            store.spec.obs_shape,
            store.spec.action_space,
            **{name: parts[name] for name in AGENT},
        )
        if options.world_model is not None:
            load_pretrained_world_model(options.world_model, self.agent.world_model)
            if options.freeze_critic:
                load_pretrained_critic(options.world_model, self.agent.behaviour)
        self.module = parts.train(self.agent)
        self.clock = Clock()
        self.metrics = parts.metrics(self.clock, self._env_steps, self._axis)

    @property
    def env_options(self) -> dict[str, Any]:
        """The arguments of ``make_env`` that show the agent its world again."""
        if self.env is not None:
            return self.options.env.as_dict()
        spec = self.buffer.store.spec
        return {"id": spec.env, "action_repeat": spec.action_repeat, **spec.options}

    def _env_steps(self) -> int:
        return self.buffer.store.steps

    def _axis(self) -> int:
        # Recorded episodes stay as many as they are: offline, progress is counted in updates.
        return self.module.update if self.env is None else self._env_steps()

    def _open_store(self) -> EpisodeStore:
        if self.env is None:
            return EpisodeStore(self.options.data)
        recorded = self.options.env.as_dict()
        # The number of copies changes nothing about what is recorded.
        shown = {k: v for k, v in recorded.items() if k not in ("id", "num_envs", "action_repeat")}
        spec = DatasetSpec.of(self.env, shown)
        # One process records; the others of a distributed run read what it has recorded.
        return EpisodeStore(self.run.replay, spec if self.leads else None)

    def save(self) -> None:
        """Writes the ``model/`` folder."""
        save_agent(self.run.model, self.agent, self.agent_options, self.env_options)

    def trainer(self, extra: Sequence[L.Callback]) -> L.Trainer:
        """Lightning's loop: one epoch is one round."""
        loggers = open_loggers(self.options.loggers, self.run.path)
        _quieten_lightning()
        try:
            return L.Trainer(
                **self.options.trainer.as_dict(),
                max_epochs=math.ceil(self.options.updates / self.options.round_updates),
                limit_train_batches=self.batches,
                logger=[JsonlLogger(self.run.metrics), *loggers],
                callbacks=self._callbacks(extra),
                default_root_dir=self.run.path,
                enable_checkpointing=False,
                enable_progress_bar=False,
            )
        except MisconfigurationException as error:
            raise ValueError(f"--trainer: {error}") from error

    def train(self, trainer: L.Trainer, checkpoint: Path | None) -> None:
        """Runs the loop, from a checkpoint where there is one."""
        self._announce(trainer)
        trainer.fit(self.module, self.data, ckpt_path=checkpoint, weights_only=True)
        if self.leads:
            self.run.describe(**self._facts(trainer), finished=True)

    def _callbacks(self, extra: Sequence[L.Callback]) -> list[L.Callback]:
        # The order matters: collect, then seed the updates; log, evaluate, then checkpoint.
        seed, parts = self.options.seed, self.parts
        callbacks: list[L.Callback] = [self.metrics]
        if self.env is not None:
            callbacks.append(parts.collect(self.env, self.buffer, self.metrics, seed))
            callbacks.append(parts.evaluate(self.env, self.metrics, seed))
        callbacks += [FitPixels(self.buffer), RoundSeeds(seed)]
        callbacks.append(Validate(self.agent, self.buffer, self.data, self.metrics, seed))
        callbacks += extra
        callbacks.append(parts.panels(self.metrics, self.buffer, self.run.media))
        callbacks.append(Progress(self.metrics, self.options.updates, self.console))
        callbacks.append(
            Checkpoint(self.run, self.buffer, self.save, self.options.checkpoint_every)
        )
        return callbacks

    def _announce(self, trainer: L.Trainer) -> None:
        facts = self._facts(trainer)
        if not self.leads:
            return
        self.run.describe(**facts, finished=False)
        self.console.print(
            f"run {self.run.path} on {facts['device']}: {facts['parameters']:,} parameters, "
            f"{self.options.updates:,} updates",
            highlight=False,
        )
        self.console.print(self.buffer.describe(), highlight=False, soft_wrap=True)

    def _facts(self, trainer: L.Trainer) -> dict[str, Any]:
        return {
            "device": str(trainer.strategy.root_device),
            "parameters": sum(p.numel() for p in self.agent.parameters()),
            "updates": self.module.update,
            "env_steps": self.buffer.store.steps,
            "seconds": round(self.clock.total(), 1),
            **self.clock.shares(),
        }


def _quieten_lightning() -> None:
    """Lightning's hints about hardware, loaders and its own products say nothing of this run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for text in ("isinstance.treespec", "Your .IterableDataset. has", "The number of training b"):
        warnings.filterwarnings("ignore", message=f".*{text}")


def main(arguments: Sequence[str]) -> None:
    """The verb ``fit``."""
    fit(arguments)
