"""Random numbers from a key in the state, so that a step stays a function of its arguments."""

import numpy as np
from jaxtyping import Float, UInt64

_STRIDE = 0x9E3779B97F4A7C15


def draw_keys(rng: np.random.Generator, num: int) -> UInt64[np.ndarray, " N"]:
    """One key per copy of a world.

    Fresh keys in a state give other futures of it: a planner that steps an exact world and must
    not foresee the noise replaces the keys of its copies.
    """
    return rng.integers(2**64, size=num, dtype=np.uint64)


def next_keys(key: UInt64[np.ndarray, " N"], used: int) -> UInt64[np.ndarray, " N"]:
    """The keys that continue after ``used`` numbers."""
    return key + np.uint64(used * _STRIDE % 2**64)


def uniforms(key: UInt64[np.ndarray, " N"], count: int) -> Float[np.ndarray, "N K"]:
    """``count`` numbers in [0, 1) that follow from each key.

    Reference: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"
    (SplitMix64).
    """
    bits = key[:, None] + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(_STRIDE)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits = bits ^ (bits >> np.uint64(31))
    return (bits >> np.uint64(11)) * 2.0**-53


def normal(key: UInt64[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """A standard normal number from each key; uses two uniform ones (Box and Muller 1958)."""
    radius, turn = uniforms(key, 2).T
    return np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * turn)
