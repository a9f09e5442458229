"""A value at the horizon: a planner that looks ten steps ahead finds what lies 45 steps away."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import torch

from worldmodels.agent import Agent
from worldmodels.planning import CEM, MPC, PlanState
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.learning import model_of
from worldmodels.studies.maze import PLACES, find, learn_maze, prediction_accuracy, value_error
from worldmodels.studies.results import Check, Numbers, Results
from worldmodels.studies.students import Queries, Source, fitted_value, student

SHORT, VALUED = "horizon 10", "horizon 10 with V"
LEARNED, LONG = "horizon 10 with V and policy", "horizon 60, 5 times the search"
TREASURE, DECOY, SPENT = "treasure", "coin", "evaluations"
ERROR, PLACE, ALONE = "error of V", "dreamt place", "treasure, policy alone"
HORIZON, FAR, ITERATIONS = 10, 60, 3


@dataclass(frozen=True)
class TerminalValue(Study):
    """DetourMaze, one model of random episodes for all variants."""

    claim: ClassVar[str] = (
        "A planner with a short horizon walks to the near coin; with a learned value at its "
        "horizon it walks to the far treasure, which a long horizon with more search does not find."
    )
    rule: ClassVar[str] = (
        "With horizon 10 and no value no episode ends at the treasure. With a value fitted by "
        "TD(lambda) in the model at least 90 % do, and with proposals of a policy that was "
        "learned in the model as well. With horizon 60, no value and at least 5 times the "
        "model evaluations under 50 % do."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(SHORT, Role.BASELINE, "the predicted rewards of 10 steps"),
        Variant(VALUED, Role.METHOD, "the same, plus a value fitted in the model without a policy"),
        Variant(
            LEARNED,
            Role.METHOD,
            "the same, and a policy distilled from that planner proposes plans",
        ),
        Variant(
            LONG,
            Role.ABLATION,
            "no value, 60 steps, 5 times the plans; fewer episodes, for its cost",
        ),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            TREASURE: "share of episodes that end at the treasure, 44 to 46 steps from the start",
            DECOY: "share of episodes that end at the coin, 5 steps from the start",
            SPENT: "plans evaluated per decision",
            ERROR: "mean of |V - exact value| / exact value over all cells",
            ALONE: "share of episodes that the policy without the planner ends at the treasure",
            PLACE: PLACES,
        }
    )
    steps: int = 20_000
    updates: int = 5000
    value_updates: int = 700
    policy_updates: int = 1000
    query_rounds: int = 20
    queries: int = 25
    candidates: int = 64
    episodes: int = 10
    long_episodes: int = 4
    episode_steps: int = 100
    sequences: int = 8

    @classmethod
    def smoke(cls) -> "TerminalValue":
        """Hardly any training."""
        return cls(
            steps=1000, updates=5, value_updates=2, policy_updates=2, query_rounds=1, queries=4,
            candidates=8, episodes=1, long_episodes=1, episode_steps=4, sequences=4,
        )  # fmt: skip

    def run(self, seed: int, folder: Path) -> Numbers:
        """One model; a value, and a policy distilled from the planner with it, learn inside it."""
        run = learn_maze(folder / "run", seed, self.steps, self.updates)
        model = model_of(run.agent)
        source = Source(folder, model, run.path / "replay", self.sequences, seed)
        value = fitted_value(source, self.value_updates)
        planner = planning(HORIZON, self.candidates)
        policy = student(
            source, "policy", planner, self.policy_updates,
            Queries(self.query_rounds, self.queries), value.critic,
        )  # fmt: skip
        short = planner(model.action_space)
        # A tenth more: a decision also evaluates the plans that it was handed.
        long = planning(FAR, round(5.5 * self.candidates))(model.action_space)
        agents = {
            SHORT: Agent(model, MPC(short)),
            VALUED: Agent(model, MPC(short, guide=value, proposals=0)),
            LEARNED: Agent(model, MPC(short, guide=policy)),
            LONG: Agent(model, MPC(long)),
        }
        numbers = {
            name: self._play(agent, seed, self.long_episodes if name == LONG else self.episodes)
            for name, agent in agents.items()
        }
        numbers[SHORT][PLACE] = prediction_accuracy(model, seed)
        numbers[VALUED][ERROR] = value_error(model, value.critic, seed)
        alone = self._play(Agent(model, policy), seed, self.episodes)
        numbers[LEARNED][ALONE] = alone[TREASURE]
        return numbers

    def verdict(self, results: Results) -> list[Check]:
        """Nothing without a value, nearly always with one, and not by more search."""
        least = 5 * results.interval(SHORT, SPENT).mean
        missed = results.interval(LONG, TREASURE)
        return [
            results.at_most(SHORT, TREASURE, 0.0),
            results.at_least(VALUED, TREASURE, 0.9),
            results.at_least(LEARNED, TREASURE, 0.9),
            Check(f"{LONG}: {TREASURE} {missed}, under 0.5", missed.mean < 0.5),
            results.at_least(LONG, SPENT, least),
        ]

    def _play(self, agent: Agent, seed: int, episodes: int) -> dict[str, float]:
        found = find(agent.eval(), episodes, 1000 + 100 * seed, self.episode_steps)
        return {TREASURE: found.treasure, DECOY: found.decoy, SPENT: search(agent)}


def planning(horizon: int, candidates: int) -> partial[CEM]:
    """CEM in the study's sizes."""
    elites = max(2, candidates // 8)
    return partial(
        CEM, horizon=horizon, candidates=candidates, iterations=ITERATIONS, elites=elites
    )


def search(agent: Agent) -> float:
    """Plans that the agent evaluates at its first decision; 0 for a policy."""
    frame = torch.zeros(1, *agent.world_model.obs_shape, dtype=torch.uint8)
    state = agent.initial(1, 0)
    _, after = agent.act(frame, torch.ones(1, dtype=torch.bool), state)
    return float(after.actor.evaluations[0]) if isinstance(after.actor, PlanState) else 0.0
