"""The cross-entropy method, and its sample-efficient variant."""

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.checks import check_at_least, check_at_most, check_share
from worldmodels.planning.base import best
from worldmodels.planning.noise import coloured
from worldmodels.planning.sampling import IteratedSampling
from worldmodels.planning.search import SearchParams
from worldmodels.types import ActionSpace


class CEM(IteratedSampling):
    """Refits the search distribution to the best candidates.

    Candidates, iterations, elites and horizon are PlaNet's by default. Four things differ from
    PlaNet: the best plan is kept among the candidates (``kept_elites=0`` executes the mean, as
    PlaNet does), the standard deviation has a floor (``min_std``, 0 there), within ``MPC`` a search
    starts from what is left of the last plan instead of zeros, and the plan that it starts from is
    itself a candidate of the first iteration.

    Args:
        action_space: what an action is.
        horizon: H, length of a plan in agent steps.
        candidates: N, plans drawn per iteration.
        iterations: refits per decision.
        elites: best candidates that the distribution is refitted to.
        kept_elites: best plans that stay among the candidates, up to the next decision.
        momentum: share of the old distribution in the refitted one.
        std: standard deviation at the start (see ``SearchDistribution`` for discrete actions).
        min_std: the standard deviation never falls below it.

    Raises:
        ValueError: when a number does not fit.

    Reference: Hafner et al., 2019 (PlaNet), algorithm 2; Chua et al., 2018 (PETS), algorithm 1
    (CEM inside model predictive control) and section 5; Nagabandi et al., 2019 (PDDM), equation 1
    (momentum).
    """

    def __init__(
        self,
        action_space: ActionSpace,
        horizon: int = 12,
        candidates: int = 1000,
        iterations: int = 10,
        elites: int = 100,
        kept_elites: int = 1,
        momentum: float = 0.0,
        std: float = 1.0,
        min_std: float = 0.05,
    ):
        super().__init__(action_space, horizon, candidates, iterations, std)
        check_at_least(self._name, 1, elites=elites)
        check_at_most(self._name, "candidates", candidates, elites=elites)
        check_at_least(self._name, 0, kept_elites=kept_elites, min_std=min_std)
        check_at_most(self._name, "elites", elites, kept_elites=kept_elites)
        check_share(self._name, momentum=momentum)
        self.elites, self.kept_elites = elites, kept_elites
        self.momentum, self.min_std = momentum, min_std

    def _refit(self, search: SearchParams, candidates: Tensor, values: Tensor) -> SearchParams:
        elites = best(candidates, values, self.elites)  # B E H A
        return self.distribution.refit(search, elites, self.momentum, self.min_std)


class ICEM(CEM):
    """CEM with noise that persists in time, elites kept over time and a shrinking population.

    Elites are kept from iteration to iteration and, shifted, from decision to decision. The
    mean joins the candidates at the end of a decision, and the best plan is executed.

    Args:
        action_space: what an action is.
        horizon: H, length of a plan in agent steps.
        candidates: N, plans drawn in the first iteration.
        iterations: refits per decision.
        elites: best candidates that the distribution is refitted to.
        kept_elites: elites that stay among the candidates, up to the next decision (30 % of
            ``elites`` in the paper).
        momentum: share of the old distribution in the refitted one.
        std: standard deviation at the start (see ``SearchDistribution`` for discrete actions).
        min_std: the standard deviation never falls below it.
        beta: the noise's power falls with frequency as f^-beta; 0 is white.
        shrink: each iteration draws this many times fewer plans than the one before, but at least
            twice the elites.

    Raises:
        ValueError: when a number does not fit.

    Reference: Pinneri et al., 2020 (iCEM), algorithm 1 and section 3.
    """

    def __init__(
        self,
        action_space: ActionSpace,
        horizon: int = 12,
        candidates: int = 500,
        iterations: int = 10,
        elites: int = 50,
        kept_elites: int = 15,
        momentum: float = 0.1,
        std: float = 0.5,
        min_std: float = 0.05,
        beta: float = 2.0,
        shrink: float = 1.25,
    ):
        super().__init__(
            action_space, horizon, candidates, iterations, elites, kept_elites, momentum, std,
            min_std,
        )  # fmt: skip
        check_at_least(self._name, 0, beta=beta)
        check_at_least(self._name, 1, shrink=shrink)
        self.beta, self.shrink = beta, shrink

    def _noise(
        self, candidates: int, like: Tensor, generator: torch.Generator | None
    ) -> Float[Tensor, "N H A"]:
        return coloured(candidates, like, self.beta, generator)

    def _population(self, iteration: int) -> int:
        least = min(self.candidates, 2 * self.elites)
        return max(round(self.candidates * self.shrink**-iteration), least)
