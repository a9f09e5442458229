"""Metrics: one JSON line per log point, a CSV beside it, and where the time went."""

import csv
import io
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers.logger import Logger
from torch import Tensor

from worldmodels.checks import check_at_least
from worldmodels.replay.files import write_bytes


class JsonlLogger(Logger):
    """Appends one JSON object per call to ``metrics.jsonl``; one write per line.

    Args:
        path: the file.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        """The logger's name."""
        return "jsonl"

    @property
    def version(self) -> str:
        """The run's name."""
        return self.path.parent.name

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is in ``config.yaml``."""

    def log_metrics(self, metrics: Mapping[str, int | float], step: int | None = None) -> None:
        """Writes a line."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")


def read_metrics(path: Path) -> list[dict[str, int | float]]:
    """Every line of a ``metrics.jsonl``."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_csv(path: Path) -> None:
    """Writes ``metrics.csv`` beside ``metrics.jsonl``, one column per metric."""
    rows = read_metrics(path)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path.with_suffix(".csv"), text.getvalue().encode())


class Clock:
    """Shares of wall time by activity: env, sample, train, evaluate, log."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.started = time.perf_counter()

    @contextmanager
    def spent(self, activity: str) -> Iterator[None]:
        """Books the time of the block on ``activity``."""
        begin = time.perf_counter()
        yield
        self.seconds[activity] += time.perf_counter() - begin

    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.started

    def shares(self) -> dict[str, float]:
        """Share of the time since the start, by activity."""
        total = self.total()
        return {f"time/{name}": round(spent / total, 4) for name, spent in self.seconds.items()}


class Metrics(L.Callback):
    """Averages a training step's metrics and hands them to the loggers.

    Log points are every ``every`` updates; the x axis is environment steps (updates, where none
    are recorded), with ``update`` beside it. Everything else logs through ``write``.

    Args:
        clock: books the time.
        env_steps: called for the environment steps recorded so far.
        step: called for the place on the x axis.
        every: updates between log points.
    """

    def __init__(
        self, clock: Clock, env_steps: Callable[[], int], step: Callable[[], int], every: int = 50
    ):
        check_at_least("log", 1, every=every)
        self.clock, self.every = clock, every
        self.env_steps, self.step = env_steps, step
        self.latest: dict[str, float] = {}
        self._sums: dict[str, Tensor] = {}
        self._count, self._flushed = 0, 0
        self._mark = time.perf_counter()

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Log points are counted from a round's first update on, in a resumed run as well."""
        self._flushed = int(module.update)  # type: ignore[arg-type]

    def on_train_batch_start(
        self, trainer: L.Trainer, module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The time since the last batch went into sampling (before the first, into collection)."""
        now = time.perf_counter()
        if batch_idx:
            self.clock.seconds["sample"] += now - self._mark
        self._mark = now

    def on_train_batch_end(
        self, trainer: L.Trainer, module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        """Adds up, and writes at a log point."""
        now = time.perf_counter()
        self.clock.seconds["train"] += now - self._mark
        for name, value in outputs.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1
        if int(module.update) - self._flushed >= self.every:  # type: ignore[arg-type]
            self.flush(trainer, module)
        self._mark = time.perf_counter()
        self.clock.seconds["log"] += self._mark - now

    def write(
        self, trainer: L.Trainer, module: L.LightningModule, values: dict[str, float]
    ) -> None:
        """Sends values to every logger; of several processes, the first one writes."""
        self.latest |= values
        for logger in trainer.loggers if trainer.is_global_zero else ():
            logger.log_metrics({"update": int(module.update), **values}, step=self.step())  # type: ignore[arg-type]

    def flush(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Writes what was added up; at a round's end too, so that nothing crosses a checkpoint."""
        if not self._count:
            return
        names = list(self._sums)
        means = (torch.stack([self._sums[n].float() for n in names]) / self._count).tolist()
        self._sums, self._count = {}, 0
        self._flushed = int(module.update)  # type: ignore[arg-type]
        self.write(trainer, module, {f"train/{n}": v for n, v in zip(names, means, strict=True)})
