"""How studies learn models from pixels, in the demo's sizes, and plan in them."""

from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from worldmodels.agent import Agent
from worldmodels.behaviours import Behaviour
from worldmodels.dynamics import GaussianRSSM
from worldmodels.dynamics.base import repeat_state
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.world import World, WorldState
from worldmodels.losses import BalancedKL, Continues, LossTerm, Reconstruction, Reward
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import ContinueHead, GaussianRewardHead
from worldmodels.planning import CEM, MPC, Planner
from worldmodels.studies.exact import world_score
from worldmodels.training.settings import Batches, Collect, Evaluate, Optimiser, Replay
from worldmodels.types import ActionSpace, ScoreFn, State
from worldmodels.world_model import LatentModel, WorldModel

if TYPE_CHECKING:
    from worldmodels.training.run import Run

COPIES = 30
"""Copies of the environment that play side by side; each plays one episode at a collection."""

BATCHES = Batches(batch_size=16, batch_length=20)
OPTIMISER = Optimiser(learning_rate=1e-3)
NEVER = Evaluate(every=0)


def loss_terms(
    image: float = 0.25,
    fraction: float = 0.25,
    reward: float = 100.0,
    continues: float = 1.0,
    kl: BalancedKL | None = None,
) -> tuple[LossTerm, ...]:
    """The terms of a small model's loss by their weights.

    Args:
        image: weight of the reconstruction.
        fraction: share of the time steps that are decoded.
        reward: weight of the reward.
        continues: weight of the continuation.
        kl: with its own weights; its defaults when None.
    """
    kl = BalancedKL() if kl is None else kl
    return Reconstruction(image, fraction), Reward(reward), Continues(continues), kl


PARTS: Mapping[str, Any] = MappingProxyType(
    {
        "encoder": partial(ConvEncoder, depth=8, downscale=2),
        "decoder": partial(ConvDecoder, depth=8, upscale=2),
        "dynamics": partial(GaussianRSSM, stoch=16, deter=64, hidden=64),
        "reward": partial(GaussianRewardHead, hidden=64),
        "continues": partial(ContinueHead, hidden=64),
        "terms": loss_terms(),
    }
)
"""The parts of the demo's world model."""


def small_model(env: PixelEnv, **parts: Any) -> WorldModel:
    """An untrained world model of the demo's sizes; ``parts`` replace its own."""
    return WorldModel(env.obs_shape, env.action_space, **(dict(PARTS) | parts))


def small_search(space: ActionSpace, candidates: int = 100, iterations: int = 4) -> CEM:
    """The demo's planner."""
    return CEM(space, 12, candidates, iterations, elites=10, kept_elites=0)


def small_agent(env: PixelEnv, **parts: Any) -> Agent:
    """An untrained agent that plans in a small model; ``parts`` replace those of the model."""
    return Agent(small_model(env, **parts), MPC(small_search(env.action_space)))


def learn(
    folder: Path,
    env: PixelEnv,
    seed: int,
    updates: int,
    collect: Collect,
    agent: Callable[[PixelEnv], Agent] = small_agent,
    round_updates: int | None = None,
    resume: bool = False,
    batches: Batches = BATCHES,
    optimiser: Optimiser = OPTIMISER,
    evaluate: Evaluate = NEVER,
    replay: Replay = Replay(),
) -> "Run":
    """Trains an agent online.

    Args:
        folder: of the run.
        env: where it acts.
        seed: of everything, the first weights included.
        updates: optimiser steps in all.
        collect: how experience is collected.
        agent: builds the untrained agent.
        round_updates: updates between two collections; all of them when None.
        resume: go on with the run that ``folder`` holds.
        batches: see ``train``.
        optimiser: see ``train``.
        evaluate: see ``train``.
        replay: see ``train``.
    """
    # Imported on use: Lightning takes seconds that studies without learning need not wait.
    from worldmodels.training.train import train

    seed_all(seed)
    return train(
        agent(env), env, name=folder.name, out=folder.parent, resume=resume, seed=seed,
        updates=updates, round_updates=updates if round_updates is None else round_updates,
        collect=collect, batches=batches, optimiser=optimiser, evaluate=evaluate, replay=replay,
    )  # fmt: skip


