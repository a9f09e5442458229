"""Planners that average all candidates, weighted by the exponential of their return."""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

from worldmodels.checks import check_above, check_at_least, check_at_most
from worldmodels.planning.noise import filtered, white
from worldmodels.planning.sampling import IteratedSampling
from worldmodels.planning.search import SearchParams
from worldmodels.types import ActionSpace


class RewardWeighted(IteratedSampling):
    """The new mean is sum_k w_k a_k with w = softmax(kappa R); the deviation stays as it is."""

    def __init__(
        self,
        action_space: ActionSpace,
        horizon: int,
        candidates: int,
        iterations: int,
        kappa: float,
        kept_elites: int,
        std: float,
    ):
        super().__init__(action_space, horizon, candidates, iterations, std)
        check_at_least(self._name, 0, kept_elites=kept_elites)
        check_at_most(self._name, "candidates", candidates, kept_elites=kept_elites)
        self.kappa, self.kept_elites = kappa, kept_elites

    def _refit(self, search: SearchParams, candidates: Tensor, values: Tensor) -> SearchParams:
        weight = torch.softmax(self.kappa * values, 1)  # B N
        mean = einsum(weight, candidates, "B N, B N H A -> B H A")
        return self.distribution.around(mean, self.std)


class MPPI(RewardWeighted):
    """Model predictive path integral control: white noise, weights softmax(R / temperature).

    Args:
        action_space: what an action is.
        horizon: H, length of a plan in agent steps.
        candidates: N, plans drawn per iteration.
        iterations: updates of the mean per decision (1 in the paper).
        temperature: in units of return; the lower, the fewer candidates count.
        kept_elites: best plans that stay among the candidates, up to the next decision; 0 is the
            paper's, which executes the mean.
        std: standard deviation of the search (see ``SearchDistribution`` for discrete actions).

    Raises:
        ValueError: when a number does not fit.

    Reference: Williams et al., 2016 (MPPI), algorithm 1.
    """

    def __init__(
        self,
        action_space: ActionSpace,
        horizon: int = 12,
        candidates: int = 1000,
        iterations: int = 10,
        temperature: float = 0.1,
        kept_elites: int = 1,
        std: float = 0.5,
    ):
        check_above(self._name, 0, temperature=temperature)
        super().__init__(
            action_space, horizon, candidates, iterations, 1 / temperature, kept_elites, std,
        )  # fmt: skip


class PDDM(RewardWeighted):
    """Reward-weighted averaging with noise that is low-pass filtered in time.

    Args:
        action_space: what an action is.
        horizon: H, length of a plan in agent steps.
        candidates: N, plans drawn per iteration.
        iterations: updates of the mean per decision (1 in the paper).
        kappa: weight of the return (the paper's gamma); the higher, the fewer candidates count.
        beta: share of new noise at each step; 1 is white, towards 0 a plan's noise is constant.
        kept_elites: best plans that stay among the candidates, up to the next decision; 0 is the
            paper's, which executes the mean.
        std: standard deviation of the search at every step (see ``SearchDistribution`` for
            discrete actions).

    Raises:
        ValueError: when a number does not fit.

    Reference: Nagabandi et al., 2019 (PDDM), equations 2 to 4.
    """

    def __init__(
        self,
        action_space: ActionSpace,
        horizon: int = 12,
        candidates: int = 1000,
        iterations: int = 10,
        kappa: float = 10.0,
        beta: float = 0.6,
        kept_elites: int = 1,
        std: float = 0.5,
    ):
        super().__init__(
            action_space,
            horizon,
            candidates,
            iterations,
            kappa,
            kept_elites,
            std,
        )
        check_above(self._name, 0, kappa=kappa)
        if not 0 < beta <= 1:
            raise ValueError(f"PDDM: beta={beta}: choose a number above 0 and at most 1")
        self.beta = beta

    def _noise(
        self, candidates: int, like: Tensor, generator: torch.Generator | None
    ) -> Float[Tensor, "N H A"]:
        return filtered(white(candidates, like, generator), self.beta)
