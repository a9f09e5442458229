"""Scoring candidates in chunks, counted and checked."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from worldmodels.types import ScoreFn

Result = TypeVar("Result")


class Scorer:
    """A score for the length of one ``plan`` call.

    Args:
        score: predicted return of candidate plans.
        planner: who asks, for messages.
        max_candidates_per_call: the most rollouts (environments times candidates, times what a
            score names as ``rollouts`` of each, a model's particles) in one call of ``score``, at
            least one plan per environment: the planner's memory cap.

    Attributes:
        evaluations: model evaluations per environment so far.
    """

    def __init__(self, score: ScoreFn, planner: str, max_candidates_per_call: int):
        self.score, self.planner = score, planner
        self.max_plans_per_call = max_candidates_per_call // getattr(score, "rollouts", 1)
        self.evaluations = 0

    def __call__(self, candidates: Float[Tensor, "B N H A"]) -> Float[Tensor, "B N"]:
        """The candidates' scores.

        Raises:
            ValueError: when the score's shape is wrong or a value is not a finite number.
        """
        values = alike(
            lambda chunk: self._checked_shape(self.score(chunk), chunk), self.chunks(candidates)
        )
        self.evaluations += candidates.shape[1]
        return self._finite(torch.cat(values, 1), "scores")

    def gradient(
        self, variables: Float[Tensor, "B N H A"], relax: ScoreFn
    ) -> tuple[Float[Tensor, "B N"], Float[Tensor, "B N H A"]]:
        """Scores of ``relax(variables)`` and their gradients, at two evaluations each.

        Raises:
            ValueError: as above, or when the score is no differentiable function of the actions.
        """
        pairs = alike(lambda chunk: self._value_and_gradient(chunk, relax), self.chunks(variables))
        values, gradients = zip(*pairs, strict=True)
        self.evaluations += 2 * variables.shape[1]
        return (
            self._finite(torch.cat(values, 1), "scores"),
            self._finite(torch.cat(gradients, 1), "gradients"),
        )

    def chunks(self, candidates: Float[Tensor, "B N H A"]) -> tuple[Tensor, ...]:
        """The candidates in parts that respect the memory cap."""
        size = max(1, self.max_plans_per_call // len(candidates))
        return candidates.split(size, 1)

    def _value_and_gradient(self, variables: Tensor, relax: ScoreFn) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            # A leaf of its own: the graph must not reach into an earlier step.
            leaf = variables.detach().requires_grad_()
            values = self._checked_shape(self.score(relax(leaf)), variables)
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
        return values.detach(), found

    def _checked_shape(self, values: Tensor, chunk: Tensor) -> Tensor:
        if values.shape != chunk.shape[:2]:
            raise ValueError(
                f"{self.planner}: the score returned shape {tuple(values.shape)}, "
                f"expected [B, N] = {tuple(chunk.shape[:2])}"
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


def alike(work: Callable[[Tensor], Result], chunks: Sequence[Tensor]) -> list[Result]:
    """``work`` of every chunk, each from the same state of torch's global generator.

    Chunks of candidates so meet the same noise, as they do in one piece.
    """
    device = chunks[0].device
    devices = [] if device.type == "cpu" else [device]
    *others, last = chunks
    results = []
    for chunk in others:
        with torch.random.fork_rng(devices, device_type=device.type):
            results.append(work(chunk))
    return [*results, work(last)]
