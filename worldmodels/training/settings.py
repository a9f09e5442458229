"""The settings of ``train``, grouped: each group is one argument of it and one part of a recipe."""

from dataclasses import dataclass, field
from typing import Literal

from worldmodels.checks import check_above, check_at_least, check_between
from worldmodels.replay.sampling import Sampler, Uniform


@dataclass(frozen=True)
class Optimiser:
    """AdamW or LaProp, with a group of parameters for each part.

    Attributes:
        name: ``adamw``, or ``laprop`` (``training/optimisers.py``).
        learning_rate: of the world model (a behaviour brings its own).
        weight_decay: of every part's matrices and kernels; biases and norms do not decay. LaProp
            has none.
        warmup: over so many first updates all learning rates rise linearly from zero.
        cooldown: over this share of a run's updates, its last ones, all learning rates fall
            linearly to zero: what the last batches would leave in the weights is averaged out.
        gradient_clip: the largest norm of each part's gradient; null clips nothing.
        agc: LaProp's largest norm of a tensor's gradient, as a share of its weights' norm; null
            clips nothing.
        accumulate: batches whose gradients make one update.
    """

    learning_rate: float = 6e-4
    weight_decay: float = 0.0
    cooldown: float = 0.0
    gradient_clip: float | None = 100.0
    accumulate: int = 1
    name: Literal["adamw", "laprop"] = "adamw"
    warmup: int = 0
    agc: float | None = 0.3

    def __post_init__(self) -> None:
        check_above("optimiser", 0, learning_rate=self.learning_rate)
        for name in ("gradient_clip", "agc"):
            bound = getattr(self, name)
            if bound is not None:
                check_above("optimiser", 0, **{name: bound})
        check_at_least("optimiser", 0, weight_decay=self.weight_decay, warmup=self.warmup)
        check_at_least("optimiser", 1, accumulate=self.accumulate)
        check_between("optimiser", 0, 1, cooldown=self.cooldown)
        if self.name == "laprop" and self.weight_decay:
            raise ValueError(
                f"optimiser: weight_decay={self.weight_decay} with name=laprop, which has none: "
                "give 0, or name adamw"
            )


@dataclass(frozen=True)
class Replay:
    """Episodes in memory.

    Attributes:
        capacity_bytes: of memory for frames; beyond it the oldest episodes stay on disk alone.
        sampler: which episodes a batch is drawn from.
        held_out: share of the episodes that nothing learns from.
    """

    capacity_bytes: int = 4_000_000_000
    sampler: Sampler = field(default_factory=Uniform)
    held_out: float = 0.0


@dataclass(frozen=True)
class Batches:
    """What one update learns from.

    Attributes:
        batch_size: sequences of a batch.
        batch_length: rows of a sequence.
        num_workers: processes that load batches; 0 loads them in this one.
        pin_memory: copies batches to page-locked memory, for a GPU.
    """

    batch_size: int = 16
    batch_length: int = 64
    num_workers: int = 0
    pin_memory: bool = False


@dataclass(frozen=True)
class Collect:
    """How experience is collected.

    Attributes:
        prefill: steps by a random agent before the first update.
        replay_ratio: replayed steps per agent step collected after the prefill, over the whole
            run. A batch replays batch_size times batch_length steps; an update has a batch of every
            process, and ``accumulate`` of them. An infinite ratio collects nothing more.
        episodes: collected at a time; one in each copy of the environment when None.
    """

    prefill: int = 1000
    replay_ratio: float = 512.0
    episodes: int | None = None

    def __post_init__(self) -> None:
        check_at_least("collect", 1, prefill=self.prefill, episodes=self.episodes)
        check_above("collect", 0, replay_ratio=self.replay_ratio)


@dataclass(frozen=True)
class Evaluate:
    """Episodes without exploration, the same ones at every evaluation.

    Attributes:
        episodes: how many.
        every: rounds between evaluations; 0 never evaluates.
    """

    episodes: int = 10
    every: int = 5

    def __post_init__(self) -> None:
        check_at_least("evaluate", 1, episodes=self.episodes)
        check_at_least("evaluate", 0, every=self.every)


@dataclass(frozen=True)
class Panels:
    """Dreams of the newest episode, for the loggers that take pictures.

    Attributes:
        every: rounds between panels; 0 never draws one.
        context: frames seen; fewer where the episode is shorter.
        horizon: steps predicted; fewer where the episode is shorter.
    """

    every: int = 10
    context: int = 5
    horizon: int = 45

    def __post_init__(self) -> None:
        check_at_least("panels", 0, every=self.every)
        check_at_least("panels", 1, context=self.context, horizon=self.horizon)


@dataclass(frozen=True)
class Trainer:
    """Where Lightning trains; see ``lightning.Trainer``.

    Attributes:
        accelerator: ``cpu``, ``gpu``, or ``auto``.
        devices: how many, or which.
        strategy: such as ``ddp``.
        num_nodes: machines.
        precision: ``32-true``, or ``bf16-mixed`` for mixed precision.
    """

    accelerator: str = "auto"
    devices: int | str | list[int] = "auto"
    strategy: str = "auto"
    num_nodes: int = 1
    precision: str = "32-true"
