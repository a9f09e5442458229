"""PDDM: ensemble, filtered noise and reward-weighted plans, each left out in turn."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from worldmodels.agent import Agent
from worldmodels.envs.make import make_env
from worldmodels.envs.worlds.baoding import BaodingPix
from worldmodels.evaluation import evaluate_returns
from worldmodels.planning import CEM, MPC, Planner, RandomShooting
from worldmodels.planning import PDDM as PDDMPlanner
from worldmodels.replay.collect import FrameAgent, RandomAgent
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.learning import learn, random_data
from worldmodels.studies.results import Check, Numbers, Results

FULL, ONE, WHITE = "PDDM", "one member", "unfiltered noise"
SHOOTING_ARM, CEM_ARM, SAC_ARM = "random shooting", "CEM", "SAC"
RANDOM_DATA, RANDOM = "random data", "random policy"
RETURN, DROPS = "return", "drops"
ID = "worldmodels/BaodingPix-v0"
HORIZON, CANDIDATES, KAPPA, BETA, MEMBERS = 8, 30, 20.0, 0.5, 3
# Steps asked for per trajectory, of the time limit: random ones last 76 % of it on average.
RANDOM_SHARE, OWN_SHARE = 0.67, 0.84
_HANDS = BaodingPix.action_space
PLANNERS: Mapping[str, Planner] = MappingProxyType(
    {
        FULL: PDDMPlanner(_HANDS, HORIZON, CANDIDATES, 1, KAPPA, BETA, kept_elites=0),
        WHITE: PDDMPlanner(_HANDS, HORIZON, CANDIDATES, 1, KAPPA, beta=1.0, kept_elites=0),
        SHOOTING_ARM: RandomShooting(_HANDS, HORIZON, CANDIDATES + 1),
        CEM_ARM: CEM(_HANDS, HORIZON, CANDIDATES // 2, 2, elites=2, kept_elites=0),
    }
)
# Squares of 4 pixels, averaged: where a ball stands shows in how much of each it covers.
MODEL: Mapping[str, Any] = MappingProxyType(
    {
        "model.encoder.downscale": 4,
        "model.decoder.upscale": 4,
        "model.dynamics": "EnsembleRSSM",
        "model.dynamics.particles": MEMBERS,
        "model.dynamics.stoch": 16,
        "model.dynamics.deter": 64,
        "model.dynamics.hidden": 64,
        # A drop would outweigh all other rewards in a squared error.
        "model.reward": "TwoHotHead",
        "model.reward.bins": 41,
        "model.reward.limit": 3.0,
        "model.reward.hidden": 64,
        "model.reward_weight": 30.0,
        "model.continues.hidden": 32,
        "batches.batch_size": 32,
        "batches.batch_length": 10,
        "train.learning_rate": 2e-3,
        "planner": "PDDM",
        "planner.horizon": HORIZON,
        "planner.candidates": CANDIDATES,
        "planner.iterations": 1,
        "planner.kappa": KAPPA,
        "planner.beta": BETA,
        "planner.kept_elites": 0,
        "noise": 0.1,
    }
)
# As configs/recipe/sac.yaml, at the model's sizes.
SAC: Mapping[str, Any] = MappingProxyType(
    {
        "model": "Perception",
        "model.encoder": "ConvEncoder",
        "model.encoder.depth": 8,
        "model.encoder.downscale": 4,
        "behaviour": "ModelFree",
        "behaviour.algorithm": "SAC",
        "behaviour.algorithm.hidden": 64,
        "behaviour.algorithm.actor_learning_rate": 5e-4,
        "behaviour.algorithm.critic_learning_rate": 1e-3,
        "behaviour.algorithm.temperature_learning_rate": 3e-3,
        "behaviour.algorithm.value_scale": 10.0,
        "acting": "ByPolicy",
        "noise": 0.0,
        "train.learning_rate": 1e-3,
        "batches.batch_size": 32,
        "batches.batch_length": 10,
    }
)


@dataclass(frozen=True)
class PDDM(Study):
    """BaodingPix in rounds of 30 trajectories: 30 random ones, then the planner's own.

    Horizon and search were chosen by the world's own equations before any model was trained. With
    8 steps and 32 plans evaluated per decision (16 starts) PDDM returned 89, CEM 82 and 79 with 2
    and 3 iterations, unfiltered noise 79, shooting 60. Elsewhere the rule could not hold: with 62
    plans CEM returned 92 and 93, PDDM 86; with 32 plans of 6 steps CEM returned 85 and 91, PDDM 86
    (91 with beta 0.3).

    Full system and one member learn and collect on their own. Unfiltered noise, shooting and CEM
    plan in the full system's model, so that they differ in nothing else.

    At these sizes the models do not learn enough to plan in, so the rule was expected to fail and
    does. Found with seed 100 and episodes of the exact planner beside random ones:

    - The records are right: frames, rewards and ends are the world's own under recorded actions.
    - The picture is learned. Squares of 4 pixels cannot show 0.36 of what varies in a frame, so an
      ``image_fvu`` of 0.42 (1,200 updates) is near the best.
    - What an action does is not. In a step random pushes move a ball by a quarter of a pixel. With
      the balls' positions in place of frames, scores in one RSSM of these sizes (mean of 32 draws)
      agree with the world's to 0.2 after 1,500 updates, 0.40 after 3,000 and 0.50 after 6,000, and
      PDDM returns -3, 12 and 64 in it (46 after 3,000 with layers of 256). A perceptron
      that is told the state learns 0.6 of an action's effect in 250 updates: it is in the data.
    - From pixels, three members with layers of 256 were not enough after 3,500 updates: their six
      rounds returned -6 to 2, random play 4. That alone took seven minutes of one processor.
    - Acting every second or third step would show more of an action, but there CEM returns more
      than PDDM with the world's own equations.
    """

    claim: ClassVar[str] = (
        "With an ensemble of three, filtered noise and reward-weighted plans a planner learns from "
        "a few rounds of 30 trajectories to roll two balls; each part of it is needed."
    )
    rule: ClassVar[str] = (
        "The interval of the paired differences of mean returns lies above 0: PDDM minus one "
        "member, minus unfiltered noise, minus random shooting, minus CEM, minus SAC, and minus "
        "PDDM with a model of as many random steps. All planners evaluate 31 or 32 plans a "
        "decision; members are equal in particles, and SAC in environment steps."
    )
    arms: ClassVar[tuple[Variant, ...]] = (
        Variant(FULL, Role.METHOD, "3 members, beta 0.5, kappa 20, 30 plans of 8 steps"),
        Variant(ONE, Role.BASELINE, "as PDDM, trained and collected with 1 member of 3 particles"),
        Variant(WHITE, Role.BASELINE, "PDDM's model; noise not filtered (share of new noise 1)"),
        Variant(SHOOTING_ARM, Role.BASELINE, "PDDM's model; the best of as many uniform plans"),
        Variant(CEM_ARM, Role.BASELINE, "PDDM's model; two iterations of half as many plans"),
        Variant(SAC_ARM, Role.BASELINE, "model-free, as many environment steps and updates"),
        Variant(RANDOM_DATA, Role.ABLATION, "PDDM; as many steps and updates, but no rounds"),
        Variant(RANDOM, Role.ABLATION, "uniform actions"),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            RETURN: "mean over episodes of 100 steps (98 by a script that knows the state)",
            DROPS: "share of episodes that end with a dropped ball",
        }
    )
    time_limit: int = 100
    trajectories: int = 30
    rounds: int = 4
    round_updates: int = 120
    episodes: int = 10

    @classmethod
    def smoke(cls) -> "PDDM":
        """Hardly any training."""
        return cls(time_limit=20, trajectories=2, rounds=2, round_updates=2, episodes=1)

    def run(self, seed: int, folder: Path) -> Numbers:
        """Four trainings, the control's from the full system's first round on."""
        full = self._model(MEMBERS)
        learn(folder / "full", seed, full | {"updates": self.round_updates})
        shutil.copytree(folder / "full", folder / "random")
        agent = learn(folder / "full", seed, full, resume=True)
        steps = json.loads((folder / "full" / "run.json").read_text())["env_steps"]
        control = full | random_data(steps, self._updates) | {"round_updates": self.round_updates}
        agents = {
            **{arm: planner_agent(agent, planner) for arm, planner in PLANNERS.items()},
            ONE: learn(folder / "one", seed, self._model(1)),
            SAC_ARM: learn(folder / "sac", seed, {**self._collecting(), **SAC}),
            RANDOM_DATA: learn(folder / "random", seed, control, resume=True),
            RANDOM: RandomAgent(BaodingPix.action_space),
        }
        numbers = {}
        for name, actor in agents.items():
            numbers[name] = self._play(actor, seed)
            print(name, numbers[name], flush=True)
        return numbers

    def verdict(self, results: Results) -> list[Check]:
        """The full system above all that lack a part."""
        others = (ONE, WHITE, SHOOTING_ARM, CEM_ARM, SAC_ARM, RANDOM_DATA)
        return [results.beats(FULL, other, RETURN) for other in others]

    @property
    def _updates(self) -> int:
        return self.rounds * self.round_updates

    def _collecting(self) -> dict[str, Any]:
        steps = self.time_limit * self.trajectories
        return {
            "env.id": ID,
            "env.num_envs": self.trajectories,
            "env.time_limit": self.time_limit,
            "collect.prefill": round(RANDOM_SHARE * steps),
            "collect.episodes": self.trajectories,
            "collect.updates_per_step": self.round_updates / (OWN_SHARE * steps),
            "updates": self._updates,
            "round_updates": self.round_updates,
        }

    def _model(self, members: int) -> dict[str, Any]:
        return {**self._collecting(), **MODEL, "model.dynamics.members": members}

    def _play(self, actor: FrameAgent, seed: int) -> dict[str, float]:
        env = make_env(ID, num_envs=self.episodes, time_limit=self.time_limit)
        played = evaluate_returns(actor, env, self.episodes, 1000 + 100 * seed)
        # A dropped ball alone ends an episode before its time limit.
        dropped = np.array([episode.is_terminal[-1] for episode in played.episodes])
        return {RETURN: float(played.returns.mean()), DROPS: float(dropped.mean())}


def planner_agent(agent: Agent, planner: Planner) -> Agent:
    """The same model behind another planner."""
    return Agent(agent.world_model, MPC(planner)).eval()
