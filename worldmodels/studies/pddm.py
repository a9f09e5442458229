"""PDDM: ensemble, filtered noise and reward-weighted plans, each left out in turn."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from worldmodels.agent import Agent
from worldmodels.behaviours import SAC, ModelFree
from worldmodels.dynamics import EnsembleRSSM
from worldmodels.envs.base import PixelEnv
from worldmodels.envs.make import make_env
from worldmodels.envs.worlds.baoding import BaodingPix
from worldmodels.evaluation import evaluate_returns
from worldmodels.nn.decoders import ConvDecoder
from worldmodels.nn.encoders import ConvEncoder
from worldmodels.nn.heads import ContinueHead, TwoHotHead
from worldmodels.planning import CEM, MPC, Planner, RandomShooting
from worldmodels.planning import PDDM as PDDMPlanner
from worldmodels.replay.collect import FrameAgent, RandomAgent
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.learning import learn, loss_terms, model_of, random_data, small_model
from worldmodels.studies.results import Check, Numbers, Results
from worldmodels.training.settings import Batches, Collect, Optimiser
from worldmodels.world_model import LatentModel, WorldModel

if TYPE_CHECKING:
    from worldmodels.training.run import Run

FULL, ONE, WHITE = "PDDM", "one member", "unfiltered noise"
BY_SHOOTING, BY_CEM, BY_SAC = "random shooting", "CEM", "SAC"
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
        BY_SHOOTING: RandomShooting(_HANDS, HORIZON, CANDIDATES + 1),
        BY_CEM: CEM(_HANDS, HORIZON, CANDIDATES // 2, 2, elites=2, kept_elites=0),
    }
)
# Squares of 4 pixels, averaged: where a ball stands shows in how much of each it covers.
ENCODER = partial(ConvEncoder, depth=8, downscale=4)
PARTS: Mapping[str, Any] = MappingProxyType(
    {
        "encoder": ENCODER,
        "decoder": partial(ConvDecoder, depth=8, upscale=4),
        # A drop would outweigh all other rewards in a squared error.
        "reward": partial(TwoHotHead, bins=41, limit=3.0, hidden=64),
        "continues": partial(ContinueHead, hidden=32),
        "terms": loss_terms(reward=30.0),
    }
)
# As configs/recipe/sac.yaml, at the model's sizes.
SAC_SMALL = partial(
    SAC,
    hidden=64,
    actor_learning_rate=5e-4,
    critic_learning_rate=1e-3,
    temperature_learning_rate=3e-3,
    value_scale=10.0,
)
BATCHES = Batches(batch_size=32, batch_length=10)


def model_based(env: PixelEnv, members: int = MEMBERS) -> Agent:
    """An untrained agent that plans as the full system does."""
    dynamics = partial(
        EnsembleRSSM, members=members, particles=MEMBERS, stoch=16, deter=64, hidden=64
    )
    return Agent(small_model(env, dynamics=dynamics, **PARTS), MPC(PLANNERS[FULL]), noise=0.1)


def model_free(env: PixelEnv) -> Agent:
    """An untrained SAC agent with the model's encoder."""
    model = LatentModel(env.obs_shape, env.action_space, ENCODER, pad=3)
    return Agent(model, ModelFree(model.feature_dim, env.action_space, SAC_SMALL), noise=0.0)


def planning_agent(model: WorldModel, planner: Planner) -> Agent:
    """A planner in a trained model."""
    return Agent(model, MPC(planner)).eval()


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
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(FULL, Role.METHOD, "3 members, beta 0.5, kappa 20, 30 plans of 8 steps"),
        Variant(ONE, Role.BASELINE, "as PDDM, trained and collected with 1 member of 3 particles"),
        Variant(WHITE, Role.BASELINE, "PDDM's model; noise not filtered (share of new noise 1)"),
        Variant(BY_SHOOTING, Role.BASELINE, "PDDM's model; the best of as many uniform plans"),
        Variant(BY_CEM, Role.BASELINE, "PDDM's model; two iterations of half as many plans"),
        Variant(BY_SAC, Role.BASELINE, "model-free, as many environment steps and updates"),
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
        own, updates = self._own(), self._updates
        first = self._learn(folder / "full", seed, own, self.round_updates)
        shutil.copytree(first.path, folder / "random")
        full = self._learn(folder / "full", seed, own, updates, resume=True)
        model = model_of(full.agent)
        random = random_data(full.record["env_steps"])
        one = partial(model_based, members=1)
        agents: dict[str, FrameAgent] = {
            **{name: planning_agent(model, planner) for name, planner in PLANNERS.items()},
            ONE: self._learn(folder / "one", seed, own, updates, one).agent,
            BY_SAC: self._learn_free(folder / "sac", seed, own).agent,
            RANDOM_DATA: self._learn(folder / "random", seed, random, updates, resume=True).agent,
            RANDOM: RandomAgent(BaodingPix.action_space),
        }
        numbers = {}
        for name, agent in agents.items():
            numbers[name] = self._play(agent, seed)
            print(name, numbers[name], flush=True)
        return numbers

    def verdict(self, results: Results) -> list[Check]:
        """The full system above all that lack a part."""
        others = (ONE, WHITE, BY_SHOOTING, BY_CEM, BY_SAC, RANDOM_DATA)
        return [results.beats(FULL, other, RETURN) for other in others]

    @property
    def _updates(self) -> int:
        return self.rounds * self.round_updates

    def _own(self) -> Collect:
        steps = self.time_limit * self.trajectories
        replayed = self.round_updates * BATCHES.batch_size * BATCHES.batch_length
        return Collect(round(RANDOM_SHARE * steps), replayed / (OWN_SHARE * steps))

    def _env(self) -> PixelEnv:
        return make_env(ID, num_envs=self.trajectories, time_limit=self.time_limit)

    def _learn(
        self,
        folder: Path,
        seed: int,
        collect: Collect,
        updates: int,
        agent: Callable[[PixelEnv], Agent] = model_based,
        resume: bool = False,
    ) -> "Run":
        return learn(
            folder, self._env(), seed, updates, collect, agent, self.round_updates, resume, BATCHES,
            Optimiser(learning_rate=2e-3),
        )  # fmt: skip

    def _learn_free(self, folder: Path, seed: int, collect: Collect) -> "Run":
        return learn(
            folder, self._env(), seed, self._updates, collect, model_free, self.round_updates,
            batches=BATCHES,
        )  # fmt: skip

    def _play(self, agent: FrameAgent, seed: int) -> dict[str, float]:
        env = make_env(ID, num_envs=self.episodes, time_limit=self.time_limit)
        played = evaluate_returns(agent, env, self.episodes, 1000 + 100 * seed)
        # A dropped ball alone ends an episode before its time limit.
        dropped = np.array([episode.is_terminal[-1] for episode in played.episodes])
        return {RETURN: played.mean, DROPS: float(dropped.mean())}
