"""DetourMaze for studies: a model of it, what an agent finds in it, and what is true there."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor

from worldmodels.agent import Agent
from worldmodels.dynamics import CategoricalRSSM
from worldmodels.envs.make import make_env
from worldmodels.envs.worlds.detour_maze import DetourMaze, DetourMazeState
from worldmodels.evaluation import evaluate_returns
from worldmodels.losses import BalancedKL
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import ContinueHead, TwoHotHead
from worldmodels.nn.pixels import Centered
from worldmodels.studies.learning import (
    COPIES,
    first_state,
    learn,
    loss_terms,
    random_data,
    small_agent,
)
from worldmodels.training.settings import Batches, Optimiser
from worldmodels.types import Value
from worldmodels.world_model import WorldModel

if TYPE_CHECKING:
    from worldmodels.training.run import Run

ID = "worldmodels/DetourMaze-v0"
# Each step towards the treasure is value 3 % more: a value must tell 10 steps from 11.
DISCOUNT = 0.97
PLACES = "share of dreams of 10 random steps that end in the true cell, by their last picture"
PARTS: Mapping[str, Any] = MappingProxyType(
    {
        "encoder": partial(ConvEncoder, depth=16, stages=1, downscale=4),
        "decoder": partial(ConvDecoder, depth=8, stages=2, upscale=2),
        # The mean frame is nearly all: what remains is scaled up to the size of a new decoder's
        # noise, which it would otherwise first have to unlearn.
        "pixels": partial(Centered, scale=40.0),
        # A hundredth of uniform in each of 16 categoricals would disturb every seventh predicted
        # step.
        "dynamics": partial(
            CategoricalRSSM, stack=16, classes=16, deter=128, hidden=128, unimix=0.001
        ),
        "reward": partial(TwoHotHead, hidden=128, bins=41, limit=4.0),
        "continues": partial(ContinueHead, hidden=128),
        "terms": loss_terms(
            image=0.1,
            # The treasure is found once in hundreds of steps.
            reward=10.0,
            continues=10.0,
            # With a free nat per step the next cell may stay a guess among three.
            kl=BalancedKL(dynamics=1.0, representation=0.1, free_nats=0.1),
        ),
        "discount": DISCOUNT,
    }
)
# Each episode starts in another cell. In long ones some corners are hardly ever entered; a model
# that has not seen a corner imagines a way out of it, and the value leads there.
TIME_LIMIT = 20
BATCHES = Batches(batch_size=16, batch_length=8)
# With steady steps two models of five kept a hole somewhere, and a value finds holes.
OPTIMISER = Optimiser(learning_rate=1.5e-3, cooldown=0.4)


class Found(NamedTuple):
    """Shares of episodes that end at the treasure and at the coin, and the mean return."""

    treasure: float
    decoy: float
    returned: float


def learn_maze(folder: Path, seed: int, steps: int, updates: int) -> "Run":
    """A model of the maze from random episodes that start anywhere."""
    options = {"arguments": {"anywhere": 1.0}}
    env = make_env(ID, COPIES, time_limit=TIME_LIMIT, options=options)
    return learn(
        folder, env, seed, updates, random_data(steps), partial(small_agent, **PARTS),
        batches=BATCHES, optimiser=OPTIMISER,
    )  # fmt: skip


def find(agent: Agent, episodes: int, seed: int, steps: int = DetourMaze.time_limit) -> Found:
    """Plays episodes of so many steps from the starts near the coin."""
    options = {"arguments": {"anywhere": 0.0}}
    env = make_env(ID, num_envs=episodes, time_limit=steps, options=options)
    returns = evaluate_returns(agent, env, episodes, seed).values
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
    guess = value(model.feature(first_state(model, DetourMaze(), cells))).numpy()
    exact = best_value(cells)
    return float((np.abs(guess - exact) / exact).mean())


@torch.no_grad()
def prediction_accuracy(model: WorldModel, seed: int, count: int = 300, horizon: int = 10) -> float:
    """Share of predicted sequences of random actions whose last picture shows the true cell."""
    world, cells = DetourMaze(), free_cells()
    rng = np.random.default_rng(seed)
    start = rng.integers(len(cells.row), size=count)
    state = DetourMazeState(cells.row[start], cells.column[start])
    actions = rng.integers(4, size=(count, horizon))
    torch.manual_seed(seed)
    onehot = torch.eye(4)[torch.from_numpy(actions)]
    trajectory = model.predict(first_state(model, world, state), onehot)
    for step in range(horizon):
        state = world.step(state, actions[:, step]).state
    seen = shown_cells(model.decode(trajectory.feature[:, -1]))
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
