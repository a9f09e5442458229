"""The planner's contract.

Beside the axes of ``types.py``, P counts extra candidates: plans from outside that join a search.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.checks import check_at_least
from worldmodels.planning.scoring import Scorer
from worldmodels.planning.search import search_distribution
from worldmodels.types import ActionSpace, Configurable, ScoreFn, State


class Plan(NamedTuple):
    """The outcome of planning for B environments at once.

    ``actions`` is the plan to execute (in [-1, 1], or one-hot); ``params`` is what the next call
    takes as ``init`` after shifting (the mean of the search distribution: real numbers, or class
    probabilities); ``value`` is the plan's predicted return; ``evaluations`` counts model
    evaluations (candidate plans scored per environment; a gradient step counts as two); ``elites``
    are the best candidates, best first, as many as the planner's ``kept_elites``: proposals for
    the next call after shifting.
    """

    actions: Float[Tensor, "B H A"]
    params: Float[Tensor, "B H A"]
    value: Float[Tensor, " B"]
    evaluations: int
    elites: Float[Tensor, "B P H A"]


class Planner(Configurable, ABC):
    """Searches for the action sequence with the highest score.

    Subclasses take ``action_space`` and ``horizon`` as their first two arguments, everything else
    has a default beside it: ``Planner(action_space, horizon=12, ...)``.

    Every environment of a batch is searched with the same noise and on its own: planning for two
    environments at once gives what planning for each of them alone with the same generator gives.

    Attributes:
        kept_elites: how many ``Plan.elites`` a plan hands on to the next one.
    """

    action_space: ActionSpace
    horizon: int
    kept_elites: int = 0

    def __init__(self, action_space: ActionSpace, horizon: int):
        check_at_least(self._name, 1, horizon=horizon)
        self.action_space, self.horizon = action_space, horizon
        self.distribution = search_distribution(action_space)

    @abstractmethod
    def plan(
        self,
        score: ScoreFn,
        state: State,
        init: Float[Tensor, "B H A"],
        generator: torch.Generator | None = None,
        proposals: Float[Tensor, "B P H A"] | None = None,
    ) -> Plan:
        """Improves a warm start under a score.

        Args:
            score: predicted return of candidate plans, called with ``state`` and the candidates.
            state: the latent states that plans start from, rows B; handed on to ``score``.
            init: the warm start (see ``initial``).
            generator: of the candidates' noise; torch's default generator when None.
            proposals: plans of a policy, or of an earlier decision, that join the candidates.

        Raises:
            ValueError: when a shape does not fit, or a score is not a finite number.
        """

    def initial(self, batch: int) -> Float[Tensor, "B H A"]:
        """The cold start: zeros, or uniform probabilities."""
        return self.distribution.initial(batch, self.horizon)

    def roll(self, params: Float[Tensor, "B H A"], steps: int) -> Float[Tensor, "B H A"]:
        """What is left of a plan's ``params`` after ``steps`` steps; the tail is ``initial``."""
        return roll(params, self.initial(len(params)).to(params), steps)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _scorer(self, score: ScoreFn) -> Scorer:
        return Scorer(score, self._name)

    def _starts(self, init: Tensor, proposals: Tensor | None) -> Tensor:
        """The warm start's plan and the proposals as candidates ``[B, 1 + P, H, A]``."""
        self._check_shape("init", init, (len(init), self.horizon, self.action_space.dim))
        warm = self.distribution.mode(init)[:, None]  # B 1 H A
        if proposals is None:
            return warm
        extra = proposals.shape[1]
        self._check_shape("proposals", proposals, (len(init), extra, *init.shape[1:]))
        return torch.cat([warm, self.distribution.mode(proposals)], 1)

    def _check_shape(self, name: str, given: Tensor, expected: tuple[int, ...]) -> None:
        # Checked here, not by jaxtyping alone: outside of tests its hook is off.
        if given.shape != expected:
            raise ValueError(
                f"{self._name}: {name} has shape {tuple(given.shape)}, expected {expected} "
                f"(horizon {self.horizon}, action dimension {self.action_space.dim})"
            )


def roll(
    plan: Float[Tensor, "*batch H A"], tail: Float[Tensor, "*batch H A"], steps: int
) -> Float[Tensor, "*batch H A"]:
    """Drops the first ``steps`` steps of ``plan`` and fills up with the first ones of ``tail``.

    Raises:
        ValueError: when ``steps`` is negative.
    """
    check_at_least("roll", 0, steps=steps)
    steps = min(steps, plan.shape[-2])
    return torch.cat([plan[..., steps:, :], tail[..., :steps, :]], -2)  # *batch H A


def best(
    candidates: Float[Tensor, "B N H A"], values: Float[Tensor, "B N"], count: int
) -> Float[Tensor, "B P H A"]:
    """The ``count`` candidates with the highest values, best first."""
    index = values.topk(count, 1).indices  # B P
    return candidates.take_along_dim(index[..., None, None], 1)
