"""The run folder: where a run's configuration, metrics, checkpoints and model live.

``runs/<name>/{config.yaml, run.json, metrics.jsonl, metrics.csv, checkpoints/, replay/, model/}``
"""

import json
import platform
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from worldmodels.agent import Agent
from worldmodels.checkpoint import FORMAT
from worldmodels.replay.files import write_text
from worldmodels.training.metrics import read_metrics, write_csv


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes:
        path: its folder.
        agent: the trained agent, in evaluation mode.
    """

    path: Path
    agent: Agent

    @property
    def metrics(self) -> list[dict[str, int | float]]:
        """Every logged line, oldest first: ``step``, ``update`` and the metrics by name."""
        return read_metrics(RunFolder(self.path).metrics)

    @property
    def record(self) -> dict[str, Any]:
        """What ``run.json`` says: command, versions, machine, counters, shares of time."""
        return json.loads(RunFolder(self.path).record.read_text())

    def __str__(self) -> str:
        record = self.record
        latest: dict[str, int | float] = {}
        for line in self.metrics:
            latest |= line
        shown = [f"{name} {latest[name]:.4g}" for name in SHOWN if name in latest]
        return (
            f"run {self.path}: {record['updates']:,} updates, {record['env_steps']:,} agent steps, "
            f"{record['seconds'] / 60:.1f} minutes\n  " + ", ".join(shown)
        )


SHOWN = ("eval/return_mean", "collect/return", "train/loss", "train/kl", "train/image_fvu")


class RunFolder:
    """Paths of one run, and the rules for starting and continuing it.

    Args:
        path: the folder, ``runs/<name>``.

    Raises:
        FileExistsError: when ``create`` would overwrite a run.
        FileNotFoundError: when ``resume`` finds nothing to continue.
        ValueError: when another version wrote the run.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.record = self.path / "run.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.replay = self.path / "replay"
        self.model = self.path / "model"
        self.media = self.path / "media"
        self._marker = self.checkpoints / "latest.json"

    def create(self) -> None:
        """Starts a new run; an existing one is never overwritten."""
        if self.config.exists():
            raise FileExistsError(
                f"run {self.path} exists already: continue it with --resume, or choose another "
                "--name"
            )
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    def latest(self) -> dict[str, Any] | None:
        """What the newest complete checkpoint says of itself (None before the first)."""
        if not self._marker.exists():
            return None
        return json.loads(self._marker.read_text())

    def complete(self, checkpoint: Path, about: dict[str, Any], keep: int = 2) -> None:
        """Marks a written checkpoint as complete, then removes all but the newest ``keep``."""
        write_text(self._marker, json.dumps({"file": checkpoint.name, **about}, indent=1))
        older = sorted(self.checkpoints.glob("update-*.ckpt"))[:-keep]
        for path in older:
            path.unlink()

    def resumable(self) -> dict[str, Any]:
        """The marker to continue from, after cutting the metrics back to it."""
        self._check_format()
        about = self.latest()
        if about is None:
            raise FileNotFoundError(
                f"run {self.path} has no complete checkpoint to resume: start it without --resume"
                + (f" after removing {self.path}" if self.config.exists() else "")
            )
        if self.metrics.exists():
            with self.metrics.open("r+b") as file:
                file.truncate(about["metrics_bytes"])
        return about

    def _check_format(self) -> None:
        if not self.record.exists():
            return
        found = json.loads(self.record.read_text()).get("format", 1)
        if found != FORMAT:
            raise ValueError(
                f"run {self.path} has format {found}, this version continues {FORMAT}: resume it "
                "with the commit that wrote it (`git` in run.json), or start it anew"
            )

    def write_csv(self) -> None:
        """Writes ``metrics.csv`` from ``metrics.jsonl``."""
        write_csv(self.metrics)

    def describe(self, **facts: Any) -> None:
        """Writes ``run.json``: command, versions, machine, and the facts given."""
        write_text(self.record, json.dumps({**self._origin, **facts}, indent=1))

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """Where this process's part of the run comes from, as it was when it began."""
        packages = ("worldmodels", "torch", "torchvision", "lightning", "gymnasium", "ale-py")
        return {
            "format": FORMAT,
            "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "git": git_revision(),
            "python": platform.python_version(),
            "versions": {name: version(name) for name in packages},
            "cpu_threads": torch.get_num_threads(),
        }


def git_revision() -> str | None:
    """The working tree's commit, marked when it has uncommitted changes; None outside git."""
    if shutil.which("git") is None:
        return None
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None
