"""The main job on a built-in world, with the story of the cliff.

A model learned from random data knows that higher is better, but not what an edge is. Its planner
walks over it. Rounds of executing plans, and learning from what happened, mend that.

Reference: Ross & Bagnell, 2012 (data aggregation for model learning).
"""

import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import lightning as L
import numpy as np
from PIL import Image

from worldmodels.agent import Agent
from worldmodels.dynamics.rssm import GaussianRSSM
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.make import make_env
from worldmodels.envs.worlds.cliff_hill import CliffHill
from worldmodels.evaluation.imagine import imagine_episode
from worldmodels.evaluation.open_loop import COPY, MODEL, OpenLoopError, open_loop
from worldmodels.evaluation.returns import Returns, evaluate_returns
from worldmodels.losses import BalancedKL, Continues, Reconstruction, Reward
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import ContinueHead, GaussianRewardHead
from worldmodels.planning import CEM, MPC
from worldmodels.replay.collect import FrameAgent, RandomAgent
from worldmodels.replay.files import write_text
from worldmodels.training.module import WorldModelModule
from worldmodels.training.round import evaluating
from worldmodels.training.run import Run, RunFolder
from worldmodels.training.settings import Batches, Collect, Evaluate, Optimiser
from worldmodels.training.train import train
from worldmodels.viz.panels import dream_panels
from worldmodels.viz.plots import error_by_horizon, save_figure
from worldmodels.viz.video import write_video
from worldmodels.world_model import WorldModel

WORLD = "worldmodels/CliffHill-v0"
SEED, CONTEXT, HORIZON = 77, 5, 40


class Walk(NamedTuple):
    """Episodes on hills that end in a cliff, and which of them ended in a fall."""

    returns: Returns
    fallen: np.ndarray


