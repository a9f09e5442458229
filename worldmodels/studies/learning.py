"""How studies learn models from pixels, in the demo's sizes, and plan in them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from worldmodels.agent import Agent
from worldmodels.dynamics.base import repeat_state
from worldmodels.envs.world import World, WorldState
from worldmodels.planning import Planner
from worldmodels.studies.exact import world_score
from worldmodels.types import ScoreFn, State
from worldmodels.world_model import WorldModel


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


class LearnedPlan(NamedTuple):
    """What a learned model promises of its plans, and what they pay in the world (mean returns)."""

    promised: float
    realised: float


def learned_plan(
    model: WorldModel, world: World, start: WorldState, planner: Planner, seed: int
) -> LearnedPlan:
    """Plans once in a learned model, which sees the first frame of each start."""
    states = len(start[0])
    torch.manual_seed(seed)
    with torch.no_grad():
        latent = first_sight(model, world, start)
        plan = cold_plan(planner, lambda actions: model.score(latent, actions), states, seed)
        # Latents are drawn: an average over rows, free of the luck that the planner selected.
        rows = plan.repeat_interleave(32, 0)[:, None]
        promised = model.score(repeat_state(latent, 32), rows).mean()
    realised = world_score(world, start)(plan[:, None]).mean()
    return LearnedPlan(float(promised), float(realised))


def cold_plan(planner: Planner, score: ScoreFn, states: int, seed: int) -> Float[Tensor, "B H A"]:
    """A plan for each of ``states`` starts, without a warm start."""
    generator = torch.Generator().manual_seed(seed)
    return planner.plan(score, planner.initial(states), generator).actions


def first_sight(model: WorldModel, world: World, start: WorldState) -> State:
    """The latent state after the first frame of each start."""
    frames = rearrange(torch.from_numpy(world.render(start)), "B h w C -> B C h w")
    fresh = model.dynamics.initial(len(frames))
    action = torch.zeros(len(frames), model.action_space.dim)
    return model.filter(frames, action, torch.ones(len(frames), dtype=torch.bool), fresh)
