"""A value at the horizon: a planner that looks ten steps ahead finds what lies 45 steps away."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import torch

from worldmodels.agent import Agent, ByGuidedPlanner
from worldmodels.planning import CEM, MPC
from worldmodels.replay.store import EpisodeStore
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.dreaming import Pupil, fitted_critic, practise, remember
from worldmodels.studies.maze import DREAMT, dream_accuracy, find, learn_maze, value_error
from worldmodels.studies.results import Check, Numbers, Results
from worldmodels.world_model import WorldModel

SHORT, VALUED = "horizon 10", "horizon 10 with V"
LEARNED, LONG = "horizon 10 with V and policy", "horizon 60, 5 times the search"
TREASURE, DECOY, SPENT = "treasure", "coin", "evaluations"
ERROR, PLACE, ALONE = "error of V", "dreamt place", "treasure, policy alone"
HORIZON, FAR, ITERATIONS = 10, 60, 3


@dataclass(frozen=True)
class TerminalValue(Study):
    """DetourMaze, one model of random episodes for all arms."""

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
    arms: ClassVar[tuple[Variant, ...]] = (
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
            PLACE: DREAMT,
        }
    )
    steps: int = 20_000
    updates: int = 5000
    value_updates: int = 700
    policy_updates: int = 1000
    lessons: int = 20
    states: int = 25
    candidates: int = 64
    episodes: int = 10
    long_episodes: int = 4
    episode_steps: int = 100
    sequences: int = 100

    @classmethod
    def smoke(cls) -> "TerminalValue":
        """Hardly any training."""
        return cls(
            steps=1000, updates=5, value_updates=2, policy_updates=2, lessons=1, states=4,
            candidates=8, episodes=1, long_episodes=1, episode_steps=4, sequences=4,
        )  # fmt: skip

    def run(self, seed: int, folder: Path) -> Numbers:
        """One model; a value, and a policy with its value, learn in its dreams."""
        model = learn_maze(folder / "run", seed, self.steps, self.updates).world_model
        remembered = remember(model, EpisodeStore(folder / "run" / "replay"), seed, self.sequences)
        critic = fitted_critic(model, remembered, self.value_updates, seed)
        short = planning(model, HORIZON, self.candidates)
        torch.manual_seed(seed)
        every = max(1, self.policy_updates // self.lessons)
        pupil = Pupil(model, short.planner, critic, every, self.states)
        practise(pupil, model, remembered, self.policy_updates, seed)
        # A tenth more: a decision also evaluates the plans that it was handed.
        long = planning(model, FAR, round(5.5 * self.candidates))
        agents = {
            SHORT: Agent(model, short),
            VALUED: Agent(model, short, behaviour=pupil, acting=ByGuidedPlanner(proposals=0)),
            LEARNED: Agent(model, short, behaviour=pupil, acting=ByGuidedPlanner()),
            LONG: Agent(model, long),
        }
        numbers = {
            arm: self._play(agent, seed, self.long_episodes if arm == LONG else self.episodes)
            for arm, agent in agents.items()
        }
        numbers[SHORT][PLACE] = dream_accuracy(model, seed)
        numbers[VALUED][ERROR] = value_error(model, critic, seed)
        policy = Agent(model, short, behaviour=pupil)
        numbers[LEARNED][ALONE] = self._play(policy, seed, self.episodes)[TREASURE]
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


def planning(model: WorldModel, horizon: int, candidates: int) -> MPC:
    """CEM that replans at every step."""
    elites = max(2, candidates // 8)
    return MPC(CEM(model.action_space, horizon, candidates, ITERATIONS, elites))


def search(agent: Agent) -> float:
    """Plans that the agent evaluates at its first decision; 0 for a policy."""
    frame = torch.zeros(1, *agent.world_model.obs_shape, dtype=torch.uint8)
    state = agent.initial(1, 0)
    _, after = agent.act(frame, torch.ones(1, dtype=torch.bool), state)
    return float(after.plan.evaluations[0])
