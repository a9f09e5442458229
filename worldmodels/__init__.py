"""worldmodels: learn a latent simulator from pixels, then decide everything inside it.

The front door: every name below is imported when it is first used, for torch alone takes seconds.
"""

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import worldmodels.envs  # noqa: F401  (registers the built-in worlds with Gymnasium)
from worldmodels.checks import did_you_mean

if TYPE_CHECKING:
    from worldmodels.agent import Agent
    from worldmodels.behaviours import DQN, MBPO, PPO, SAC, ActorCritic, Distillation, ModelFree
    from worldmodels.checkpoint import load
    from worldmodels.envs.make import make_env
    from worldmodels.evaluation import compare, evaluate, imagine
    from worldmodels.losses import (
        BalancedKL,
        Continues,
        InfoNCE,
        LatentConsistency,
        Reconstruction,
        RedundancyReduction,
        Reward,
    )
    from worldmodels.planning import (
        CEM,
        ICEM,
        MPC,
        MPPI,
        PDDM,
        Gradient,
        Hybrid,
        RandomShooting,
    )
    from worldmodels.replay.collect import RandomAgent
    from worldmodels.replay.store import EpisodeStore
    from worldmodels.training.settings import (
        Batches,
        Collect,
        Evaluate,
        Optimiser,
        Panels,
        Replay,
        Trainer,
    )
    from worldmodels.training.train import train
    from worldmodels.world_model import LatentModel, WorldModel

__all__ = [
    "CEM",
    "DQN",
    "ICEM",
    "MBPO",
    "MPC",
    "MPPI",
    "PDDM",
    "PPO",
    "SAC",
    "ActorCritic",
    "Agent",
    "BalancedKL",
    "Batches",
    "Collect",
    "Continues",
    "Distillation",
    "EpisodeStore",
    "Evaluate",
    "Gradient",
    "Hybrid",
    "InfoNCE",
    "LatentConsistency",
    "LatentModel",
    "ModelFree",
    "Optimiser",
    "Panels",
    "RandomAgent",
    "RandomShooting",
    "Reconstruction",
    "RedundancyReduction",
    "Replay",
    "Reward",
    "Trainer",
    "WorldModel",
    "compare",
    "evaluate",
    "imagine",
    "load",
    "make_env",
    "train",
]

_HOMES = {
    "worldmodels.agent": "Agent",
    "worldmodels.behaviours": "DQN MBPO PPO SAC ActorCritic Distillation ModelFree",
    "worldmodels.checkpoint": "load",
    "worldmodels.envs.make": "make_env",
    "worldmodels.evaluation": "compare evaluate imagine",
    "worldmodels.losses": "BalancedKL Continues InfoNCE LatentConsistency Reconstruction"
    " RedundancyReduction Reward",
    "worldmodels.planning": "CEM ICEM MPC MPPI PDDM Gradient Hybrid RandomShooting",
    "worldmodels.replay.collect": "RandomAgent",
    "worldmodels.replay.store": "EpisodeStore",
    "worldmodels.training.settings": "Batches Collect Evaluate Optimiser Panels Replay Trainer",
    "worldmodels.training.train": "train",
    "worldmodels.world_model": "LatentModel WorldModel",
}
_HOME = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    """Imports a name of the front door.

    Raises:
        AttributeError: when there is none of that name, with the one that may be meant.
    """
    if name not in _HOME:
        # Python itself asks for names such as __path__, and for modules that are not imported yet.
        hint = "" if name.startswith("_") else f": {_hint(name)}"
        raise AttributeError(f"module 'worldmodels' has no attribute '{name}'{hint}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


@cache
def _hint(name: str) -> str:
    """The name that may be meant: kept, since option parsers look for the same ones very often."""
    return did_you_mean(name, __all__, "see dir()")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
