"""How studies learn models from pixels: `worldmodels fit` in the demo's sizes."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from worldmodels.agent import Agent


def learn(
    folder: Path, seed: int, options: Mapping[str, Any], callbacks: Sequence[Any] = ()
) -> Agent:
    """Trains an agent from pixels on one environment, afresh.

    Args:
        folder: of the run.
        seed: of everything.
        options: of `fit`, over those of the demo: ``{"env.id": ..., "updates": 600}``.
        callbacks: Lightning's, see ``fit``.

    Returns:
        The agent, in evaluation mode.
    """
    # Imported on use: Lightning takes seconds that studies without learning need not wait.
    from worldmodels.training.demo import CONFIG
    from worldmodels.training.fit import fit

    shutil.rmtree(folder, ignore_errors=True)
    arguments = ["--config", str(CONFIG), f"--out={folder.parent}", f"--name={folder.name}"]
    arguments += [f"--seed={seed}", *(f"--{name}={value}" for name, value in options.items())]
    return fit(arguments, callbacks)


def random_data(steps: int, updates: int) -> dict[str, Any]:
    """Options of `fit`: all data is collected at random before the first of the updates."""
    return {
        "collect.prefill": steps,
        "collect.updates_per_step": 1e9,
        "updates": updates,
        "round_updates": updates,
    }
