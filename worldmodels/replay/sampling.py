"""Which rows of which episodes make a batch: pure index arithmetic, no data.

A sequence starts at a uniformly random row. Where its episode ends before the sequence does, it
continues with the first row of another episode, each equally likely (the same one may come up
again). In that walk the uniform distribution over rows is stationary: the N rows are left with
1/N each, the last rows of the E episodes together pass E/N on, and each of the E first rows
receives 1/N of it. So every row, terminal ones and those of short episodes included, is equally
likely at every position of a sequence. Starting only where the sequence fits would show the ends
of episodes up to `length` times more rarely.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from worldmodels.checks import check_at_least, check_between
from worldmodels.types import Configurable


class Piece(NamedTuple):
    """``rows`` rows of ``episode`` from ``row`` on, put at ``position`` of a sequence."""

    sequence: int
    position: int
    episode: int
    row: int
    rows: int


class Sampler(Configurable, ABC):
    """Chooses the episodes that each sequence of a batch is drawn from."""

    @abstractmethod
    def oldest(
        self, rows: Int[np.ndarray, " N"], batch: int, rng: np.random.Generator
    ) -> Int[np.ndarray, " B"]:
        """For each sequence the oldest episode it may show; all newer ones are open to it too.

        Args:
            rows: rows of each episode, oldest first.
            batch: sequences wanted.
            rng: where randomness comes from.
        """


class Uniform(Sampler):
    """All episodes, always."""

    def oldest(
        self, rows: Int[np.ndarray, " N"], batch: int, rng: np.random.Generator
    ) -> Int[np.ndarray, " B"]:
        return np.zeros(batch, dtype=np.int64)


class RecencyMixed(Sampler):
    """Part of each batch is drawn from recent episodes alone, the rest from all of them.

    Args:
        fraction: of the sequences that are recent, 0 to 1, exact on average over batches.
        window: recent rows: the newest whole episodes that together have at least so many.

    Raises:
        ValueError: when an argument is out of its range.
    """

    def __init__(self, fraction: float = 0.5, window: int = 10_000):
        check_between("RecencyMixed", 0, 1, fraction=fraction)
        check_at_least("RecencyMixed", 1, window=window)
        self.fraction, self.window = fraction, window

    def oldest(
        self, rows: Int[np.ndarray, " N"], batch: int, rng: np.random.Generator
    ) -> Int[np.ndarray, " B"]:
        """The first recent episode for a fraction of the sequences, 0 for the others."""
        newest_first = np.cumsum(rows[::-1])
        needed = int(np.searchsorted(newest_first, self.window)) + 1
        recent = int(self.fraction * batch + rng.random())
        return np.where(np.arange(batch) < recent, max(0, len(rows) - needed), 0)


def draw(
    rows: Int[np.ndarray, " N"],
    length: int,
    oldest: Int[np.ndarray, " B"],
    rng: np.random.Generator,
) -> list[Piece]:
    """The pieces of a batch of sequences.

    Args:
        rows: rows of each episode, oldest first.
        length: rows of each sequence.
        oldest: first episode open to each sequence.
        rng: where randomness comes from.
    """
    ends = np.cumsum(rows)
    starts = ends - rows
    first = rng.integers(starts[oldest], ends[-1])
    chosen = np.searchsorted(ends, first, side="right")
    pieces = []
    for sequence, (low, episode) in enumerate(zip(oldest.tolist(), chosen.tolist(), strict=True)):
        row, position = int(first[sequence] - starts[episode]), 0
        while True:
            count = min(length - position, int(rows[episode]) - row)
            pieces.append(Piece(sequence, position, episode, row, count))
            position += count
            if position == length:
                break
            episode, row = int(rng.integers(low, len(rows))), 0
    return pieces
