import json
import os
import pickle
import warnings
from pathlib import Path

import pytest
from recorded import SPEC, assert_same, numbered, record

from worldmodels.replay import store as store_module
from worldmodels.replay.shards import HEADER_BYTES, read_payload, scan, unpack
from worldmodels.replay.store import DamageWarning, EpisodeStore
from worldmodels.types import ActionSpace

LENGTHS = [3, 1, 12, 5, 1]


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def ids(store: EpisodeStore) -> list[int]:
    return [int(episode.obs[0, 0, 0, 0]) for episode in store]


@pytest.mark.parametrize("compression", [0, 1, 9])
def test_episodes_come_back_bit_for_bit(tmp_path: Path, compression: int):
    store = EpisodeStore(tmp_path, SPEC, compression=compression)
    given = [numbered(i, n, policy=f"p{i}", round=i) for i, n in enumerate(LENGTHS)]
    for episode in given:
        store.append(episode)
    reader = EpisodeStore(tmp_path)
    for ours, theirs in zip(given, reader, strict=True):
        assert_same(ours, theirs)
    assert reader.spec == SPEC
    assert (reader.episodes, reader.steps) == (5, 22)


def test_an_episode_is_there_for_others_once_append_returns(tmp_path: Path):
    store, reader = record(tmp_path, [2]), EpisodeStore(tmp_path)
    for id in range(1, 4):
        store.append(numbered(id, 4))
        reader.refresh()
        assert ids(reader) == list(range(id + 1))


