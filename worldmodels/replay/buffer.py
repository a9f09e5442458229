"""Recorded episodes in memory, within a byte budget, and batches of sequences from them."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, UInt8

from worldmodels.checks import check_at_least, check_share
from worldmodels.envs.base import row_bytes
from worldmodels.replay.episode import Episode
from worldmodels.replay.sampling import Sampler, Uniform, draw
from worldmodels.replay.shards import Record
from worldmodels.replay.store import EpisodeStore
from worldmodels.types import Batch

Seed = int | tuple[int, ...]


class _Side(NamedTuple):
    """The episodes of training or of validation, and the number of rows of each."""

    episodes: list[Episode]
    rows: Int[np.ndarray, " N"]


class ReplayBuffer:
    """The newest episodes of a store, as many as the byte budget holds, ready to sample.

    Older episodes leave memory first and stay on disk. The contents of memory follow from the store
    and the budget alone, and a batch from (episodes, seed) alone, so an exact resume needs no more
    than two counters.

    Args:
        store: the episodes on disk.
        capacity_bytes: of memory for episodes.
        sampler: which episodes a sequence shows.
        held_out: share of the episodes kept for validation; a function of the episode's id, so an
            episode never changes sides.

    Raises:
        ValueError: when an argument is out of its range.
    """

    def __init__(
        self,
        store: EpisodeStore,
        capacity_bytes: int = 4_000_000_000,
        sampler: Sampler = Uniform(),
        held_out: float = 0.0,
    ):
        self.row_bytes = row_bytes(store.spec.obs_shape, store.spec.action_space)
        # The shortest episode, one step, has two rows.
        check_at_least("ReplayBuffer", 2 * self.row_bytes, capacity_bytes=capacity_bytes)
        check_share("ReplayBuffer", held_out=held_out)
        self.store, self.capacity_bytes = store, capacity_bytes
        self.sampler, self.held_out = sampler, held_out
        self._cached: dict[Record, Episode] = {}
        self.refresh()

    def append(self, episode: Episode) -> None:
        """Records an episode on disk, then takes it into memory."""
        self._cached[self.store.append(episode)] = episode
        self.refresh()

    def refresh(self) -> None:
        """Loads the store's new episodes, and drops the oldest ones beyond the budget."""
        self._take(self.store.episodes)

    @property
    def episodes(self) -> int:
        """Episodes in memory."""
        return len(self._cached)

    @property
    def held_out_episodes(self) -> int:
        """Episodes in memory that are held out of training."""
        return len(self._validation.episodes)

    @property
    def steps(self) -> int:
        """Agent steps in memory."""
        return sum(record.rows - 1 for record in self._cached)

    @property
    def nbytes(self) -> int:
        """Bytes of the episodes in memory."""
        return sum(record.rows for record in self._cached) * self.row_bytes

    def describe(self) -> str:
        """One line: the memory of a step, how many steps the budget holds, how many are there."""
        fits = self.capacity_bytes // self.row_bytes
        return (
            f"replay: {self.row_bytes * 1000 / 1e6:.3g} MB per 1,000 steps, "
            f"{self.capacity_bytes / 1e9:.3g} GB of memory hold {fits:,} steps; "
            f"{self.steps:,} of {self.store.steps:,} recorded steps are in memory"
        )

    def sample(self, batch: int, length: int, seed: Seed) -> Batch:
        """A batch of sequences; the same episodes and seed give the same batch.

        Every row is equally likely at every position (see ``sampling``). Where an episode ends
        within a sequence, another begins: ``is_first`` is set there, action and reward are 0.

        Args:
            batch: number of sequences.
            length: rows of each.
            seed: one number or several; all randomness follows from it.

        Raises:
            ValueError: when there is no episode to draw from.
        """
        return self._sample(self._training, batch, length, seed)

    def sample_held_out(self, batch: int, length: int, seed: Seed) -> Batch:
        """As ``sample``, from the episodes held out of training."""
        return self._sample(self._validation, batch, length, seed)

    def state_dict(self) -> dict[str, int]:
        """The number of episodes recorded so far."""
        return {"episodes": self._count}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Returns to that point of the recording.

        Later episodes are set aside where this store records, and ignored where it only reads.

        Raises:
            ValueError: when the store holds fewer episodes.
        """
        count = state["episodes"]
        if self.store.writable or count > self.store.episodes:
            self.store.truncate(count)
        self._take(count)

    def _take(self, count: int) -> None:
        self._count = count
        left = self.capacity_bytes
        kept: dict[Record, Episode] = {}
        for record in reversed(self.store.records):
            if record.id >= count:
                continue
            left -= record.rows * self.row_bytes
            # The newest episode stays even when it alone is larger than the budget.
            if left < 0 and kept:
                break
            episode = self._cached.get(record) or self.store.read(record)
            if episode is not None:
                kept[record] = episode
            else:
                left += record.rows * self.row_bytes
        self._cached = dict(reversed(kept.items()))
        self._training, self._validation = self._side(False), self._side(True)

    def _side(self, held_out: bool) -> _Side:
        chosen = [
            (episode, record.rows)
            for record, episode in self._cached.items()
            if is_held_out(record.id, self.held_out) == held_out
        ]
        return _Side([episode for episode, _ in chosen], np.array([rows for _, rows in chosen]))

    def _sample(self, side: _Side, batch: int, length: int, seed: Seed) -> Batch:
        if not side.episodes:
            raise ValueError(
                f"no episode to draw from: {self.episodes} in memory, held_out={self.held_out}; "
                f"record more into {self.store.directory}"
            )
        rng = np.random.default_rng(seed)
        spec = self.store.spec
        obs = np.empty((batch, length, *spec.obs_shape), np.uint8)
        action = np.empty((batch, length, spec.action_space.dim), np.float32)
        reward = np.empty((batch, length), np.float32)
        is_first, is_terminal = np.empty((2, batch, length), np.bool_)
        oldest = self.sampler.oldest(side.rows, batch, rng)
        for piece in draw(side.rows, length, oldest, rng):
            episode = side.episodes[piece.episode]
            source = slice(piece.row, piece.row + piece.rows)
            target = (piece.sequence, slice(piece.position, piece.position + piece.rows))
            obs[target] = episode.obs[source]
            action[target] = episode.action[source]
            reward[target] = episode.reward[source]
            is_first[target] = episode.is_first[source]
            is_terminal[target] = episode.is_terminal[source]
        return _batch(obs, action, reward, is_first, is_terminal)


def is_held_out(id: int, share: float) -> bool:
    """Whether an episode is for validation.

    Multiples of the golden ratio spread evenly over the unit interval and have no period, so
    small data sets get their share and alternating policies fall on both sides.
    """
    golden = 0x9E3779B97F4A7C15
    return (id * golden + 2**63) % 2**64 < share * 2**64


def _batch(
    obs: UInt8[np.ndarray, "B T C h w"],
    action: Float32[np.ndarray, "B T A"],
    reward: Float32[np.ndarray, "B T"],
    is_first: Bool[np.ndarray, "B T"],
    is_terminal: Bool[np.ndarray, "B T"],
) -> Batch:
    fields = (obs, action, reward, is_first, is_terminal)
    return Batch(*(torch.from_numpy(field) for field in fields))
