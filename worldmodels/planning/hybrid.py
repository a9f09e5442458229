"""Sampling refined by gradient ascent."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.checks import check_above, check_at_least
from worldmodels.planning.base import Plan, Planner
from worldmodels.planning.cem import ICEM
from worldmodels.planning.gradient import Gradient
from worldmodels.types import ActionSpace, ScoreFn, State


def icem(action_space: ActionSpace, horizon: int) -> Planner:
    """iCEM with its own defaults."""
    # A function and not the class itself: when a config names another class, jsonargparse hands
    # the options of a default class on to it wherever their names agree.
    return ICEM(action_space, horizon)


class Hybrid(Planner):
    """A sampling planner finds the basin, the gradient climbs in it.

    The gradient starts from the sampling planner's mean and from the elites that it carries.

    Args:
        action_space: what an action is.
        horizon: H, length of a plan in agent steps.
        sampler: called with ``(action_space, horizon)``; its ``kept_elites`` elites are refined.
        steps: gradient steps per decision, see ``Gradient``.
        learning_rate: Adam's, see ``Gradient``.
        clip_norm: see ``Gradient``.

    Raises:
        ValueError: when a number does not fit.

    Reference: Bharadhwaj, Xie and Shkurti, 2020 (gradient steps on the plans of CEM), algorithm 1.
    """

    def __init__(
        self,
        action_space: ActionSpace,
        horizon: int = 12,
        sampler: Callable[[ActionSpace, int], Planner] = icem,
        steps: int = 10,
        learning_rate: float = 0.03,
        clip_norm: float = 1.0,
    ):
        super().__init__(action_space, horizon)
        check_at_least(self._name, 1, steps=steps)
        check_above(self._name, 0, learning_rate=learning_rate, clip_norm=clip_norm)
        self.sampler = sampler(action_space, horizon)
        self.refiner = Gradient(
            action_space,
            horizon,
            starts=1,
            steps=steps,
            learning_rate=learning_rate,
            clip_norm=clip_norm,
        )
        self.kept_elites = self.sampler.kept_elites

    def plan(
        self,
        score: ScoreFn,
        state: State,
        init: Float[Tensor, "B H A"],
        generator: torch.Generator | None = None,
        proposals: Float[Tensor, "B P H A"] | None = None,
    ) -> Plan:
        """Samples around ``init``, then climbs from the mean and the elites."""
        sampled = self.sampler.plan(score, state, init, generator, proposals)
        refined = self.refiner.plan(score, state, sampled.params, generator, sampled.elites)
        evaluations = sampled.evaluations + refined.evaluations
        return refined._replace(evaluations=evaluations, elites=sampled.elites)