def learn_offline(
    folder: Path,
    data: Path,
    seed: int,
    updates: int,
    agent: Callable[[], Agent],
    batches: Batches = BATCHES,
    optimiser: Optimiser = OPTIMISER,
    replay: Replay = Replay(),
) -> Agent:
    """Trains an agent on recorded episodes alone.

    Args:
        folder: of the run.
        data: the recorded episodes.
        seed: of everything, the first weights included.
        updates: optimiser steps.
        agent: builds the untrained agent.
        batches: see ``train``.
        optimiser: see ``train``.
        replay: see ``train``.

    Returns:
        The agent, in evaluation mode.
    """
    from worldmodels.training.train import train

    seed_all(seed)
    return train(
        agent(), data=data, name=folder.name, out=folder.parent, seed=seed, updates=updates,
        round_updates=updates, batches=batches, optimiser=optimiser, replay=replay,
    ).agent  # fmt: skip


def learn_behaviour(
    folder: Path,
    data: Path,
    seed: int,
    updates: int,
    model: LatentModel,
    behaviour: Callable[[int, ActionSpace], Behaviour],
    batches: Batches,
    cooldown: float = 0.0,
) -> Agent:
    """Trains a behaviour inside a finished model, which is frozen, from recorded episodes.

    Args:
        folder: of the run.
        data: the recorded episodes, whose states the behaviour imagines from.
        seed: of everything, the first weights included.
        updates: optimiser steps.
        model: where it imagines.
        behaviour: builds the untrained behaviour.
        batches: see ``train``.
        cooldown: share of the updates over which learning rates fall to zero.

    Returns:
        An agent that acts by the policy, in evaluation mode.
    """

    def agent() -> Agent:
        frozen = model.requires_grad_(False)
        return Agent(frozen, behaviour(model.feature_dim, model.action_space), noise=0.0)

    optimiser = Optimiser(cooldown=cooldown)
    return learn_offline(folder, data, seed, updates, agent, batches, optimiser)


def model_of(agent: Agent) -> WorldModel:
    """The world model of an agent that has one."""
    assert isinstance(agent.world_model, WorldModel)
    return agent.world_model


def seed_all(seed: int) -> None:
    """Seeds torch, numpy and Python, as ``worldmodels fit`` does before it builds an agent."""
    from lightning import seed_everything

    seed_everything(seed, verbose=False)


def random_data(steps: int) -> Collect:
    """All data is collected at random before the first update."""
    # An infinite replay ratio asks for no step after the prefill.
    return Collect(prefill=steps, replay_ratio=inf)


class PlanOutcome(NamedTuple):
    """The mean returns of plans: as a learned model predicts them, and actual ones."""

    predicted: float
    actual: float


def learned_plan(
    model: WorldModel, world: World, start: WorldState, planner: Planner, seed: int
) -> PlanOutcome:
    """Plans once in a learned model, which sees the first frame of each start."""
    torch.manual_seed(seed)
    with torch.no_grad():
        latent = first_state(model, world, start)
        plan = cold_plan(planner, model.score, latent, len(start[0]), seed)  # B H A
        # Latents are drawn: an average over rows, free of the luck that the planner selected.
        rows = plan.repeat_interleave(32, 0)[:, None]  # (B 32) 1 H A
        predicted = model.score(repeat_state(latent, 32), rows).mean()
    actual = world_score(world)(start, plan[:, None]).mean()
    return PlanOutcome(float(predicted), float(actual))


def cold_plan(
    planner: Planner, score: ScoreFn, state: State, count: int, seed: int
) -> Float[Tensor, "B H A"]:
    """A plan for each of ``count`` states, without a warm start."""
    generator = torch.Generator().manual_seed(seed)
    return planner.plan(score, state, planner.initial(count), generator).actions


def first_state(model: WorldModel, world: World, start: WorldState) -> State:
    """The latent state after the first frame of each start."""
    frames = rearrange(torch.from_numpy(world.render(start)), "B h w C -> B C h w")
    fresh = model.dynamics.initial(len(frames))
    action = torch.zeros(len(frames), model.action_space.dim)
    return model.filter(frames, action, torch.ones(len(frames), dtype=torch.bool), fresh)
