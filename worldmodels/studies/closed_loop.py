"""Open loop against closed loop: a plan from the start does not survive the wind."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from einops import repeat

from worldmodels.envs.worlds.gust_road import GustRoad
from worldmodels.planning import ICEM
from worldmodels.planning.base import roll
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.exact import world_score
from worldmodels.studies.results import Check, Numbers, Results

OPEN, CLOSED, SEARCHED = "open loop", "replan every step", "open loop, more search"
EVERY = {OPEN: 50, "replan every 25": 25, "replan every 10": 10, "replan every 4": 4, CLOSED: 1}
SIGHT, ITERATIONS = 12, 6
CALM, GUSTS, SPENT = "success, calm", "success, gusts", "evaluations"


class Drive(NamedTuple):
    """Share of cars that stay on the road for a whole episode, and the search that it took."""

    success: float
    evaluations: float


@dataclass(frozen=True)
class ClosedLoop(Study):
    """GustRoad with its own equations, less the gusts to come, as the model."""

    claim: ClassVar[str] = (
        "Without noise a plan from the start is as good as replanning; in gusts only replanning "
        "stays on the road, and the more often the better."
    )
    rule: ClassVar[str] = (
        "Without gusts the success of open loop and of replanning every step differ by 0.1 at "
        "most. In gusts open loop succeeds in at most 20 % of the episodes, replanning every step "
        "in at least 90 %, and success never falls by over 0.02 from a rarer replanning to the "
        "next more frequent one. An open loop with at least as much search as replanning every "
        "step still succeeds in at most 20 %."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(OPEN, Role.BASELINE, "one plan of 50 steps"),
        *(
            Variant(name, Role.METHOD, f"plans again after {k} steps")
            for name, k in EVERY.items()
            if name != OPEN
        ),
        Variant(SEARCHED, Role.ABLATION, "one plan, with the search of all 50 decisions"),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            CALM: "share of episodes on the road to the end, without gusts",
            GUSTS: "share of episodes on the road to the end, gusts of 0.13 half widths per step",
            SPENT: "model evaluations per episode, in gusts",
        }
    )
    episodes: int = 20
    candidates: int = 200

    @classmethod
    def smoke(cls) -> "ClosedLoop":
        """Two episodes."""
        return cls(episodes=2)

    def run(self, seed: int, folder: Path) -> Numbers:
        """The same roads and gusts for every variant."""
        plans = {name: (every, self.candidates) for name, every in EVERY.items()}
        # A tenth more: the shares of the population are rounded.
        plans[SEARCHED] = (EVERY[OPEN], round(1.1 * EVERY[OPEN] * self.candidates))
        numbers = {}
        for name, (every, candidates) in plans.items():
            calm, gusts = (
                drive(GustRoad(sigma), every, candidates, self.episodes, seed)
                for sigma in (0.0, GustRoad().sigma)
            )
            numbers[name] = {
                CALM: calm.success,
                GUSTS: gusts.success,
                SPENT: gusts.evaluations,
            }
        return numbers

    def verdict(self, results: Results) -> list[Check]:
        """Equal without gusts, monotone in them, and not for want of search."""
        gap = abs(results.lead(CLOSED, OPEN, CALM).mean)
        return [
            Check(f"{CALM}: {CLOSED} and {OPEN} differ by {gap:.3g}, at most 0.1", gap <= 0.1),
            results.at_most(OPEN, GUSTS, 0.2),
            results.at_least(CLOSED, GUSTS, 0.9),
            *(
                results.reaches(often, seldom, GUSTS, slack=0.02)
                for seldom, often in pairwise(EVERY)
            ),
            results.at_least(SEARCHED, SPENT, results.interval(CLOSED, SPENT).mean),
            results.at_most(SEARCHED, GUSTS, 0.2),
        ]


def drive(world: GustRoad, every: int, candidates: int, episodes: int, seed: int) -> Drive:
    """Drives whole episodes; a plan covers 12 steps, or as many as are driven before the next."""
    elites = candidates // 10
    planner = ICEM(
        world.action_space, max(every, SIGHT), candidates, iterations=ITERATIONS, elites=elites,
        kept_elites=max(1, elites // 3),
    )  # fmt: skip
    score = world_score(GustRoad(sigma=0.0))
    generator = torch.Generator().manual_seed(seed)
    state = world.reset(np.random.default_rng(seed), episodes)
    params = planner.initial(episodes)  # B H A
    idle = repeat(planner.distribution.mode(params), "B H A -> B P H A", P=planner.kept_elites)
    kept, spent = idle, 0
    for begin in range(0, world.time_limit, every):
        # As MPC does, whose model is a learned one: the last plan and its elites are shifted.
        plan = planner.plan(score, state, params, generator, kept)
        params, kept = planner.roll(plan.params, every), roll(plan.elites, idle, every)
        spent += plan.evaluations
        steps = min(every, world.time_limit - begin)
        for action in plan.actions[:, :steps].unbind(1):  # B A
            state = world.step(state, action.double().numpy()).state
    return Drive(float((~state.left).mean()), float(spent))
