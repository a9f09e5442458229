"""Planning by backpropagation through the model: where there are many actions, it pays."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.envs.make import make_env
from worldmodels.envs.world import WorldState
from worldmodels.envs.worlds.arm import ArmN
from worldmodels.planning import CEM, Gradient, Planner, RandomShooting
from worldmodels.studies.base import Role, Study, Variant
from worldmodels.studies.exact import arm_score
from worldmodels.studies.learning import COPIES, learn, learned_plan, model_of, random_data
from worldmodels.studies.results import Check, Numbers, Results
from worldmodels.types import ActionSpace, ScoreFn
from worldmodels.world_model import WorldModel

BY_CEM, BY_GRADIENT, BY_SHOOTING = "CEM", "gradient", "random shooting"
RETURN, ERROR, SPENT = "return", "gradient error", "evaluations"
LEARNED, ACTUAL = "learned from pixels", "learned from pixels, what the plan really pays"


@dataclass(frozen=True)
class GradientPlanning(Study):
    """Gradient planner against CEM at equal model evaluations.

    On the arm's own equations, and in a model of it that is learned from pixels.
    """

    claim: ClassVar[str] = (
        "With 16 joints and 20 steps, planning by gradient ascent through the model finds better "
        "plans than CEM from the same number of model evaluations."
    )
    rule: ClassVar[str] = (
        "The interval of the paired differences of returns, gradient minus CEM, lies above 0; no "
        "planner spends more model evaluations than CEM by over 1 % (a gradient counts as two); "
        "the planned return's gradient agrees with finite differences in float64 to 1e-6. In a "
        "model learned from pixels the interval of the differences lies above 0 too; what those "
        "plans really pay is told beside it."
    )
    variants: ClassVar[tuple[Variant, ...]] = (
        Variant(
            BY_CEM, Role.BASELINE, "128 candidates, 10 iterations, 13 elites, the best one kept"
        ),
        Variant(BY_GRADIENT, Role.METHOD, "16 starts, 39 steps of Adam"),
        Variant(BY_SHOOTING, Role.ABLATION, "as many evaluations, without gradient or refits"),
    )
    measures: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            RETURN: "return of the plan (20 at most), mean over start states",
            ERROR: "largest relative error against central differences",
            SPENT: "model evaluations per plan",
            LEARNED: "return of the plan as the learned model predicts it",
            ACTUAL: "its return in the world",
        }
    )
    links: int = 16
    horizon: int = 20
    states: int = 20
    steps: int = 3000
    updates: int = 500

    @classmethod
    def smoke(cls) -> "GradientPlanning":
        """Two start states, a hardly trained model."""
        return cls(states=2, steps=500, updates=20)

    def run(self, seed: int, folder: Path) -> Numbers:
        """One plan per start state and planner, from a cold start."""
        world = ArmN(self.links)
        start = world.reset(np.random.default_rng(seed), self.states)
        score = arm_score(world)
        planners = equal_planners(world.action_space, self.horizon)
        numbers = {name: planned(planner, score, start, seed) for name, planner in planners.items()}
        generator = torch.Generator().manual_seed(seed)
        shape = (self.states, 1, self.horizon, world.action_space.dim)
        plan = torch.rand(shape, generator=generator, dtype=torch.float64) * 1.8 - 0.9
        numbers[BY_GRADIENT][ERROR] = gradient_error(score, start, plan)
        model = self._learned(folder, seed)
        for name, planner in planners.items():
            found = learned_plan(model, world, start, planner, seed)
            numbers[name] |= {LEARNED: found.predicted, ACTUAL: found.actual}
        return numbers

    def _learned(self, folder: Path, seed: int) -> WorldModel:
        options = {"arguments": {"links": self.links}}
        env = make_env("worldmodels/ArmN-v0", COPIES, options=options)
        run = learn(folder / "model", env, seed, self.updates, random_data(self.steps))
        return model_of(run.agent)

    def verdict(self, results: Results) -> list[Check]:
        """Better plans, equal evaluations, the right gradient."""
        allowed = 1.01 * results.interval(BY_CEM, SPENT).mean
        return [
            results.beats(BY_GRADIENT, BY_CEM, RETURN),
            results.beats(BY_GRADIENT, BY_CEM, LEARNED),
            *(results.at_most(variant, SPENT, allowed) for variant in (BY_GRADIENT, BY_SHOOTING)),
            results.at_most(BY_GRADIENT, ERROR, 1e-6),
        ]


def equal_planners(space: ActionSpace, horizon: int) -> dict[str, Planner]:
    """The planners of the variants: as many model evaluations each, to 1 %."""
    return {
        BY_CEM: CEM(space, horizon, candidates=128, iterations=10, elites=13),
        BY_GRADIENT: Gradient(space, horizon, starts=16, steps=39),
        BY_SHOOTING: RandomShooting(space, horizon, candidates=1280),
    }


def planned(planner: Planner, score: ScoreFn, start: WorldState, seed: int) -> dict[str, float]:
    """Mean return and evaluations of one plan per state, scored without noise."""
    generator = torch.Generator().manual_seed(seed)
    plan = planner.plan(score, start, planner.initial(len(start[0])), generator)
    value = score(start, plan.actions[:, None]).mean()
    return {RETURN: float(value), SPENT: float(plan.evaluations)}


def gradient_error(
    score: ScoreFn,
    start: WorldState,
    plan: Float[Tensor, "B 1 H A"],
    step: float = 1e-5,
    probes: int = 16,
) -> float:
    """Largest error of a gradient along random directions, against central differences.

    Relative to the length of the gradient.
    """
    leaf = plan.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(start, leaf).sum(), leaf)
    generator = torch.Generator().manual_seed(0)
    errors = []
    for _ in range(probes):
        direction = torch.randn(plan.shape, generator=generator, dtype=plan.dtype)
        direction /= direction.norm()
        ends = [float(score(start, plan + sign * step * direction).sum()) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        errors.append(abs(slope - float((gradient * direction).sum())))
    return max(errors) / float(gradient.norm())