class CliffStory(L.Callback):
    """Sends the agent up the same hills after the first round and after the last one.

    Args:
        env: hills that all end in a cliff.

    Attributes:
        walks: by the rounds in which the agent had collected itself.
    """

    def __init__(self, env: PixelEnv):
        self.env = env
        self.walks: dict[int, Walk] = {}

    def on_train_epoch_end(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """After every round."""
        if trainer.current_epoch == 0 or module.update == module.updates:
            with evaluating(module):
                self.walks[trainer.current_epoch] = walk(module.agent, self.env)


@dataclass(frozen=True)
class Demo:
    """What the demo learned and found.

    Attributes:
        run: the training run, with the dream beside it.
        random: a random agent on the hills.
        walks: the planner on the same hills, by the rounds in which it had collected itself.
        errors: of the dreams, by horizon.
        seconds: of the whole demo.
    """

    run: Run
    random: Walk
    walks: dict[int, Walk]
    errors: OpenLoopError
    seconds: float

    @property
    def last(self) -> Walk:
        """After the last round."""
        return self.walks[max(self.walks)]

    def facts(self) -> dict[str, str]:
        """Name and value of everything that is worth telling."""
        record = self.run.record
        facts = {
            "device": record["device"],
            "parameters": f"{record['parameters']:,}",
            "env steps": f"{record['env_steps']:,}",
            "updates": f"{record['updates']:,}",
            "minutes": f"{self.seconds / 60:.1f}",
            "random return": str(self.random.returns.interval),
        }
        for count, walked in self.walks.items():
            rounds = f"{count} round{'s' if count > 1 else ''} of its own"
            name = rounds if count else "random data alone"
            facts[f"planner return, {name}"] = str(walked.returns.interval)
            facts[f"planner falls, {name}"] = f"{walked.fallen.sum()} of {len(walked.fallen)}"
        facts["ms per decision"] = f"{self.last.returns.decision_ms:.1f}"
        for step in (5, 15, HORIZON):
            model, copy = (self.errors.moving_psnr[who].mean[step - 1] for who in (MODEL, COPY))
            facts[f"open loop, step {step}"] = (
                f"{model:.1f} dB against {copy:.1f} dB of the last frame (moving pixels)"
            )
        return facts


def demo_model(env: PixelEnv) -> WorldModel:
    """A small world model; it sees frames averaged over squares of 2 pixels."""
    return WorldModel(
        env.obs_shape,
        env.action_space,
        encoder=partial(ConvEncoder, depth=8, downscale=2),
        dynamics=partial(GaussianRSSM, stoch=16, deter=64, hidden=64),
        decoder=partial(ConvDecoder, depth=16, upscale=2),
        reward=partial(GaussianRewardHead, hidden=64),
        continues=partial(ContinueHead, hidden=64),
        terms=(Reconstruction(0.25, 0.25), Reward(100.0), Continues(), BalancedKL()),
    )


def demo(
    name: str = "demo",
    out: Path | str = "runs",
    seed: int = 0,
    updates: int = 990,
    round_updates: int = 330,
    prefill: int = 3000,
    copies: int = 30,
    episodes: int = 60,
    size: tuple[int, int] = (64, 64),
) -> Demo:
    """Collects, learns, plans, corrects itself, and shows its dream.

    An earlier run of the same name is moved aside.

    Args:
        name: the run's folder is ``<out>/<name>``.
        out: folder of all runs.
        seed: of everything.
        updates: optimiser steps in all.
        round_updates: updates between two collections.
        prefill: random steps before the first update.
        copies: of the environment, stepped together.
        episodes: hills that the agent climbs after the first and the last round. Hills differ more
            than walkers do: few of them would not tell a planner from chance.
        size: height and width of the frames.
    """
    started = time.perf_counter()
    folder = RunFolder(Path(out) / name).path
    if folder.exists():
        folder.rename(folder.with_name(f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"))
    L.seed_everything(seed, verbose=False)
    env = make_env(WORLD, num_envs=copies, size=size)
    cliffs = {"world": CliffHill(above_share=0.0)}
    hills = make_env(WORLD, num_envs=episodes, size=size, options=cliffs)
    planner = CEM(env.action_space, 12, candidates=64, iterations=3, elites=8, kept_elites=0)
    agent = Agent(demo_model(env), MPC(planner, replan_every=2))
    story = CliffStory(hills)
    run = train(
        agent,
        env,
        name=name,
        out=out,
        seed=seed,
        updates=updates,
        round_updates=round_updates,
        optimiser=Optimiser(learning_rate=1e-3),
        batches=Batches(batch_size=16, batch_length=20),
        collect=Collect(prefill=prefill, replay_ratio=64.0),
        evaluate=Evaluate(every=0),
        callbacks=[story],
    )
    random = walk(RandomAgent(hills.action_space), hills)
    last = story.walks[max(story.walks)]
    errors = open_loop(demo_world(run.agent), last.returns.episodes, CONTEXT, HORIZON)
    _pictures(run, last, errors, hills.frame_rate)
    told = Demo(run, random, story.walks, errors, time.perf_counter() - started)
    write_text(run.path / "demo.json", json.dumps(told.facts(), indent=1))
    return told


def walk(agent: FrameAgent, env: PixelEnv) -> Walk:
    """Plays an episode in each copy; who lies at a cliff's foot has lost every further reward."""
    returns = evaluate_returns(agent, env, env.num_envs, SEED)
    # Height is the reward, and a walker that stands is above 0 practically surely.
    fallen = np.array([episode.reward[-1] == 0 for episode in returns.episodes])
    return Walk(returns, fallen)


def demo_world(agent: Agent) -> WorldModel:
    """The world model of an agent that has one."""
    assert isinstance(agent.world_model, WorldModel)
    return agent.world_model


def _pictures(run: Run, walk: Walk, errors: OpenLoopError, frame_rate: float) -> None:
    episode = walk.returns.episodes[0]
    dream = imagine_episode(demo_world(run.agent), episode, CONTEXT, HORIZON, futures=2)
    frames = dream_panels(dream, title="CliffHill")
    write_video(run.path / "dream.mp4", frames, frame_rate)
    Image.fromarray(frames[-1]).save(run.path / "dream.png")
    curves = error_by_horizon(errors.panels(), "CliffHill, open loop")
    save_figure(curves, run.path / "open_loop.png")
