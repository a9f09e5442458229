"""Agents of the smallest sizes, runs of a few updates, and processes that are killed."""

import functools
import os
import signal
import traceback
from functools import partial

import lightning as L
import torch
from safetensors.torch import load_file

from worldmodels.behaviours import SAC, ActorCritic, Distillation, DynamicsBackprop
from worldmodels.checkpoint import build_agent
from worldmodels.dynamics import GaussianRSSM
from worldmodels.envs.make import make_env
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import ContinueHead, GaussianRewardHead
from worldmodels.planning import CEM
from worldmodels.training.settings import Batches, Collect, Evaluate
from worldmodels.training.train import train
from worldmodels.world_model import WorldModel

WORLD = {"id": "worldmodels/CliffHill-v0", "num_envs": 2, "size": (16, 16), "time_limit": 8}
PARTS = {
    "encoder": partial(ConvEncoder, depth=2),
    "dynamics": partial(GaussianRSSM, stoch=4, deter=8, hidden=8),
    "decoder": partial(ConvDecoder, depth=2),
    "reward": partial(GaussianRewardHead, hidden=8),
    "continues": partial(ContinueHead, hidden=8),
}
MODEL = partial(WorldModel, **PARTS)
PLANNER = partial(CEM, horizon=2, candidates=4, iterations=1, elites=2)
DREAMER = partial(ActorCritic, gradient=DynamicsBackprop, horizon=3, starts=4, hidden=8)
STUDENT = partial(
    Distillation, teacher=PLANNER, horizon=3, starts=4, hidden=8, queries=4, memory=8,
    query_every=2, labels=8,
)  # fmt: skip
SMALL_SAC = partial(SAC, hidden=8)
# What the same agent and run look like as options of `worldmodels fit`.
OPTIONS = [
    "--env.id=worldmodels/CliffHill-v0", "--env.num_envs=2", "--env.size=[16,16]",
    "--env.time_limit=8",
    "--model.encoder.depth=2", "--model.decoder.depth=2", "--model.dynamics.stoch=4",
    "--model.dynamics.deter=8", "--model.dynamics.hidden=8", "--model.reward.hidden=8",
    "--model.continues.hidden=8",
    "--planner=CEM", "--planner.horizon=2", "--planner.candidates=4", "--planner.iterations=1",
    "--planner.elites=2",
    "--batches.batch_size=2", "--batches.batch_length=4",
    "--collect.prefill=16", "--collect.replay_ratio=4",
    "--evaluate.every=0", "--updates=6", "--round_updates=3", "--log_every=1",
]  # fmt: skip


@functools.cache
def world():
    """Two copies of a hill; every use begins with a reset, so all runs may share it."""
    return make_env(**WORLD)


def small_agent(seed=0, env=None, **parts):
    """An untrained agent; CEM plans in its world model unless other parts are given."""
    env = env or world()
    parts = {"model": MODEL} | ({} if "behaviour" in parts else {"planner": PLANNER}) | parts
    L.seed_everything(seed, verbose=False)
    return build_agent(env.obs_shape, env.action_space, **parts)


def learn(out, name="run", agent=None, **settings):
    """A run of two rounds of three updates, online unless ``data`` is given."""
    given = {
        "env": None if settings.get("data") else world(),
        "updates": 6,
        "round_updates": 3,
        "log_every": 1,
        "batches": Batches(batch_size=2, batch_length=4),
        "collect": Collect(prefill=16, replay_ratio=4.0),
        "evaluate": Evaluate(every=0),
    }
    return train(agent or small_agent(), name=name, out=out, **given | settings)


def weights(run):
    """What a run's ``model/`` folder holds."""
    return load_file(getattr(run, "path", run) / "model" / "weights.safetensors")


def assert_equal(found, expected):
    """The same tensors, bit for bit."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def assert_same_run(found, expected):
    """The same weights, metrics and recording, bit for bit."""
    assert_equal(weights(found), weights(expected))
    for name in ("metrics.jsonl", "metrics.csv"):
        assert (found / name).read_text() == (expected / name).read_text()
    shards = [sorted((run / "replay").glob("*.shard")) for run in (found, expected)]
    recorded = [[path.read_bytes() for path in paths] for paths in shards]
    assert recorded[0] == recorded[1]


def run_until_killed(work):
    """Does something in a process of its own, which must end by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process ended before it was killed"
    assert os.WTERMSIG(status) == signal.SIGKILL


def kill_here(*_, **__):
    """The end of this process, at once."""
    os.kill(os.getpid(), signal.SIGKILL)


class Kill(L.Callback):
    """Kills the process after a number of batches, in the middle of a round."""

    def __init__(self, batches):
        self.left = batches

    def on_train_batch_end(self, *_):
        self.left -= 1
        if not self.left:
            kill_here()
