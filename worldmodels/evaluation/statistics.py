"""Bootstrap intervals: what a mean over few samples may be worth."""

import numpy as np
from jaxtyping import Float, Int

from worldmodels.viz.bands import Band, Interval


def bootstrap_interval(
    values: Float[np.ndarray, " N"], confidence: float = 0.95, resamples: int = 10_000
) -> Interval:
    """Mean and percentile-bootstrap interval of N independent values.

    Args:
        values: one per episode, sequence or seed.
        confidence: share of resampled means inside the interval.
        resamples: how many means are drawn (with a fixed seed: the same values, the same answer).

    Raises:
        ValueError: when there is no value.

    Reference: Efron & Tibshirani, 1993, chapter 13.
    """
    band = bootstrap_band(np.asarray(values, float)[:, None], confidence, resamples)
    return Interval(float(band.mean[0]), float(band.low[0]), float(band.high[0]))


def bootstrap_band(
    values: Float[np.ndarray, "N H"],
    confidence: float = 0.95,
    resamples: int = 10_000,
    groups: Int[np.ndarray, " N"] | None = None,
) -> Band:
    """``bootstrap_interval`` at every one of H points, resampling whole rows.

    Rows of the same group depend on each other (predictions of one episode): groups are resampled
    as wholes then, each with all its rows. NaN stands for a missing value.
    """
    if len(values) == 0:
        raise ValueError("no values to average: give at least one")
    labels = np.arange(len(values)) if groups is None else groups
    names, member = np.unique(labels, return_inverse=True)
    rng = np.random.default_rng(0)
    # How often each row is drawn: sums over resamples become one product.
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    weights = np.concatenate([np.ones((1, len(names))), drawn])[:, member]
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means = weights @ np.where(there, values, 0.0) / (weights @ there)
    bounds = np.full((2, values.shape[1]), np.nan)
    some, tails = there.any(0), [(1 - confidence) / 2, (1 + confidence) / 2]
    bounds[:, some] = np.nanquantile(means[1:, some], tails, axis=0)
    return Band(means[0], *bounds)
