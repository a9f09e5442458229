"""The numbers of a study over its seeds, and the arithmetic of its rule."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from worldmodels.evaluation.statistics import bootstrap_interval
from worldmodels.viz.bands import Interval

Numbers = Mapping[str, Mapping[str, float]]
"""What one seed measured: by variant, by measure."""


class Check(NamedTuple):
    """One condition of a rule with its numbers, and whether it holds."""

    text: str
    passed: bool


class Results:
    """A study's numbers over all seeds.

    Args:
        seeds: one per seed; each variant holds the same measures in all of them.

    Raises:
        ValueError: when there is no seed, or a seed lacks a number that another has.
    """

    def __init__(self, seeds: Sequence[Numbers]):
        if not seeds:
            raise ValueError("a study without seeds: run at least one")
        self.seeds = list(seeds)
        for number, numbers in enumerate(seeds):
            if _names(numbers) != _names(seeds[0]):
                differing = sorted(_names(numbers) ^ _names(seeds[0]))
                raise ValueError(
                    f"seed number {number} and the first one differ in what they measured: "
                    f"{differing}; run the study anew with --fresh"
                )

    def variants(self) -> list[str]:
        """Names of the variants."""
        return list(self.seeds[0])

    def measures(self, variant: str) -> list[str]:
        """Names of a variant's measures."""
        return list(self.seeds[0][variant])

    def values(self, variant: str, measure: str) -> Float[np.ndarray, " S"]:
        """One number per seed."""
        return np.array([numbers[variant][measure] for numbers in self.seeds], dtype=float)

    def interval(self, variant: str, measure: str) -> Interval:
        """Mean over the seeds with its bootstrap interval."""
        return bootstrap_interval(self.values(variant, measure))

    def lead(self, variant: str, other: str, measure: str) -> Interval:
        """How far ``variant`` lies above ``other``, seed by seed."""
        return bootstrap_interval(self.values(variant, measure) - self.values(other, measure))

    def at_least(self, variant: str, measure: str, bound: float) -> Check:
        """The mean is ``bound`` or more."""
        interval = self.interval(variant, measure)
        text = f"{variant}: {measure} {interval}, at least {bound:g}"
        return Check(text, interval.mean >= bound)

    def at_most(self, variant: str, measure: str, bound: float) -> Check:
        """The mean is ``bound`` or less."""
        interval = self.interval(variant, measure)
        text = f"{variant}: {measure} {interval}, at most {bound:g}"
        return Check(text, interval.mean <= bound)

    def beats(self, variant: str, other: str, measure: str) -> Check:
        """The whole interval of the paired differences lies above 0."""
        lead = self.lead(variant, other, measure)
        return Check(
            f"{measure}: {variant} above {other} by {lead}, interval above 0", lead.low > 0
        )

    def reaches(self, variant: str, other: str, measure: str, slack: float = 0.0) -> Check:
        """The mean of the paired differences is ``-slack`` or more."""
        lead = self.lead(variant, other, measure)
        text = f"{measure}: {variant} against {other} {lead}, mean at least {-slack or 0:g}"
        return Check(text, lead.mean >= -slack)


def _names(numbers: Numbers) -> set[tuple[str, str]]:
    return {(variant, measure) for variant, measures in numbers.items() for measure in measures}
