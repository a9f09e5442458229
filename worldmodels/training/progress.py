"""One line that tells how a run goes: environment steps, updates, returns, losses, time left."""

import time
from typing import Any

import lightning as L
from rich.console import Console
from rich.live import Live

from worldmodels.training.metrics import Metrics
from worldmodels.training.module import WorldModelModule


class Progress(L.Callback):
    """A live line in a terminal, one printed line per round elsewhere.

    Args:
        metrics: where the latest values are read.
        updates: of the whole run.
        console: where to print.
    """

    def __init__(self, metrics: Metrics, updates: int, console: Console):
        self.metrics, self.updates = metrics, updates
        self.console = console
        self._live: Live | None = None
        self._start = (0, 0.0)
        self._shown = 0.0

    def on_train_start(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """Opens the live line where there is a terminal."""
        self._start = (module.update, time.perf_counter())
        if self.console.is_terminal and trainer.is_global_zero:
            self._live = Live("", console=self.console, refresh_per_second=4)
            self._live.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, module: WorldModelModule, *args: Any, **kwargs: Any
    ) -> None:
        """Refreshes the live line four times a second."""
        now = time.perf_counter()
        if self._live is not None and now - self._shown > 0.25:
            self._shown = now
            self._live.update(self.line(module))

    def on_train_end(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """Closes the live line."""
        self._stop()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: Any) -> None:
        """Gives the terminal back."""
        self._stop()

    def print(self, module: WorldModelModule) -> None:
        """Prints the line of a round, where there is no live one."""
        if self._live is None:
            self.console.print(self.line(module), highlight=False, soft_wrap=True)

    def line(self, module: WorldModelModule) -> str:
        """The text of the line."""
        latest = self.metrics.latest
        parts = [f"env steps {self.metrics.env_steps():,}", f"update {module.update:,}"]
        named = {
            "return": "eval/return_mean",
            "collected": "collect/return",
            "loss": "train/loss",
            "kl": "train/kl",
            "image": "train/image_fvu",
        }
        parts += [f"{k} {latest[v]:.3g}" for k, v in named.items() if v in latest]
        shares = self.metrics.clock.shares()
        parts.append(" ".join(f"{k[5:]} {v:.0%}" for k, v in shares.items() if v >= 0.005))
        parts.append(f"{self._minutes_left(module.update):.1f} min left")
        return " | ".join(parts)

    def _minutes_left(self, update: int) -> float:
        first, started = self._start
        pace = (time.perf_counter() - started) / max(1, update - first)
        return pace * (self.updates - update) / 60

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
