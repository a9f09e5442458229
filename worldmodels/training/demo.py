"""`worldmodels demo`: the main job on a built-in world, with the story of the cliff.

A model learned from random data knows that higher is better, but not what an edge is. Its planner
walks over it. One round of executing plans, and learning from what happened, mends that.

Reference: Ross & Bagnell, 2012 (data aggregation for model learning).
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from worldmodels.agent import Agent
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.make import make_env
from worldmodels.envs.worlds.cliff_hill import CliffHill
from worldmodels.evaluation import Returns, evaluate_returns, imagine_episode, open_loop
from worldmodels.evaluation.open_loop import COPY, MODEL, OpenLoopError
from worldmodels.replay.collect import FrameAgent, RandomAgent
from worldmodels.training.callbacks import evaluating
from worldmodels.training.fit import fit, fit_parser
from worldmodels.training.module import WorldModelModule
from worldmodels.training.run import RunFolder, write_text
from worldmodels.viz.panels import dream_panels
from worldmodels.viz.plots import error_by_horizon, save_figure
from worldmodels.viz.video import write_video

CONFIG = Path(__file__).parent.parent.parent / "configs" / "demo.yaml"
NAME = "demo"
EPISODES, SEED = 20, 77
CONTEXT, HORIZON = 5, 40


class Walk(NamedTuple):
    """Episodes on hills that end in a cliff, and which of them ended in a fall."""

    returns: Returns
    fallen: np.ndarray


class CliffStory(L.Callback):
    """Sends the agent up the same hills after every round.

    Args:
        env: hills that all end in a cliff.
    """

    def __init__(self, env: PixelEnv):
        self.env = env
        self.walks: list[Walk] = []

    def on_train_epoch_end(self, trainer: L.Trainer, module: WorldModelModule) -> None:
        """After every round."""
        with evaluating(module):
            self.walks.append(walk(module.agent, self.env))


def walk(agent: FrameAgent, env: PixelEnv) -> Walk:
    """Plays ``EPISODES`` episodes; who lies at a cliff's foot has lost every further reward."""
    returns = evaluate_returns(agent, env, EPISODES, SEED)
    # Height is the reward, and a walker that stands is above 0 practically surely.
    fallen = np.array([episode.reward[-1] == 0 for episode in returns.episodes])
    return Walk(returns, fallen)


def demo(arguments: Sequence[str]) -> None:
    """Collects, learns, plans, corrects itself, and shows its dream."""
    if not CONFIG.exists():
        raise FileNotFoundError(f"no {CONFIG}: run the demo from a checkout of the project")
    arguments = ["--config", str(CONFIG), f"--name={NAME}", *arguments]
    # Before an earlier demo is moved aside: --help and mistakes end here.
    options = fit_parser("worldmodels demo").read(arguments)
    run = RunFolder(Path(options.out) / options.name)
    if run.path.exists():
        run.path.rename(run.path.with_name(f"{run.path.name}-{time.strftime('%Y%m%d-%H%M%S')}"))
    started = time.perf_counter()
    cliffs = make_env(
        "worldmodels/CliffHill-v0",
        num_envs=EPISODES,
        options={"world": CliffHill(above_share=0.0)},
    )
    story = CliffStory(cliffs)
    agent = fit(arguments, [story])
    random = walk(RandomAgent(cliffs.action_space), cliffs)
    after = story.walks[-1]
    errors = open_loop(agent.world_model, after.returns.episodes, CONTEXT, HORIZON)
    files = _pictures(run.path, agent, after, errors, cliffs.frame_rate)
    record = json.loads(run.record.read_text())
    seconds = time.perf_counter() - started
    facts = _run_facts(record, seconds) | _outcomes(random, story.walks, errors)
    facts["files"] = ", ".join(f"{run.path}/{name}" for name in files)
    write_text(run.path / "demo.json", json.dumps(facts, indent=1))
    Console().print(_table(facts))


def _pictures(
    folder: Path, agent: Agent, walk: Walk, errors: OpenLoopError, frame_rate: float
) -> tuple[str, ...]:
    episode = walk.returns.episodes[0]
    dream = imagine_episode(agent.world_model, episode, CONTEXT, HORIZON, futures=2)
    frames = dream_panels(dream, title="CliffHill")
    write_video(folder / "dream.mp4", frames, frame_rate)
    Image.fromarray(frames[-1]).save(folder / "dream.png")
    curves = error_by_horizon(errors.panels(), "CliffHill, open loop")
    save_figure(curves, folder / "open_loop.png")
    return "dream.mp4", "dream.png", "open_loop.png", "model/", "metrics.csv"


def _run_facts(run: dict[str, Any], seconds: float) -> dict[str, str]:
    return {
        "device": run["device"],
        "parameters": f"{run['parameters']:,}",
        "env steps": f"{run['env_steps']:,}",
        "updates": f"{run['updates']:,}",
        "minutes": f"{seconds / 60:.1f}",
    }


def _outcomes(random: Walk, walks: list[Walk], errors: OpenLoopError) -> dict[str, str]:
    names = ["random data alone", *[f"{k} round of its own" for k in range(1, len(walks))]]
    facts = {"random return": str(random.returns.interval)}
    for name, walked in zip(names, walks, strict=True):
        facts[f"planner return, {name}"] = str(walked.returns.interval)
        facts[f"planner falls, {name}"] = f"{walked.fallen.sum()} of {EPISODES}"
    facts["ms per decision"] = f"{walks[-1].returns.decision_ms:.1f}"
    for step in (5, 15, HORIZON):
        dreamt, copied = (errors.moving_psnr[who].mean[step - 1] for who in (MODEL, COPY))
        facts[f"open loop, step {step}"] = (
            f"{dreamt:.1f} dB against {copied:.1f} dB of the last frame (moving pixels)"
        )
    return facts


def _table(facts: dict[str, str]) -> Table:
    table = Table(title="From pixels to a dream", show_header=False)
    for name, value in facts.items():
        table.add_row(name, value)
    return table
