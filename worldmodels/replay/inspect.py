"""A data set's contents as a table, and an episode's frames as a picture."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from einops import rearrange
from jaxtyping import Float, Int, UInt8

from worldmodels.checks import check_at_least
from worldmodels.envs.base import row_bytes
from worldmodels.replay.episode import Episode
from worldmodels.replay.shards import unpack_field
from worldmodels.replay.spec import DatasetSpec
from worldmodels.replay.store import SET_ASIDE, EpisodeStore


class Source(NamedTuple):
    """The behaviour policy of an episode, and its round of data collection."""

    policy: str
    round: int


class DatasetReport(NamedTuple):
    """The result of `inspect_dataset`.

    Attributes:
        folder: of the data set.
        spec: the environment, frames and actions of all episodes.
        recorded: episodes ever recorded, damaged ones included.
        returns: sum of rewards of each readable episode, oldest first.
        lengths: agent steps of each.
        terminal: how many of them ended by termination, not by a time limit.
        sources: episodes by policy and round.
        disk_bytes: of the shards.
        memory_bytes: of all episodes in memory.
        set_aside: files with damaged, incomplete or withdrawn episodes.
    """

    folder: Path
    spec: DatasetSpec
    recorded: int
    returns: Float[np.ndarray, " N"]
    lengths: Int[np.ndarray, " N"]
    terminal: int
    sources: Counter[Source]
    disk_bytes: int
    memory_bytes: int
    set_aside: list[Path]

    def lines(self) -> list[str]:
        """A table of two columns."""
        return [f"{name:<16}{text}" for name, text in self._facts()]

    def _facts(self) -> list[tuple[str, str]]:
        spec, episodes = self.spec, len(self.lengths)
        unreadable = self.recorded - episodes
        kind = "choices (one-hot)" if spec.action_space.discrete else "numbers in [-1, 1]"
        facts = [
            ("data set", str(self.folder)),
            ("environment", f"{spec.env} {spec.options or ''}".rstrip()),
            ("frames", f"{'x'.join(map(str, spec.obs_shape))} bytes, {spec.frame_rate:g} per s"),
            ("actions", f"{spec.action_space.dim} {kind}, each for {spec.action_repeat} frames"),
            ("episodes", f"{episodes:,}" + (f" ({unreadable} unreadable)" if unreadable else "")),
            ("steps", f"{int(self.lengths.sum()):,}"),
            ("on disk", f"{self.disk_bytes / 1e6:,.1f} MB"),
            ("in memory", f"{self.memory_bytes / 1e6:,.1f} MB"),
        ]
        if episodes:
            facts.append(("return", _spread(self.returns)))
            facts.append(("length", _spread(self.lengths)))
            facts.append(("terminal", f"{self.terminal / episodes:.0%} of episodes"))
        facts += [
            (f"  {source.policy}", f"round {source.round}: {count:,} episodes")
            for source, count in sorted(self.sources.items())
        ]
        facts += [("set aside", f"{p} ({p.stat().st_size:,} bytes)") for p in self.set_aside]
        return facts


def inspect_dataset(directory: Path | str) -> DatasetReport:
    """Reads a data set, checks every episode's checksum, and changes nothing.

    Damaged episodes are named in a warning each.

    Raises:
        FileNotFoundError: when the folder is no data set.
    """
    store = EpisodeStore(directory)
    returns, lengths, terminal = [], [], 0
    sources: Counter[Source] = Counter()
    for record in tuple(store.records):
        payload = store.payload(record)
        if payload is None:
            continue
        returns.append(float(unpack_field(payload, "reward").sum(dtype=np.float64)))
        lengths.append(record.rows - 1)
        terminal += bool(unpack_field(payload, "is_terminal")[-1])
        policy, round = unpack_field(payload, "policy"), unpack_field(payload, "round")
        sources[Source(str(policy), int(round))] += 1
    rows = sum(lengths) + len(lengths)
    return DatasetReport(
        store.directory,
        store.spec,
        store.episodes,
        np.array(returns, np.float64),
        np.array(lengths, np.int64),
        terminal,
        sources,
        sum(path.stat().st_size for path in store.directory.glob("*.shard")),
        rows * row_bytes(store.spec.obs_shape, store.spec.action_space),
        sorted((store.directory / SET_ASIDE).glob("*")),
    )


def contact_sheet(episode: Episode, columns: int = 8, rows: int = 4) -> UInt8[np.ndarray, "h w C"]:
    """Evenly spaced frames of an episode as one picture, left to right, first and last included.

    Raises:
        ValueError: when a number is below 1.
    """
    check_at_least("contact_sheet", 1, columns=columns, rows=rows)
    chosen = np.linspace(0, episode.length, columns * rows).round().astype(int)
    return rearrange(episode.obs[chosen], "(r c) C h w -> (r h) (c w) C", c=columns)


def _spread(values: Float[np.ndarray, " N"] | Int[np.ndarray, " N"]) -> str:
    return f"mean {values.mean():,.4g}, min {values.min():,.4g}, max {values.max():,.4g}"