def test_append_flushes_the_whole_record_to_the_disk_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store, fsync, flushed = record(tmp_path, [2]), os.fsync, []

    def noted(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(store_module.os, "fsync", noted)
    assert flushed == []
    end = store.append(numbered(1, 9)).end
    assert end in flushed


def test_many_episodes_lie_in_few_files_and_keep_none_open(tmp_path: Path):
    before = len(os.listdir("/proc/self/fd"))
    store = record(tmp_path, [1] * 60, shard_bytes=20_000)
    assert len(list(store)) == 60
    assert len(os.listdir("/proc/self/fd")) == before + 1  # the lock
    shards = sorted(tmp_path.glob("*.shard"))
    assert [path.name for path in shards] == [f"episodes-{i:05d}.shard" for i in range(len(shards))]
    assert 3 <= len(shards) <= 6
    assert all(path.stat().st_size <= 20_000 for path in shards)
    assert ids(EpisodeStore(tmp_path)) == list(range(60))


def test_an_episode_larger_than_a_shard_gets_its_own(tmp_path: Path):
    record(tmp_path, [1, 1], shard_bytes=1)
    assert len(list(tmp_path.glob("*.shard"))) == 2
    assert ids(EpisodeStore(tmp_path)) == [0, 1]


def test_a_second_recorder_is_refused_in_one_line_until_the_first_closes(tmp_path: Path):
    store = record(tmp_path, [1])
    with pytest.raises(BlockingIOError, match=f"recorded into by process {os.getpid()}: wait"):
        EpisodeStore(tmp_path, SPEC)
    store.close()
    again = EpisodeStore(tmp_path, SPEC)
    again.append(numbered(1, 2))
    assert ids(again) == [0, 1]


def test_a_reader_cannot_change_the_data_set(tmp_path: Path):
    record(tmp_path, [1]).close()
    reader = EpisodeStore(tmp_path)
    with pytest.raises(ValueError, match="open for reading only, cannot append"):
        reader.append(numbered(1, 1))
    with pytest.raises(ValueError, match="open for reading only, cannot truncate"):
        reader.truncate(0)


def test_a_copy_sent_to_another_process_only_reads(tmp_path: Path):
    store = record(tmp_path, [2, 3])
    copy = pickle.loads(pickle.dumps(store))
    assert not copy.writable
    assert ids(copy) == [0, 1]


@pytest.mark.parametrize("left", [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 1, -1])
def test_an_incomplete_end_is_cut_off_and_kept(tmp_path: Path, left: int):
    store = record(tmp_path, [3, 1, 2])
    last, path = store.records[-1], tmp_path / "episodes-00000.shard"
    store.close()
    data = path.read_bytes()
    end = last.offset + left if left > 0 else len(data) + left
    os.truncate(path, end)
    with pytest.warns(DamageWarning, match=rf"{path.name} ends in .* offset {last.offset}\): cut"):
        store = EpisodeStore(tmp_path, SPEC)
    (kept,) = (tmp_path / "set-aside").iterdir()
    assert kept.read_bytes() == data[last.offset : end]
    assert store.episodes == 2
    store.append(numbered(2, 6))
    store.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [episode.length for episode in EpisodeStore(tmp_path)] == [3, 1, 6]


def test_zeros_after_a_power_cut_are_an_incomplete_end(tmp_path: Path):
    record(tmp_path, [3, 1]).close()
    with (tmp_path / "episodes-00000.shard").open("ab") as file:
        file.write(bytes(5000))
    with pytest.warns(DamageWarning, match=r"incomplete record \(5000 bytes"):
        store = EpisodeStore(tmp_path, SPEC)
    assert ids(store) == [0, 1]


@pytest.mark.parametrize("place", [3, 14, 30, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 400])
def test_one_damaged_byte_costs_one_episode_which_is_named_and_kept(tmp_path: Path, place: int):
    store = record(tmp_path, LENGTHS)
    bad, path = store.records[2], tmp_path / "episodes-00000.shard"
    store.close()
    flip(path, bad.offset + place)
    damaged = path.read_bytes()
    with warnings.catch_warnings(record=True) as caught:
        store = EpisodeStore(tmp_path, SPEC)
        assert ids(store) == [0, 1, 3, 4]
    (line,) = (str(warning.message) for warning in caught)
    who = "episode 2" if place >= HEADER_BYTES else "bytes"
    assert line.startswith(f"{path}: {who} at offset {bad.offset} ")
    (kept,) = (tmp_path / "set-aside").iterdir()
    assert kept.read_bytes() == damaged[bad.offset : bad.end]
    assert path.read_bytes() == damaged
    assert store.episodes == 5


def test_a_damaged_payload_stays_out_on_the_next_opening(tmp_path: Path):
    store = record(tmp_path, LENGTHS)
    flip(tmp_path / "episodes-00000.shard", store.records[2].offset + HEADER_BYTES)
    with pytest.warns(DamageWarning):
        list(store)
    store.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = EpisodeStore(tmp_path, SPEC)
        assert ids(store) == [0, 1, 3, 4]
    assert store.episodes == 5


def test_two_damaged_neighbours_leave_the_others_readable(tmp_path: Path):
    store = record(tmp_path, LENGTHS)
    for bad in store.records[1:3]:
        flip(tmp_path / bad.shard, bad.offset + 5)
    with pytest.warns(DamageWarning):
        assert ids(EpisodeStore(tmp_path)) == [0, 3, 4]


def test_a_reader_names_damage_and_touches_nothing(tmp_path: Path):
    store = record(tmp_path, LENGTHS)
    store.close()
    path = tmp_path / "episodes-00000.shard"
    flip(path, store.records[1].offset + 2)
    flip(path, store.records[3].offset + HEADER_BYTES)
    os.truncate(path, store.records[4].offset + 10)
    before = contents(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        reader = EpisodeStore(tmp_path)
        assert ids(reader) == [0, 2]
        reader.refresh()
        assert ids(reader) == [0, 2]
    assert [warning.category for warning in caught] == [DamageWarning] * 3
    assert contents(tmp_path) == before


@pytest.mark.parametrize("count", range(6))
@pytest.mark.parametrize("shard_bytes", [1, 3_000, 256_000_000])
def test_truncating_keeps_the_first_and_moves_the_rest_aside(
    tmp_path: Path, count: int, shard_bytes: int
):
    store = record(tmp_path, LENGTHS, shard_bytes=shard_bytes)
    store.truncate(count)
    assert ids(store) == list(range(count))
    assert store.episodes == count
    moved = [
        unpack(read_payload(path.parent, found) or b"")
        for path in (tmp_path / "set-aside").glob("*.later")
        for found in scan(path).records
    ]
    moved.sort(key=lambda episode: int(episode.obs[0, 0, 0, 0]))
    for id, episode in enumerate(moved, start=count):
        assert_same(episode, numbered(id, LENGTHS[id]))
    assert len(moved) == 5 - count
    store.append(numbered(count, 7))
    assert ids(EpisodeStore(tmp_path)) == list(range(count + 1))


def test_truncating_counts_damaged_episodes_too(tmp_path: Path):
    store = record(tmp_path, LENGTHS)
    flip(tmp_path / "episodes-00000.shard", store.records[1].offset + HEADER_BYTES)
    with pytest.warns(DamageWarning):
        list(store)
    store.truncate(3)
    assert (ids(store), store.episodes) == ([0, 2], 3)
    store.truncate(1)
    store.append(numbered(1, 1))
    assert ids(EpisodeStore(tmp_path)) == [0, 1]


def test_more_episodes_than_recorded_cannot_be_kept(tmp_path: Path):
    with pytest.raises(ValueError, match="holds 2 episodes, 3 were asked for"):
        record(tmp_path, [1, 1]).truncate(3)


def test_a_full_disk_leaves_the_data_set_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store, write = record(tmp_path, [3, 1]), os.write
    before = contents(tmp_path)

    def half(descriptor: int, data: memoryview) -> int:
        write(descriptor, data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store_module.os, "write", half)
        with pytest.raises(OSError, match="No space left"):
            store.append(numbered(2, 4))
    assert contents(tmp_path) == before
    store.append(numbered(2, 4))
    assert ids(EpisodeStore(tmp_path)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("obs_shape", (3, 1, 1)),
        ("action_space", ActionSpace(3, True)),
        ("env", "Other-v0"),
        ("action_repeat", 4),
        ("options", {"size": [2, 2]}),
    ],
)
def test_another_spec_is_refused_by_name(tmp_path: Path, name: str, value: object):
    record(tmp_path, [1]).close()
    with pytest.raises(ValueError, match=f"was recorded with {name}="):
        EpisodeStore(tmp_path, SPEC._replace(**{name: value}))
    EpisodeStore(tmp_path, SPEC._replace(options={"size": (1, 1)})).close()


def test_a_refused_recorder_leaves_the_data_set_unlocked(tmp_path: Path):
    record(tmp_path, [1]).close()
    with pytest.raises(ValueError, match="action_repeat") as error:
        EpisodeStore(tmp_path, SPEC._replace(action_repeat=9))
    assert error.traceback
    EpisodeStore(tmp_path, SPEC).close()


def test_what_is_no_data_set_or_too_new_says_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no data set in"):
        EpisodeStore(tmp_path)
    record(tmp_path, [1]).close()
    file = tmp_path / "dataset.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({**about, "format": 2}))
    with pytest.raises(ValueError, match="has format 2, this version reads 1: update"):
        EpisodeStore(tmp_path)
    file.write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        EpisodeStore(tmp_path)


def test_compression_out_of_range_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="compression=10: choose 0 to 9"):
        EpisodeStore(tmp_path, SPEC, compression=10)
