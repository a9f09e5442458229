"""Episodes on disk: few append-only files, safe against a crash at any moment."""

import fcntl
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from worldmodels.checks import check_between
from worldmodels.replay.episode import Episode, check_episode
from worldmodels.replay.files import sync_folder, write_bytes
from worldmodels.replay.shards import Record, Span, pack, read_payload, scan, unpack
from worldmodels.replay.spec import DatasetSpec, read_spec, settle_spec

SET_ASIDE = "set-aside"


class DamageWarning(UserWarning):
    """Names bytes of a data set that are not readable, and the file that keeps a copy."""


class EpisodeStore:
    """A folder of recorded episodes: ``dataset.json`` and shards that hold many episodes each.

    An episode is on disk, durably, once ``append`` returns. A crash loses at most the episode in
    progress; damaged bytes are named in a warning and kept in ``set-aside/``, and all other
    episodes stay readable. Nothing recorded is ever deleted.

    Args:
        directory: the data set's folder.
        spec: open for recording, and create the data set if it is new. Without it the data set is
            opened for reading only and none of its files is touched.
        compression: zlib level of new episodes, 0 (none) to 9. Level 1 makes game frames 20 to 60
            times smaller at the speed of none; camera noise gains nothing and is slow.
        shard_bytes: start a new file when the current one would grow beyond this.

    Attributes:
        spec: the environment, frames and actions of all episodes.
        records: where the readable episodes lie, oldest first.
        episodes: how many were ever recorded; the next one gets this number as its id.

    Raises:
        FileNotFoundError: when there is no data set to read.
        BlockingIOError: when another process is recording into it.
        ValueError: when it was recorded under another spec, or ``compression`` is not 0 to 9.
    """

    def __init__(
        self,
        directory: Path | str,
        spec: DatasetSpec | None = None,
        compression: int = 1,
        shard_bytes: int = 256_000_000,
    ):
        check_between("EpisodeStore", 0, 9, compression=compression)
        self.directory = Path(directory)
        self.compression, self.shard_bytes = compression, shard_bytes
        self.records: list[Record] = []
        self.episodes = 0
        self._lock: BinaryIO | None = None
        self._named: set[str] = set()
        with ExitStack() as on_failure:
            on_failure.callback(self.close)
            if spec is None:
                self.spec = read_spec(self.directory)
            else:
                self.directory.mkdir(parents=True, exist_ok=True)
                self._lock = _lock(self.directory)
                self.spec = settle_spec(self.directory, spec)
            self._scan()
            on_failure.pop_all()

    @property
    def writable(self) -> bool:
        """Whether this is the one store that records into the folder."""
        return self._lock is not None

    @property
    def steps(self) -> int:
        """Agent steps (actions) in the readable episodes."""
        return sum(record.rows - 1 for record in self.records)

    def append(self, episode: Episode) -> Record:
        """Records one episode; it is durable when this returns.

        Raises:
            ValueError: when the episode does not fit the data set, or it is open for reading only.
            OSError: when the disk refuses; the data set is then as it was before.
        """
        self._refuse_reader("append")
        check_episode(episode, self.spec.obs_shape, self.spec.action_space)
        data = pack(episode, self.episodes, self.compression)
        path = self._current_shard(len(data))
        offset = _append_durably(path, data)
        if offset == 0:
            sync_folder(self.directory)
        # Read back from the file, so that one function alone parses headers.
        record = scan(path, offset).records[0]
        self.records.append(record)
        self.episodes += 1
        return record

    def payload(self, record: Record) -> bytes | None:
        """An episode's bytes as written, or None when damaged: it is then named and set aside."""
        payload = read_payload(self.directory, record)
        if payload is None:
            self._keep_damaged(
                record.shard, Span(record.offset, record.end - record.offset), record
            )
            self.records = [other for other in self.records if other != record]
        return payload

    def read(self, record: Record) -> Episode | None:
        """An episode, or None when damaged: it is then named and set aside."""
        payload = self.payload(record)
        return None if payload is None else unpack(payload)

    def __iter__(self) -> Iterator[Episode]:
        """All readable episodes, oldest first."""
        for record in tuple(self.records):
            episode = self.read(record)
            if episode is not None:
                yield episode

    def truncate(self, count: int) -> None:
        """Keeps the episodes with ids below ``count``; later ones move into ``set-aside/``.

        A run that resumes returns to the episodes of its checkpoint this way. The files moved are
        shards like any other (``*.later``).

        Raises:
            ValueError: when there are fewer than ``count``, or it is open for reading only.
        """
        if count > self.episodes:
            raise ValueError(
                f"{self.directory} holds {self.episodes} episodes, {count} were asked for: "
                "it is not the data set of this checkpoint, or episodes were removed"
            )
        self._refuse_reader("truncate")
        for path in reversed(self._shards()):
            later = [record for record in scan(path).records if record.id >= count]
            if later:
                self._move_end(path, later[0].offset, "later")
        self._scan()

    def refresh(self) -> None:
        """Reads the records that another process has added since this one looked."""
        if not self.writable:
            self._scan()

    def close(self) -> None:
        """Ends recording; the store can still be read."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __getstate__(self) -> dict[str, object]:
        """A copy in another process reads; recording stays here."""
        return {**self.__dict__, "_lock": None}

    def _scan(self) -> None:
        self.records, self.episodes = [], 0
        damaged = (self.directory / SET_ASIDE).glob("*.damaged")
        suspects = {path.name.rpartition("-")[0] for path in damaged}
        for path in self._shards():
            found = scan(path)
            for record in found.records:
                self.episodes = record.id + 1
                # Looked at again, for after `truncate` a sound episode may lie in its place.
                known = f"{path.name}@{record.offset}" in suspects
                if not known or read_payload(self.directory, record) is not None:
                    self.records.append(record)
            for span in found.damaged:
                self._keep_damaged(path.name, span)
            if found.tail is not None:
                self._cut_tail(path, found.tail)

    def _cut_tail(self, path: Path, tail: Span) -> None:
        text = f"{path} ends in an incomplete record ({tail.size} bytes from offset {tail.offset})"
        if self.writable:
            kept = self._move_end(path, tail.offset, "incomplete")
            self._warn(f"{text}: cut off and kept in {kept}")
        else:
            self._warn(f"{text}: a crash, or a recording in progress; it is left out")

    def _keep_damaged(self, shard: str, span: Span, record: Record | None = None) -> None:
        path = self.directory / shard
        who = "bytes" if record is None else f"episode {record.id}"
        text = f"{path}: {who} at offset {span.offset} ({span.size} bytes) damaged and left out"
        if self.writable:
            text += f", copy kept in {self._set_aside(path, span, 'damaged')}"
        self._warn(text)

    def _move_end(self, path: Path, offset: int, suffix: str) -> Path:
        """Moves a shard's bytes from ``offset`` on into a file in ``set-aside/``."""
        kept = self._set_aside(path, Span(offset, path.stat().st_size - offset), suffix)
        if offset == 0:
            path.unlink()
        else:
            os.truncate(path, offset)
        return kept

    def _set_aside(self, path: Path, span: Span, suffix: str) -> Path:
        """Copies bytes of a shard to ``set-aside/``; the name holds shard, offset and checksum."""
        with path.open("rb") as file:
            file.seek(span.offset)
            data = file.read(span.size)
        name = f"{path.name}@{span.offset}-{zlib.crc32(data):08x}.{suffix}"
        kept = self.directory / SET_ASIDE / name
        if not kept.exists():
            write_bytes(kept, data)
        return kept

    def _current_shard(self, size: int) -> Path:
        shards = self._shards()
        if shards and shards[-1].stat().st_size + size <= self.shard_bytes:
            return shards[-1]
        number = int(shards[-1].stem.split("-")[1]) + 1 if shards else 0
        return self.directory / f"episodes-{number:05d}.shard"

    def _shards(self) -> list[Path]:
        return sorted(self.directory.glob("episodes-*.shard"))

    def _refuse_reader(self, action: str) -> None:
        if not self.writable:
            raise ValueError(
                f"{self.directory} is open for reading only, cannot {action}: "
                "open it with EpisodeStore(directory, spec)"
            )

    def _warn(self, text: str) -> None:
        if text not in self._named:
            self._named.add(text)
            warnings.warn(text, DamageWarning, stacklevel=3)


def _append_durably(path: Path, data: bytes) -> int:
    """Appends and flushes; on any failure the file is as before. Returns the old size."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    size = os.fstat(descriptor).st_size
    complete = False
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
        complete = True
    finally:
        if not complete:
            os.ftruncate(descriptor, size)
        os.close(descriptor)
    return size


def _lock(directory: Path) -> BinaryIO:
    # The kernel drops the lock with the process, also when it is killed.
    file = (directory / ".lock").open("a+b")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        owner = file.read().decode() or "unknown"
        file.close()
        raise BlockingIOError(
            f"{directory} is being recorded into by process {owner}: "
            "wait for it, or choose another folder"
        ) from None
    file.truncate(0)
    file.write(str(os.getpid()).encode())
    file.flush()
    return file
