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
from jaxtyping import Float
from torch import Tensor

from worldmodels.agent import Agent, ByGuidedPlanner
from worldmodels.planning import CEM, MPC
from worldmodels.replay.store import EpisodeStore
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.dreaming import Pupil, Remembered, fitted_critic, practise, remember
from worldmodels.studies.maze import find, learn_maze
from worldmodels.studies.results import Check, Numbers, Results
from worldmodels.types import Value
from worldmodels.world_model import WorldModel

PLANNER, STUDENT, CLONE = "planner", "student", "student of replayed states"
BLIND, HEIR = "planner without V", "student without V"
RETURN, TREASURE, DECOY = "return", "treasure", "coin"
MS, CHEAPER = "ms per decision", "times cheaper"
HORIZON = 10


@dataclass(frozen=True)
class DistillationStudy(Study):
    """DetourMaze, one model of random episodes for all arms.

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
    arms: ClassVar[tuple[Variant, ...]] = (
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
        Variant(HEIR, Role.BASELINE, "learned the decisions of the planner without V"),
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
    lessons: int = 40
    states: int = 30
    candidates: int = 150
    iterations: int = 8
    episodes: int = 16
    episode_steps: int = 100
    sequences: int = 100

    @classmethod
    def smoke(cls) -> "DistillationStudy":
        """Hardly any training."""
        return cls(
            steps=1000, updates=5, value_updates=2, student_updates=2, lessons=1, states=4,
            candidates=16, iterations=1, episodes=1, episode_steps=4, sequences=4,
        )  # fmt: skip

    def run(self, seed: int, folder: Path) -> Numbers:
        """One model and one value; then every student learns from as many decisions."""
        model = learn_maze(folder / "run", seed, self.steps, self.updates).world_model
        remembered = remember(model, EpisodeStore(folder / "run" / "replay"), seed, self.sequences)
        critic = fitted_critic(model, remembered, self.value_updates, seed)
        teach = partial(self._student, model, remembered, seed)
        student, clone, heir = teach(critic), teach(critic, visited=0.0), teach(nothing)
        controller = MPC(self._planner(model))
        plans = ByGuidedPlanner(proposals=0)
        agents = {
            PLANNER: Agent(model, controller, behaviour=student, acting=plans),
            STUDENT: Agent(model, controller, behaviour=student),
            CLONE: Agent(model, controller, behaviour=clone),
            BLIND: Agent(model, controller, behaviour=heir, acting=plans),
            HEIR: Agent(model, controller, behaviour=heir),
        }
        numbers = {arm: self._measure(agent.eval(), seed) for arm, agent in agents.items()}
        numbers[STUDENT][CHEAPER] = numbers[PLANNER][MS] / numbers[STUDENT][MS]
        return numbers

    def verdict(self, results: Results) -> list[Check]:
        """As good, cheaper, and as short-sighted."""
        asked = 0.95 * results.interval(PLANNER, RETURN).mean
        return [
            results.at_least(PLANNER, TREASURE, 0.9),
            results.at_least(STUDENT, RETURN, asked),
            results.at_least(STUDENT, CHEAPER, 100.0),
            results.at_most(HEIR, TREASURE, 0.0),
            results.at_least(HEIR, DECOY, 0.9),
        ]

    def _planner(self, model: WorldModel) -> CEM:
        elites = max(2, self.candidates // 10)
        return CEM(model.action_space, HORIZON, self.candidates, self.iterations, elites)

    def _student(
        self,
        model: WorldModel,
        remembered: Remembered,
        seed: int,
        value: Value,
        visited: float = 0.5,
    ) -> Pupil:
        torch.manual_seed(seed)
        every = max(1, self.student_updates // self.lessons)
        pupil = Pupil(model, self._planner(model), value, every, self.states, visited)
        practise(pupil, model, remembered, self.student_updates, seed)
        return pupil

    def _measure(self, agent: Agent, seed: int) -> dict[str, float]:
        found = find(agent, self.episodes, 1000 + 100 * seed, self.episode_steps)
        return {
            RETURN: found.returned,
            TREASURE: found.treasure,
            DECOY: found.decoy,
            MS: decision_ms(agent),
        }


def nothing(feature: Float[Tensor, "*batch F"]) -> Float[Tensor, "*batch"]:
    """No value at all."""
    return torch.zeros_like(feature[..., 0])


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
