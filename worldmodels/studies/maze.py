"""DetourMaze for studies: a model of it, what an agent finds in it, and what is true there."""

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from worldmodels.agent import Agent
from worldmodels.envs.make import make_env
from worldmodels.envs.worlds.detour_maze import DetourMaze, DetourMazeState
from worldmodels.evaluation import evaluate_returns
from worldmodels.studies.learning import first_sight, learn, random_data
from worldmodels.types import Value
from worldmodels.world_model import WorldModel

ID = "worldmodels/DetourMaze-v0"
# Each step towards the treasure is value 3 % more: a value must tell 10 steps from 11.
DISCOUNT = 0.97
DREAMT = "share of dreams of 10 random steps that end in the true cell, by their last picture"
SIZES: MappingProxyType[str, Any] = MappingProxyType(
    {
        "model.encoder.depth": 16,
        "model.encoder.stages": 1,
        "model.encoder.downscale": 4,
        "model.decoder.stages": 2,
        # The mean frame is nearly all: what remains is scaled up to the size of a new decoder's
        # noise, which it would otherwise first have to unlearn.
        "model.pixels": "Centered",
        "model.pixels.scale": 40.0,
        "model.image_weight": 0.1,
        "model.dynamics": "CategoricalRSSM",
        "model.dynamics.stack": 16,
        "model.dynamics.classes": 16,
        "model.dynamics.deter": 128,
        "model.dynamics.hidden": 128,
        # A hundredth of uniform in each of 16 categoricals would disturb every seventh dreamt step.
        "model.dynamics.unimix": 0.001,
        # With a free nat per step the next cell may stay a guess among three.
        "model.free_nats": 0.1,
        "model.dynamics_weight": 1.0,
        "model.representation_weight": 0.1,
        # The treasure is found once in hundreds of steps.
        "model.reward": "TwoHotHead",
        "model.reward.hidden": 128,
        "model.reward.bins": 41,
        "model.reward.limit": 4.0,
        "model.reward_weight": 10.0,
        "model.continues.hidden": 128,
        "model.continue_weight": 10.0,
        "model.discount": DISCOUNT,
        # Each episode starts in another cell. In long ones some corners are hardly ever entered; a
        # model that has not seen a corner dreams of a way out of it, and the value leads there.
        "env.time_limit": 20,
        "train.learning_rate": 1.5e-3,
        # With steady steps two models of five kept a hole somewhere, and a value finds holes.
        "train.cooldown": 0.4,
        "batches.batch_size": 16,
        "batches.batch_length": 8,
    }
)


class Found(NamedTuple):
    """Shares of episodes that end at the treasure and at the coin, and the mean return."""

    treasure: float
    decoy: float
    returned: float


def learn_maze(folder: Path, seed: int, steps: int, updates: int) -> Agent:
    """A model of the maze from random episodes that start anywhere."""
    options = {"env.id": ID, "env.options": json.dumps({"arguments": {"anywhere": 1.0}})}
    return learn(folder, seed, options | dict(SIZES) | random_data(steps, updates))


def find(agent: Agent, episodes: int, seed: int, steps: int = DetourMaze.time_limit) -> Found:
    """Plays episodes of so many steps from the starts near the coin."""
    options = {"arguments": {"anywhere": 0.0}}
    env = make_env(ID, num_envs=episodes, time_limit=steps, options=options)
    returns = evaluate_returns(agent, env, episodes, seed).returns
    treasure = returns == DetourMaze.goal_reward
    decoy = returns == DetourMaze.decoy_reward
    return Found(float(treasure.mean()), float(decoy.mean()), float(returns.mean()))


def free_cells() -> DetourMazeState:
    """Every cell where an episode goes on and from which the treasure can be reached."""
    distance = DetourMaze().distance_to_goal
    return DetourMazeState(*np.nonzero(np.isfinite(distance) & (distance > 0)))


def best_value(cells: DetourMazeState) -> Float[np.ndarray, " N"]:
    """The discounted return of the best way from each cell: to the treasure, or to the coin."""
    world = DetourMaze()
    goal, decoy = (
        reward * DISCOUNT ** (distance[cells.row, cells.column] - 1)
        for reward, distance in (
            (world.goal_reward, world.distance_to_goal),
            (world.decoy_reward, world.distance_to_decoy),
        )
    )
    return np.maximum(goal, decoy)


@torch.no_grad()
def value_error(model: WorldModel, value: Value, seed: int) -> float:
    """Mean relative error of a learned value over all free cells, each seen in one frame."""
    cells = free_cells()
    torch.manual_seed(seed)
    guess = value(model.feature(first_sight(model, DetourMaze(), cells))).numpy()
    exact = best_value(cells)
    return float((np.abs(guess - exact) / exact).mean())


@torch.no_grad()
def dream_accuracy(model: WorldModel, seed: int, dreams: int = 300, horizon: int = 10) -> float:
    """Share of dreams under random actions whose last picture shows the true cell."""
    world, cells = DetourMaze(), free_cells()
    rng = np.random.default_rng(seed)
    start = rng.integers(len(cells.row), size=dreams)
    state = DetourMazeState(cells.row[start], cells.column[start])
    actions = rng.integers(4, size=(dreams, horizon))
    torch.manual_seed(seed)
    onehot = torch.eye(4)[torch.from_numpy(actions)]
    dream = model.rollout(first_sight(model, world, state), onehot)
    for step in range(horizon):
        state = world.step(state, actions[:, step]).state
    seen = shown_cells(model.decode(dream.feature[:, -1]))
    return float(((seen.row == state.row) & (seen.column == state.column)).mean())


def shown_cells(frames: UInt8[Tensor, "N C h w"]) -> DetourMazeState:
    """The cells whose true frames are nearest to each of the frames."""
    world = DetourMaze()
    side = len(world.distance_to_goal)
    all_cells = DetourMazeState(*np.divmod(np.arange(side**2), side))
    true = rearrange(torch.from_numpy(world.render(all_cells)), "K h w C -> K (h w C)").float()
    shown = rearrange(frames, "N C h w -> N (h w C)").float()
    nearest = torch.cdist(shown, true).argmin(1).numpy()
    return DetourMazeState(*np.divmod(nearest, side))
