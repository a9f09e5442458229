"""What all sampling planners share, and the simplest of them."""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.checks import check_above, check_at_least, check_at_most
from worldmodels.planning.base import Plan, Planner, best
from worldmodels.planning.noise import white
from worldmodels.planning.search import SearchParams
from worldmodels.types import ActionSpace, ScoreFn, State


class RandomShooting(Planner):
    """Takes the best of many plans drawn evenly over the action space.

    The warm start's plan is one candidate more.

    Args:
        action_space: what an action is.
        horizon: H, length of a plan in agent steps.
        candidates: N, plans drawn.
        kept_elites: best plans handed on to the next decision beside the warm start.

    Raises:
        ValueError: when a number does not fit.

    Reference: Nagabandi et al., 2019 (PDDM), section 3, "Random Shooting".
    """

    def __init__(
        self,
        action_space: ActionSpace,
        horizon: int = 12,
        candidates: int = 1000,
        kept_elites: int = 0,
    ):
        super().__init__(action_space, horizon)
        check_at_least(self._name, 1, candidates=candidates)
        check_at_least(self._name, 0, kept_elites=kept_elites)
        check_at_most(self._name, "candidates", candidates, kept_elites=kept_elites)
        self.candidates, self.kept_elites = candidates, kept_elites

    @torch.no_grad()
    def plan(
        self,
        score: ScoreFn,
        state: State,
        init: Float[Tensor, "B H A"],
        generator: torch.Generator | None = None,
        proposals: Float[Tensor, "B P H A"] | None = None,
    ) -> Plan:
        """The best of N random plans, the warm start and the proposals."""
        scorer = self._scorer(score)
        starts = self._starts(init, proposals)  # B 1+P H A
        drawn = self.distribution.uniform(white(self.candidates, init, generator))  # N H A
        candidates = torch.cat([starts, drawn.expand(len(init), -1, -1, -1)], 1)  # B 1+P+N H A
        values = scorer(state, candidates)  # B 1+P+N
        plan = best(candidates, values, 1)[:, 0]  # B H A
        elites = best(candidates, values, self.kept_elites)  # B K H A
        return Plan(plan, plan, values.amax(1), scorer.evaluations, elites)


class IteratedSampling(Planner):
    """Draws plans from a search distribution and refits it to their scores, several times.

    The warm start's plan and the proposals join the first iteration, on top of the plans drawn;
    the best ``kept_elites`` candidates join the next one, and are scored again there, so that a
    lucky score under a stochastic model does not stay. The plan to execute is the best of the
    last mean and the kept elites, scored once more.
    """

    def __init__(
        self,
        action_space: ActionSpace,
        horizon: int,
        candidates: int,
        iterations: int,
        std: float,
    ):
        super().__init__(action_space, horizon)
        check_at_least(self._name, 1, candidates=candidates, iterations=iterations)
        check_above(self._name, 0, std=std)
        self.candidates, self.iterations, self.std = candidates, iterations, std

    @torch.no_grad()
    def plan(
        self,
        score: ScoreFn,
        state: State,
        init: Float[Tensor, "B H A"],
        generator: torch.Generator | None = None,
        proposals: Float[Tensor, "B P H A"] | None = None,
    ) -> Plan:
        """Searches around ``init``."""
        scorer = self._scorer(score)
        kept = self._starts(init, proposals)  # B 1+P H A
        search = self.distribution.around(init, self.std)
        for iteration in range(self.iterations):
            noise = self._noise(self._population(iteration), init, generator)  # N H A
            candidates = torch.cat([kept, self.distribution.sample(search, noise)], 1)  # B K+N H A
            values = scorer(state, candidates)  # B K+N
            search = self._refit(search, candidates, values)
            kept = best(candidates, values, self.kept_elites)  # B K H A
        finalists = torch.cat(
            [self.distribution.mode(search.params)[:, None], kept], 1
        )  # B 1+K H A
        values = scorer(state, finalists)  # B 1+K
        plan = best(finalists, values, 1)[:, 0]  # B H A
        return Plan(plan, search.params, values.amax(1), scorer.evaluations, kept)

    @abstractmethod
    def _refit(self, search: SearchParams, candidates: Tensor, values: Tensor) -> SearchParams:
        """The search distribution of the next iteration."""

    def _noise(
        self, candidates: int, like: Tensor, generator: torch.Generator | None
    ) -> Float[Tensor, "N H A"]:
        return white(candidates, like, generator)

    def _population(self, iteration: int) -> int:
        """How many plans an iteration draws."""
        return self.candidates
