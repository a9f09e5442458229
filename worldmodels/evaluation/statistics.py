"""Bootstrap intervals: what a mean over few samples may be worth."""

import numpy as np
from jaxtyping import Float

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
    values: Float[np.ndarray, "N H"], confidence: float = 0.95, resamples: int = 10_000
) -> Band:
    """``bootstrap_interval`` at every one of H points, resampling whole rows."""
    count = len(values)
    if count == 0:
        raise ValueError("no values to average: give at least one")
    rng = np.random.default_rng(0)
    # How often each row is drawn: sums over resamples become one product.
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    means = weights @ values
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Band(values.mean(0), low, high)
