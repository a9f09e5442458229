"""What a study is: one claim, a rule written before the run, variants, and what a seed measures."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, NamedTuple

from matplotlib.figure import Figure

from worldmodels.studies.figure import variant_panels
from worldmodels.studies.results import Check, Numbers, Results


class Role(StrEnum):
    """Why a variant is there."""

    BASELINE = "baseline"
    """What the claim says does not work, or works less well."""
    METHOD = "method"
    """What it says works."""
    ABLATION = "ablation"
    """The same extra data or compute without the idea."""


class Variant(NamedTuple):
    """One way of doing it."""

    name: str
    role: Role
    text: str


@dataclass(frozen=True)
class Study(ABC):
    """An experiment that can fail.

    Subclasses are frozen dataclasses: their fields are the sizes of the experiment, with those of
    the full run as defaults. A study keeps nothing between calls.

    Attributes:
        claim: what is to be shown, in one sentence.
        rule: when it counts as shown; written before the run, and not moved after it.
        variants: what is compared.
        measures: what is measured, with what it means and its unit, in the order of the figure.
    """

    claim: ClassVar[str]
    rule: ClassVar[str]
    variants: ClassVar[tuple[Variant, ...]]
    measures: ClassVar[Mapping[str, str]]

    @classmethod
    @abstractmethod
    def smoke(cls) -> "Study":
        """The same experiment in sizes that take a few minutes and show that it runs."""

    @abstractmethod
    def run(self, seed: int, folder: Path) -> Numbers:
        """Measures every variant once.

        Args:
            seed: all randomness follows from it.
            folder: for data and models while the seed runs; it is removed afterwards.
        """

    @abstractmethod
    def verdict(self, results: Results) -> list[Check]:
        """The rule's conditions, each with whether it holds; all of them must."""

    def figure(self, results: Results) -> Figure:
        """One panel per measure: the variants with every seed and their intervals."""
        return variant_panels(results, self.measures, self.claim)
