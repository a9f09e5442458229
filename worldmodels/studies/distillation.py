"""Distilling a planner: as good, a hundred times cheaper, and no more far-sighted than it was."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch

from worldmodels.agent import Agent
from worldmodels.planning import CEM, MPC
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.learning import model_of
from worldmodels.studies.maze import find, learn_maze
from worldmodels.studies.results import Check, Numbers, Results
from worldmodels.studies.students import Queries, Source, fitted_value, student

PLANNER, STUDENT, CLONE = "planner", "student", "student of replayed states"
BLIND, BLIND_STUDENT = "planner without V", "student without V"
RETURN, TREASURE, DECOY = "return", "treasure", "coin"
MS, CHEAPER = "ms per decision", "times cheaper"
HORIZON = 10


@dataclass(frozen=True)
class DistillationStudy(Study):
    """DetourMaze, one model of random episodes for all variants.

    The value at the planner's horizon is fitted in the model first, and then held: what a student
    learns comes from the planner alone.
    """

    claim: ClassVar[str] = (
        "A policy distilled from a planner returns as much at a hundredth of the cost per "
        "decision, and is as short-sighted as its planner was."
    )
    rule: ClassVar[str] = (
        "With a value at its horizon of 10 steps the planner ends at least 90 % of the episodes at "
        "the treasure, and its student returns at least 95 % of what the planner does from the "
        "same starts, with decisions at least 100 times cheaper (medians in the same process, one "
        "environment). The student of the planner without the value ends no episode at the "
        "treasure and at least 90 % at the coin."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(
            PLANNER, Role.BASELINE, "searches at every decision, with V at its horizon: costly"
        ),
        Variant(
            STUDENT, Role.METHOD, "learned its decisions, half in states that the student visits"
        ),
        Variant(
            CLONE, Role.ABLATION, "as many decisions and updates, but in replayed states alone"
        ),
        Variant(BLIND, Role.BASELINE, "the same search without V"),
        Variant(BLIND_STUDENT, Role.BASELINE, "learned the decisions of the planner without V"),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            RETURN: "mean over episodes: 10 for the treasure, 1 for the coin",
            TREASURE: "share of episodes that end at the treasure, 44 to 46 steps from the start",
            DECOY: "share of episodes that end at the coin, 5 steps from the start",
            MS: "milliseconds of processor time, median of single decisions",
            CHEAPER: "the planner's milliseconds by the student's",
        }
    )
    steps: int = 20_000
    updates: int = 5000
    value_updates: int = 700
    student_updates: int = 2000
    query_rounds: int = 40
    queries: int = 30
    candidates: int = 150
    iterations: int = 8
    episodes: int = 16
    episode_steps: int = 100
    sequences: int = 8

    @classmethod
    def smoke(cls) -> "DistillationStudy":
        """Hardly any training."""
        return cls(
            steps=1000, updates=5, value_updates=2, student_updates=2, query_rounds=1, queries=4,
            candidates=16, iterations=1, episodes=1, episode_steps=4, sequences=4,
        )  # fmt: skip

    def run(self, seed: int, folder: Path) -> Numbers:
        """One model and one value; then every student learns from as many decisions."""
        run = learn_maze(folder / "run", seed, self.steps, self.updates)
        model = model_of(run.agent)
        source = Source(folder, model, run.path / "replay", self.sequences, seed)
        value = fitted_value(source, self.value_updates)
        planner = self._planner()
        queries = Queries(self.query_rounds, self.queries)
        learn = partial(student, source, planner=planner, updates=self.student_updates)
        search = planner(model.action_space)
        actors = {
            PLANNER: MPC(search, guide=value, proposals=0),
            STUDENT: learn("student", queries=queries, value=value.critic),
            CLONE: learn(
                "clone", queries=queries._replace(student_fraction=0.0), value=value.critic
            ),
            BLIND: MPC(search),
            BLIND_STUDENT: learn("blind", queries=queries),
        }
        numbers = {
            name: self._measure(Agent(model, actor).eval(), seed) for name, actor in actors.items()
        }
        numbers[STUDENT][CHEAPER] = numbers[PLANNER][MS] / numbers[STUDENT][MS]
        return numbers

    def verdict(self, results: Results) -> list[Check]:
        """As good, cheaper, and as short-sighted."""
        asked = 0.95 * results.interval(PLANNER, RETURN).mean
        return [
            results.at_least(PLANNER, TREASURE, 0.9),
            results.at_least(STUDENT, RETURN, asked),
            results.at_least(STUDENT, CHEAPER, 100.0),
            results.at_most(BLIND_STUDENT, TREASURE, 0.0),
            results.at_least(BLIND_STUDENT, DECOY, 0.9),
        ]

    def _planner(self) -> partial[CEM]:
        elites = max(2, self.candidates // 10)
        return partial(
            CEM, horizon=HORIZON, candidates=self.candidates, iterations=self.iterations,
            elites=elites,
        )  # fmt: skip

    def _measure(self, agent: Agent, seed: int) -> dict[str, float]:
        found = find(agent, self.episodes, 1000 + 100 * seed, self.episode_steps)
        return {
            RETURN: found.returned,
            TREASURE: found.treasure,
            DECOY: found.decoy,
            MS: decision_ms(agent),
        }


def decision_ms(agent: Agent, decisions: int = 25) -> float:
    """Median milliseconds of an agent's decisions in one environment, frame to action.

    Of processor time: where other programs share the cores, the clock charges short decisions with
    their turns.
    """
    frame = torch.zeros(1, *agent.world_model.obs_shape, dtype=torch.uint8)
    state, first = agent.initial(1, 0), torch.ones(1, dtype=torch.bool)
    spent = []
    for _ in range(decisions):
        start = time.process_time()
        _, state = agent.act(frame, first, state)
        spent.append(time.process_time() - start)
        first = torch.zeros_like(first)
    return float(np.median(spent)) * 1e3
