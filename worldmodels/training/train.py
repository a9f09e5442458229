"""`train`: collect (or open a data set), learn, evaluate, save."""

import logging
import math
import warnings
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
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
from worldmodels.nn.pixels import Standardized
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
from worldmodels.world_model import LatentModel, WorldModel


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
    settings = {**locals()}
    _check_arguments(settings)
    config = _config(agent, env, settings)
    run, leads = RunFolder(Path(out) / name), getattr(rank_zero_only, "rank", 0) == 0
    marker = _begin(run, resume, leads)
    length, rounds = _rounds(updates, round_updates, marker)
    L.seed_everything(seed, verbose=False)
    fits_pixels = _prepare(agent.train(), world_model, only, freeze_critic)
    with closing(_open_store(env, data, run, leads)) as store:
        _check_spaces(agent, store)
        buffer = ReplayBuffer(store, replay.capacity_bytes, replay.sampler, replay.held_out)
        loader = ReplayDataModule(buffer, length * optimiser.accumulate, seed, **asdict(batches))
        module = WorldModelModule(agent, rounds * length, optimiser, autoencoder_updates, overlap)
        steps, update = (lambda: store.steps), (lambda: module.update)
        metrics = Metrics(Clock(), steps, update if env is None else steps, log_every)
        progress = Progress(metrics, module.updates, Console())
        save = partial(save_agent, run.model, agent, _shown(env, store))
        round = Round(
            run, env, buffer, loader, metrics, progress, save, seed, checkpoint_every,
            collect, evaluate, panels, fits_pixels,
        )  # fmt: skip
        parts = [metrics, *callbacks, progress, round]
        loop = _lightning(trainer, run, rounds, loader.batches_per_epoch, loggers, parts)
        if marker is not None:
            buffer.load_state_dict({"episodes": marker["episodes"]})
        facts = _Facts(run, leads, loop, agent, module, buffer, metrics.clock)
        facts.begin(config, progress.console)
        checkpoint = None if marker is None else run.checkpoints / marker["file"]
        loop.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
        facts.write(finished=True)
    return Run(run.path, agent.eval())


def _check_arguments(given: dict[str, Any]) -> None:
    """Refuses arguments of ``train`` that do not fit each other, before anything is changed."""
    names = ("updates", "round_updates", "checkpoint_every", "log_every")
    check_at_least("train", 1, **{name: given[name] for name in names})
    check_at_least("train", 0, autoencoder_updates=given["autoencoder_updates"])
    if (given["env"] is None) == (given["data"] is None):
        raise ValueError(
            "give an environment (--env.id) to learn online, or --data to learn from recorded "
            "episodes"
        )
    if given["freeze_critic"] and given["world_model"] is None:
        raise ValueError("freeze_critic keeps the critic of --world_model RUN: give that, too")
    model, behaviour, only = given["agent"].world_model, given["agent"].behaviour, given["only"]
    _check_model(model, given)
    if only is None:
        if behaviour is not None and behaviour.validates and not given["replay"].held_out:
            raise ValueError(
                "this behaviour measures the model on held-out episodes: "
                "give --replay.held_out a share such as 0.1"
            )
        return
    if not isinstance(model, WorldModel):
        raise ValueError(
            f"only={only}: {type(model).__name__} predicts nothing to decode: give a WorldModel"
        )
    if given["autoencoder_updates"]:
        raise ValueError(
            f"only={only} trains nothing else, autoencoder_updates="
            f"{given['autoencoder_updates']} the encoder: give one of them"
        )


def _check_model(model: LatentModel, given: dict[str, Any]) -> None:
    """Refuses data that a model's options do not fit."""
    length = given["batches"].batch_length
    if model.burn_in >= length:
        raise ValueError(
            f"burn_in={model.burn_in}: sequences of batch_length={length} rows would only warm up: "
            "choose fewer"
        )
    learns = given["world_model"] is None and any(p.requires_grad for p in model.parameters())
    collects = given["env"] is not None and given["collect"].replay_ratio < math.inf
    if learns and collects and isinstance(model.pixels, Standardized):
        raise ValueError(
            "pixels=Standardized is fitted to the prefill alone: what changes only later would be "
            "blown up. Give Centered, --collect.replay_ratio inf, or learn from --data"
        )


