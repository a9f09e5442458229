"""How studies learn models from pixels: `worldmodels fit` in the demo's sizes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from worldmodels.agent import Agent


def learn(folder: Path, seed: int, options: Mapping[str, Any], resume: bool = False) -> Agent:
    """Trains an agent from pixels on one environment.

    Args:
        folder: of the run.
        seed: of everything.
        options: of `fit`, over those of the demo: ``{"env.id": ..., "updates": 600}``.
        resume: go on with the run that ``folder`` holds.

    Returns:
        The agent, in evaluation mode.
    """
    # Imported on use: Lightning takes seconds that studies without learning need not wait.
    from worldmodels.training.demo import CONFIG
    from worldmodels.training.fit import fit

    arguments = ["--config", str(CONFIG), f"--out={folder.parent}", f"--name={folder.name}"]
    arguments += [f"--seed={seed}", *(f"--{name}={value}" for name, value in options.items())]
    return fit([*arguments, "--resume"] if resume else arguments)


def random_data(steps: int, updates: int) -> dict[str, Any]:
    """Options of `fit`: all data is collected at random before the first of the updates."""
    return {
        "collect.prefill": steps,
        # An infinite replay ratio asks for no step after the prefill.
        "collect.updates_per_step": ".inf",
        "updates": updates,
        "round_updates": updates,
    }
