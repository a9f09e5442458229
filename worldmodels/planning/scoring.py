"""Scores of candidates, counted and checked."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.types import ScoreFn, State


class Scorer:
    """A score for the length of one ``plan`` call.

    Args:
        score: predicted return of candidate plans.
        planner: who asks, for messages.

    Attributes:
        evaluations: model evaluations per environment so far.
    """

    def __init__(self, score: ScoreFn, planner: str):
        self.score, self.planner = score, planner
        self.evaluations = 0

    def __call__(self, state: State, candidates: Float[Tensor, "B N H A"]) -> Float[Tensor, "B N"]:
        """The candidates' scores.

        Raises:
            ValueError: when the score's shape is wrong or a value is not a finite number.
        """
        self.evaluations += candidates.shape[1]
        return self._finite(self._shaped(self.score(state, candidates), candidates), "scores")

    def gradient(
        self, state: State, variables: Float[Tensor, "B N H A"], relax: Callable[[Tensor], Tensor]
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N H A"]]:
        """Scores of ``relax(variables)`` and their gradients, at two evaluations each.

        Raises:
            ValueError: as above, or when the score is no differentiable function of the actions.
        """
        self.evaluations += 2 * variables.shape[1]
        with torch.enable_grad():
            # A leaf of its own: the graph must not reach into an earlier step.
            leaf = variables.detach().requires_grad_()
            values = self._shaped(self.score(state, relax(leaf)), variables)
            # Plans do not influence each other, so the sum's gradient is each plan's own; asking
            # for this leaf alone leaves the model's .grad untouched.
            total = values.sum()
            found = (
                torch.autograd.grad(total, leaf, allow_unused=True)[0] if total.grad_fn else None
            )
        if found is None:
            raise ValueError(
                f"{self.planner}: the score carries no gradient to the actions: use a sampling "
                "planner (CEM), or a score without no_grad, inference_mode or detach"
            )
        return self._finite(values.detach(), "scores"), self._finite(found, "gradients")

    def _shaped(self, values: Tensor, candidates: Tensor) -> Tensor:
        if values.shape != candidates.shape[:2]:
            raise ValueError(
                f"{self.planner}: the score returned shape {tuple(values.shape)}, "
                f"expected [B, N] = {tuple(candidates.shape[:2])}"
            )
        return values

    def _finite(self, numbers: Tensor, what: str) -> Tensor:
        finite = torch.isfinite(numbers)
        if not finite.all():
            share = 100 * (~finite).float().mean()
            nans = 100 * numbers.isnan().float().mean()
            raise ValueError(
                f"{self.planner}: {share:.1f} % of the {numbers[0].numel()} {what} per environment "
                f"are not finite ({nans:.1f} % NaN): the world model diverged, "
                "load an earlier checkpoint or train it with a lower learning rate"
            )
        return numbers
