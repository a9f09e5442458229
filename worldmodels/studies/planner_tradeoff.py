"""Gradient or sampling: which planner for which problem."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import numpy as np

from worldmodels.envs.worlds.arm import ArmN
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.exact import arm_score
from worldmodels.studies.gradient_planning import (
    BY_CEM,
    BY_GRADIENT,
    BY_SHOOTING,
    RETURN,
    equal_planners,
    planned,
)
from worldmodels.studies.results import Check, Numbers, Results


class Problem(NamedTuple):
    """An arm and a planning horizon."""

    links: int
    horizon: int
    obstacle: float

    @property
    def name(self) -> str:
        """As it is called in the results."""
        kind = "obstacle" if self.obstacle else "smooth"
        return f"{kind}, {self.links} x {self.horizon}"


_SMOOTH = ((2, 8), (4, 8), (4, 16), (8, 16), (16, 8), (16, 20))
_OBSTACLE = ((2, 20), (2, 30), (4, 20), (8, 30))
PROBLEMS = (
    *(Problem(links, horizon, 0.0) for links, horizon in _SMOOTH),
    *(Problem(links, horizon, 0.15) for links, horizon in _OBSTACLE),
)
_MANY = [problem.name for problem in PROBLEMS[:6] if problem.links * problem.horizon >= 128]
_FEW = [problem.name for problem in PROBLEMS[6:] if problem.links == 2]


@dataclass(frozen=True)
class PlannerTradeoff(Study):
    """A sweep over joints x steps of the arm's own equations, with and without an obstacle."""

    claim: ClassVar[str] = (
        "Sampling wins where few actions meet an obstacle that hides the gradient; the gradient "
        "wins where many actions act smoothly."
    )
    rule: ClassVar[str] = (
        "At equal model evaluations, the interval of the paired differences of returns lies above "
        f"0: CEM minus gradient on {' and '.join(_FEW)}; gradient minus CEM on every smooth "
        "problem of 128 action values and more (joints x steps)."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(
            BY_CEM, Role.BASELINE, "fails on large smooth problems, wins small ones with obstacle"
        ),
        Variant(BY_GRADIENT, Role.METHOD, "the other way round"),
        Variant(BY_SHOOTING, Role.ABLATION, "as many evaluations, without gradient or refits"),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {problem.name: "return of the plan, joints x steps" for problem in PROBLEMS}
    )
    states: int = 20

    @classmethod
    def smoke(cls) -> "PlannerTradeoff":
        """Two start states."""
        return cls(states=2)

    def run(self, seed: int, folder: Path) -> Numbers:
        """One plan per problem, planner and start state, from a cold start."""
        numbers: dict[str, dict[str, float]] = {variant.name: {} for variant in self.variants}
        for problem in PROBLEMS:
            world = ArmN(problem.links, problem.obstacle)
            start, score = world.reset(np.random.default_rng(seed), self.states), arm_score(world)
            planners = equal_planners(world.action_space, problem.horizon)
            for name, planner in planners.items():
                numbers[name][problem.name] = planned(planner, score, start, seed)[RETURN]
        return numbers

    def verdict(self, results: Results) -> list[Check]:
        """Each planner wins where it should."""
        few = [results.beats(BY_CEM, BY_GRADIENT, name) for name in _FEW]
        return few + [results.beats(BY_GRADIENT, BY_CEM, name) for name in _MANY]
