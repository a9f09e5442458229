"""Runs that were never trained: an agent of the smallest sizes, saved as a run holds it."""

from functools import partial

import torch

from worldmodels.behaviours import ActorCritic, Distillation
from worldmodels.checkpoint import build_agent, save_agent
from worldmodels.dynamics import GaussianRSSM
from worldmodels.envs.make import make_env
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.planning import CEM, MPC
from worldmodels.world_model import WorldModel

SMALL = {
    "encoder": partial(ConvEncoder, depth=2),
    "dynamics": partial(GaussianRSSM, stoch=4, deter=8, hidden=8),
    "decoder": partial(ConvDecoder, depth=2),
}
MODEL = partial(WorldModel, **SMALL)
PLANNER = partial(CEM, horizon=2, candidates=4, iterations=1, elites=2)
POLICY = partial(ActorCritic, hidden=8)
STUDENT = partial(
    Distillation, teacher=PLANNER, horizon=2, starts=4, hidden=8, queries=4
)  # fmt: skip
CLIFF = {"id": "worldmodels/CliffHill-v0", "size": (16, 16), "time_limit": 4}
COUNTING = {"id": "worldmodels/Counting-v0", "size": (16, 16)}


def small_agent(world=CLIFF, **parts):
    """An agent for a world; CEM plans in it unless other parts are given."""
    torch.manual_seed(0)
    env = make_env(**world)
    parts = {"model": MODEL, "planner": PLANNER} | parts
    agent = build_agent(env.obs_shape, env.action_space, **parts)
    env.close()
    return agent


def save_run(folder, world=CLIFF, **parts):
    """A run's folder with its model."""
    save_agent(folder / "model", small_agent(world, **parts), world)
    return folder


def guided_run(folder):
    """A planner that a student of it guides, with two proposals of the student."""
    return save_run(folder, behaviour=STUDENT, mpc=partial(MPC, proposals=2))
