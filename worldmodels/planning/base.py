"""The planner's contract."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.types import ActionSpace, ScoreFn


class Plan(NamedTuple):
    """The outcome of planning for B environments at once.

    ``actions`` is the plan to execute (in [-1, 1], or one-hot); ``params`` is what the next call
    takes as ``init`` after shifting (the mean of the search distribution: real numbers, or class
    probabilities); ``value`` is the plan's predicted return; ``evaluations`` counts model
    evaluations (candidate plans scored per environment; a gradient step counts as two).
    """

    actions: Float[Tensor, "B H A"]
    params: Float[Tensor, "B H A"]
    value: Float[Tensor, " B"]
    evaluations: int


class Planner(ABC):
    """Searches for the action sequence with the highest score.

    Subclasses take ``action_space`` and ``horizon`` as their first two arguments, everything else
    has a default beside it: ``Planner(action_space, horizon=12, ...)``.
    """

    action_space: ActionSpace
    horizon: int

    @abstractmethod
    def plan(
        self,
        score: ScoreFn,
        init: Float[Tensor, "B H A"],
        generator: torch.Generator | None = None,
    ) -> Plan:
        """Improves ``init`` (a warm start, see ``initial``) under ``score``.

        Noise is drawn from ``generator`` (torch's default generator when None).
        """