def _rounds(updates: int, round_updates: int, marker: dict[str, Any] | None) -> tuple[int, int]:
    """Updates of a round, and the number of rounds.

    Raises:
        ValueError: when a run would go on in rounds of another length.
    """
    length = min(round_updates, updates)
    if marker is not None:
        begun = marker["update"] // marker["round"]
        if begun not in (length, round_updates):
            raise ValueError(
                f"round_updates={round_updates}: this run has rounds of {begun} updates, "
                f"give round_updates={begun} to resume it"
            )
        length = begun
    return length, math.ceil(updates / length)


def _prepare(
    agent: Agent, world_model: Path | str | None, only: str | None, freeze_critic: bool
) -> bool:
    """Loads and freezes what is not to learn; whether the pixel scaling is the data's to set."""
    if only is not None:
        assert isinstance(agent.world_model, WorldModel)
        agent.requires_grad_(False)
        agent.world_model.add_decoder()
        return False
    if world_model is not None:
        load_pretrained_world_model(world_model, agent.world_model)
        if freeze_critic:
            load_pretrained_critic(world_model, agent.behaviour)
        return False
    # A frozen model goes on seeing frames as it has learned to.
    return any(parameter.requires_grad for parameter in agent.world_model.parameters())


_OBJECTS = ("agent", "env", "callbacks", "resume")


def _config(agent: Agent, env: PixelEnv | None, settings: dict[str, Any]) -> dict[str, Any]:
    """What ``config.yaml`` holds: the arguments of ``train`` and of what it is given.

    Raises:
        ValueError: when a part of the agent cannot be named in a configuration.
    """
    own = {name: _plain(value) for name, value in settings.items() if name not in _OBJECTS}
    config = describe_agent(agent) | own
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


def _shown(env: PixelEnv | None, store: EpisodeStore) -> dict[str, Any]:
    """The arguments of ``make_env`` that show an agent this world again."""
    spec = store.spec
    given = {} if env is None else dict(env.arguments)
    return {"id": spec.env, "action_repeat": spec.action_repeat} | (given or spec.options)


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


@dataclass(frozen=True)
class _Facts:
    """What the first lines and ``run.json`` tell of a run."""

    run: RunFolder
    leads: bool
    loop: L.Trainer
    agent: Agent
    module: WorldModelModule
    buffer: ReplayBuffer
    clock: Clock

    def begin(self, config: dict[str, Any], console: Console) -> None:
        """The run exists from here on: a mistake before leaves its name free."""
        if not self.leads:
            return
        write_text(self.run.config, yaml.safe_dump(config, sort_keys=False))
        self.write(finished=False)
        console.print(
            f"run {self.run.path} on {self.device}: {self.parameters:,} parameters, "
            f"{self.module.updates:,} updates",
            highlight=False,
            soft_wrap=True,
        )
        console.print(self.buffer.describe(), highlight=False, soft_wrap=True)

    def write(self, finished: bool) -> None:
        """Writes ``run.json`` with the counters as they are now."""
        if self.leads:
            self.run.describe(
                device=self.device,
                parameters=self.parameters,
                updates=self.module.update,
                env_steps=self.buffer.store.steps,
                seconds=round(self.clock.total(), 1),
                **self.clock.shares(),
                finished=finished,
            )

    @property
    def device(self) -> str:
        """Where this process computes."""
        return str(self.loop.strategy.root_device)

    @property
    def parameters(self) -> int:
        """Numbers that the agent is made of."""
        return sum(parameter.numel() for parameter in self.agent.parameters())


def _quieten_lightning() -> None:
    """Lightning's hints about hardware, loaders and its own products say nothing of this run."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    for text in ("isinstance.treespec", "Your .IterableDataset. has", "The number of training b"):
        warnings.filterwarnings("ignore", message=f".*{text}")
