"""The cliff: random data does not show what a planner will do, its own data does."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from worldmodels.agent import Agent
from worldmodels.envs.make import make_env
from worldmodels.envs.world_env import WorldVectorEnv
from worldmodels.envs.worlds.cliff_hill import CliffHill
from worldmodels.evaluation import evaluate_returns
from worldmodels.evaluation.agents import NamedAgent, horizon_of, plan_value
from worldmodels.evaluation.compare import compare_agents
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.learning import COPIES, learn, random_data
from worldmodels.studies.results import Check, Numbers, Results
from worldmodels.training.settings import Collect

RANDOM, OWN, MORE = "random data", "one round of its own", "as much more random data"
FALLS, SHORT, PREDICTED, ACTUAL = "falls", "short of the edge", "promised", "realised"
ID = "worldmodels/CliffHill-v0"
NO_REST = 1.0


@dataclass(frozen=True)
class Cliff(Study):
    """CliffHill in the demo's setting: a model from pixels, its planner, one correction."""

    claim: ClassVar[str] = (
        "A planner with a model of random data walks over a cliff that the data never showed; one "
        "round of executing its plans and learning from them mends that, more random data does not."
    )
    rule: ClassVar[str] = (
        "With random data alone at least 90 % of the episodes end in a fall, and the plans' "
        "realised return is at most half of what they promised. After one round of its own at most "
        "5 % end in a fall, and the others end 0.1 or less below the edge on average. With as many "
        "random transitions instead at least 80 % still end in a fall."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(RANDOM, Role.BASELINE, "after the first round of updates, on random episodes"),
        Variant(OWN, Role.METHOD, "then its own plans are executed, recorded and learned from"),
        Variant(
            MORE, Role.ABLATION, "as many transitions and updates, but the transitions are random"
        ),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            FALLS: "share of episodes that end in a fall",
            SHORT: "distance below the edge at the end, of those who stand (1 where nobody does)",
            PREDICTED: "discounted return over the horizon that plans promise, mean over decisions",
            ACTUAL: "what the same decisions got",
        }
    )
    prefill: int = 3000
    round_updates: int = 700
    episodes: int = 20
    compared: int = 5

    @classmethod
    def smoke(cls) -> "Cliff":
        """Hardly any training."""
        return cls(prefill=1500, round_updates=15, episodes=4, compared=1)

    def run(self, seed: int, folder: Path) -> Numbers:
        """Two rounds, the second one in two versions from the same checkpoint."""
        env, updates = make_env(ID, COPIES), self.round_updates
        # A fifth of an update for every step, at 16 sequences of 20 rows.
        own = Collect(prefill=self.prefill, replay_ratio=64.0)
        first = learn(folder / "own", env, seed, updates, own)
        numbers = {RANDOM: self._measure(first.agent, seed)}
        shutil.copytree(folder / "own", folder / "more")
        second = partial(
            learn, env=env, seed=seed, updates=2 * updates, round_updates=updates, resume=True
        )
        mended = second(folder / "own", collect=own)
        numbers[OWN] = self._measure(mended.agent, seed)
        more = second(folder / "more", collect=random_data(mended.record["env_steps"]))
        numbers[MORE] = self._measure(more.agent, seed)
        return numbers

    def verdict(self, results: Results) -> list[Check]:
        """Falls before, none after, and not for want of data."""
        half = 0.5 * results.interval(RANDOM, PREDICTED).mean
        return [
            results.at_least(RANDOM, FALLS, 0.9),
            results.at_most(RANDOM, ACTUAL, half),
            results.at_most(OWN, FALLS, 0.05),
            results.at_most(OWN, SHORT, 0.1),
            results.at_least(MORE, FALLS, 0.8),
        ]

    def _measure(self, agent: Agent, seed: int) -> dict[str, float]:
        world = CliffHill(above_share=0.0)
        options = {"world": world}
        hills = make_env(ID, num_envs=self.episodes, options=options)
        played = evaluate_returns(agent, hills, self.episodes, _hill_seed(seed)).episodes
        heights = np.array([episode.reward[-1] for episode in played], dtype=float)
        _, info = WorldVectorEnv(world, self.episodes).reset(seed=_hill_seed(seed))
        planner = NamedAgent("planner", agent, horizon_of(agent), plan_value)
        hill = make_env(ID, options=options)
        (row,) = compare_agents([planner], hill, self.compared, _hill_seed(seed))
        return {
            **stops(heights, info["edge"]),
            PREDICTED: float(np.nanmean(row.episode_predicted)),
            ACTUAL: float(np.nanmean(row.episode_actual)),
        }


def stops(heights: Float[np.ndarray, " N"], edge: Float[np.ndarray, " N"]) -> dict[str, float]:
    """Share of falls, and how far below the edge the others end.

    Args:
        heights: rewards on arrival at the last frame of each episode; 0 is the cliffs' foot.
        edge: of each episode's hill.
    """
    # Height is the reward, and nobody who stands is as low as 0.
    stands: Bool[np.ndarray, " N"] = heights > 0
    short = float((edge - heights)[stands].mean()) if stands.any() else NO_REST
    return {FALLS: float((~stands).mean()), SHORT: short}


def _hill_seed(seed: int) -> int:
    """Of the episodes measured: the same for each variant, and far from those of training."""
    return 1000 + 100 * seed
