"""A mean and its interval: what statistics hand to figures."""

from typing import NamedTuple

from jaxtyping import Float
from numpy import ndarray


class Interval(NamedTuple):
    """A mean with the ends of its confidence interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}]"


class Band(NamedTuple):
    """An ``Interval`` at every point of an axis (NaN where nothing was measured)."""

    mean: Float[ndarray, " T"]
    low: Float[ndarray, " T"]
    high: Float[ndarray, " T"]
