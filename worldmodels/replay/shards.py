"""The file format of episodes: a shard is a row of records, each with its own checksums.

A record is a fixed header and a payload, the bytes of an ``.npz`` with the fields of an
``Episode``. Records are only ever appended. A record that was half written when the process died
is recognised by its length, damaged bytes by their checksums, and neither hides the records
around it: after damage the scan continues at the next valid header.
"""

import io
import mmap
import struct
import zipfile
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from worldmodels.replay.episode import Episode

VERSION = 1
_MAGIC = b"WMEPISOD"
# magic, version, payload bytes, payload crc32, episode id, rows; then the crc32 of all that.
_FIELDS = struct.Struct("<8sIQIQQ")
_CHECK = struct.Struct("<I")
HEADER_BYTES = _FIELDS.size + _CHECK.size


class Record(NamedTuple):
    """Where one episode lies: a header at ``offset`` of file ``shard``, then ``size`` bytes."""

    shard: str
    offset: int
    size: int
    crc: int
    id: int
    rows: int

    @property
    def end(self) -> int:
        """The offset behind the record."""
        return self.offset + HEADER_BYTES + self.size


class Span(NamedTuple):
    """Bytes of a shard that are no record."""

    offset: int
    size: int


class Scan(NamedTuple):
    """The contents of a shard: its records, damaged spans between them, and an incomplete end."""

    records: list[Record]
    damaged: list[Span]
    tail: Span | None


def pack(episode: Episode, id: int, compression: int) -> bytes:
    """The record of an episode: header and payload.

    Args:
        episode: a checked episode.
        id: its number in the data set.
        compression: zlib level, 0 (none) to 9.
    """
    buffer = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if compression else zipfile.ZIP_STORED
    # numpy's own savez_compressed takes no level, and its level 6 is three times slower.
    with zipfile.ZipFile(buffer, "w", method, compresslevel=compression or None) as archive:
        for name, value in episode._asdict().items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)
    payload = buffer.getvalue()
    fields = _FIELDS.pack(_MAGIC, VERSION, len(payload), zlib.crc32(payload), id, episode.rows)
    return fields + _CHECK.pack(zlib.crc32(fields)) + payload


def unpack(payload: bytes) -> Episode:
    """The episode in a payload; nothing in it is executed."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        values = {name: arrays[name] for name in Episode._fields}
    values["policy"], values["round"] = str(values["policy"]), int(values["round"])
    return Episode(**values)


def unpack_field(payload: bytes, name: str) -> np.ndarray:
    """One field of the episode in a payload; the others are not decompressed."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as arrays:
        return arrays[name]


def read_payload(folder: Path, record: Record) -> bytes | None:
    """The payload's bytes, or None when they are not what was written."""
    with (folder / record.shard).open("rb") as file:
        file.seek(record.offset + HEADER_BYTES)
        payload = file.read(record.size)
    return payload if zlib.crc32(payload) == record.crc else None


def scan(path: Path, start: int = 0) -> Scan:
    """Reads the headers of a shard from offset ``start`` on, jumping over the payloads.

    Raises:
        ValueError: when a newer version wrote the file.
    """
    records: list[Record] = []
    damaged: list[Span] = []
    size = path.stat().st_size
    with path.open("rb") as file:
        offset = start
        while offset < size:
            record = _header(file, path.name, offset)
            if record is not None and record.end <= size:
                records.append(record)
                offset = record.end
                continue
            following = _next_header(file, path.name, offset + 1, size)
            if following is None:
                return Scan(records, damaged, Span(offset, size - offset))
            damaged.append(Span(offset, following - offset))
            offset = following
    return Scan(records, damaged, None)


def _header(file: BinaryIO, shard: str, offset: int) -> Record | None:
    file.seek(offset)
    data = file.read(HEADER_BYTES)
    if len(data) < HEADER_BYTES or data[: len(_MAGIC)] != _MAGIC:
        return None
    fields, (check,) = data[: _FIELDS.size], _CHECK.unpack(data[_FIELDS.size :])
    if zlib.crc32(fields) != check:
        return None
    _, version, size, crc, id, rows = _FIELDS.unpack(fields)
    if version > VERSION:
        raise ValueError(
            f"{file.name} has record version {version}, this version reads {VERSION}: "
            "update worldmodels"
        )
    return Record(shard, offset, size, crc, id, rows)


def _next_header(file: BinaryIO, shard: str, start: int, size: int) -> int | None:
    """The offset of the next whole record behind damaged bytes."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        offset = data.find(_MAGIC, start)
        while offset >= 0:
            record = _header(file, shard, offset)
            if record is not None and record.end <= size:
                return offset
            offset = data.find(_MAGIC, offset + 1)
    return None
