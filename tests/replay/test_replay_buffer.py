from pathlib import Path

import numpy as np
import pytest
import torch
from recorded import ROW_BYTES, SPEC, numbered, record

from worldmodels.replay.buffer import ReplayBuffer, is_held_out
from worldmodels.replay.sampling import RecencyMixed
from worldmodels.replay.shards import HEADER_BYTES
from worldmodels.replay.store import DamageWarning, EpisodeStore
from worldmodels.types import Batch


def assert_rows(batch: Batch, lengths: list[int]) -> None:
    """Every row is a recorded one, and follows the row before it or begins an episode."""
    for index in range(len(batch.obs)):
        before = None
        for position in range(batch.obs.shape[1]):
            id, row = batch.obs[index, position].flatten().tolist()
            if before is not None and before[1] < lengths[before[0]]:
                assert (id, row) == (before[0], before[1] + 1)
            elif before is not None:
                assert row == 0
            episode = numbered(id, lengths[id])
            at = (index, position)
            np.testing.assert_array_equal(batch.action[at], episode.action[row])
            assert batch.reward[at] == episode.reward[row]
            assert batch.is_first[at] == (row == 0)
            assert batch.is_terminal[at] == (id % 2 == 1 and row == lengths[id])
            before = (id, row)


def same(left: Batch, right: Batch) -> bool:
    return all(torch.equal(ours, theirs) for ours, theirs in zip(left, right, strict=True))


def shown(batch: Batch) -> set[int]:
    return set(batch.obs[:, :, 0].flatten().tolist())


@pytest.mark.parametrize("seed", range(6))
def test_a_batch_holds_exact_rows_and_joins_episodes_only_at_a_first_row(tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    lengths = rng.choice([1, 1, 2, 5, 17, 40], size=8).tolist()
    batch = ReplayBuffer(record(tmp_path, lengths)).sample(6, 20, (seed, 0, 0))
    assert batch.obs.dtype == torch.uint8
    assert_rows(batch, lengths)


def test_the_same_episodes_and_seed_give_the_same_batch_however_they_came(tmp_path: Path):
    lengths = [4, 1, 9, 30, 2, 2]
    store = record(tmp_path, lengths[:2])
    grown = ReplayBuffer(store, capacity_bytes=48 * ROW_BYTES)
    for id in range(2, 6):
        grown.append(numbered(id, lengths[id]))
    opened = ReplayBuffer(EpisodeStore(tmp_path), capacity_bytes=48 * ROW_BYTES)
    for k in range(5):
        assert same(grown.sample(4, 10, (3, 1, k)), opened.sample(4, 10, (3, 1, k)))
    assert not same(grown.sample(4, 10, (3, 1, 0)), grown.sample(4, 10, (3, 1, 1)))
    assert not same(grown.sample(4, 10, (3, 1, 0)), grown.sample(4, 10, (3, 0, 0)))


def test_the_oldest_episodes_leave_memory_first_and_stay_on_disk(tmp_path: Path):
    store = record(tmp_path, [])
    buffer = ReplayBuffer(store, capacity_bytes=20 * ROW_BYTES)
    held = []
    for id, length in enumerate([5, 3, 8, 1, 11, 6]):
        buffer.append(numbered(id, length))
        held.append(sorted(shown(buffer.sample(50, 8, 0))))
        assert buffer.nbytes <= 20 * ROW_BYTES
    # Rows 6, 4, 9 (19 in all), 2 (21: episode 0 leaves), 12 (27: 1 and 2 leave), 7 (21: 3 leaves).
    assert held == [[0], [0, 1], [0, 1, 2], [1, 2, 3], [3, 4], [4, 5]]
    assert (buffer.episodes, buffer.steps, buffer.nbytes) == (2, 17, 19 * ROW_BYTES)
    assert len(list(store)) == 6


def test_the_newest_episode_stays_when_it_alone_exceeds_the_budget(tmp_path: Path):
    buffer = ReplayBuffer(record(tmp_path, [2, 30]), capacity_bytes=10 * ROW_BYTES)
    assert shown(buffer.sample(9, 4, 0)) == {1}


def test_counted_bytes_are_the_bytes_in_memory(tmp_path: Path):
    store = record(tmp_path, [3, 10, 1])
    assert ReplayBuffer(store).nbytes == sum(episode.nbytes for episode in store)


def test_a_damaged_episode_is_left_out_with_a_warning(tmp_path: Path):
    store = record(tmp_path, [3, 3, 3])
    path = tmp_path / store.records[1].shard
    data = bytearray(path.read_bytes())
    data[store.records[1].offset + HEADER_BYTES + 9] ^= 1
    path.write_bytes(data)
    with pytest.warns(DamageWarning, match="episode 1 at offset"):
        buffer = ReplayBuffer(EpisodeStore(tmp_path), capacity_bytes=8 * ROW_BYTES)
    assert shown(buffer.sample(30, 4, 0)) == {0, 2}


def test_a_reader_follows_the_recorder_on_refresh(tmp_path: Path):
    store = record(tmp_path, [3])
    reader = ReplayBuffer(EpisodeStore(tmp_path))
    store.append(numbered(1, 5))
    reader.store.refresh()
    assert reader.episodes == 1
    reader.refresh()
    assert shown(reader.sample(30, 4, 0)) == {0, 1}


def test_loading_a_state_returns_to_its_episodes_and_its_batches(tmp_path: Path):
    store = record(tmp_path, [3, 9, 1])
    buffer = ReplayBuffer(store, capacity_bytes=30 * ROW_BYTES)
    state, batch = buffer.state_dict(), buffer.sample(4, 8, (0, 0, 7))
    assert state == {"episodes": 3}
    for id in range(3, 6):
        buffer.append(numbered(id, 10))
    reader = ReplayBuffer(EpisodeStore(tmp_path), capacity_bytes=30 * ROW_BYTES)
    assert not same(reader.sample(4, 8, (0, 0, 7)), batch)
    reader.load_state_dict(state)
    assert same(reader.sample(4, 8, (0, 0, 7)), batch)
    assert reader.state_dict() == state
    assert len(list(reader.store)) == 6
    buffer.load_state_dict(state)
    assert same(buffer.sample(4, 8, (0, 0, 7)), batch)
    buffer.append(numbered(3, 2))
    assert [episode.length for episode in EpisodeStore(tmp_path)] == [3, 9, 1, 2]


@pytest.mark.parametrize("recording", [True, False])
def test_a_state_of_more_episodes_than_recorded_is_refused(tmp_path: Path, recording: bool):
    store = record(tmp_path, [3])
    buffer = ReplayBuffer(store if recording else EpisodeStore(tmp_path))
    with pytest.raises(ValueError, match="holds 1 episodes, 2 were asked for"):
        buffer.load_state_dict({"episodes": 2})


def test_held_out_episodes_never_reach_a_training_batch(tmp_path: Path):
    buffer = ReplayBuffer(record(tmp_path, [2] * 20), held_out=0.2)
    trained = shown(buffer.sample(200, 6, 0))
    validated = shown(buffer.sample_held_out(200, 6, 0))
    assert trained | validated == set(range(20))
    assert not trained & validated
    buffer.append(numbered(20, 2))
    assert not shown(buffer.sample(200, 6, 1)) & validated


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_held_out_episodes_are_the_share_asked_for_with_no_period(share: float):
    sides = [is_held_out(id, share) for id in range(1000)]
    assert abs(sum(sides) - 1000 * share) <= 3
    # Of episodes recorded in turn by two policies, both give the same share.
    assert abs(sum(sides[::2]) - 500 * share) <= 3
    assert not any(is_held_out(id, 0.0) for id in range(1000))


def test_the_sampler_decides_which_episodes_are_shown(tmp_path: Path):
    store = record(tmp_path, [5] * 6)
    buffer = ReplayBuffer(store, sampler=RecencyMixed(fraction=1.0, window=12))
    assert shown(buffer.sample(100, 10, 0)) == {4, 5}


def test_the_line_before_a_run_says_what_fits(tmp_path: Path):
    buffer = ReplayBuffer(record(tmp_path, [5, 30]), capacity_bytes=2000)
    assert ROW_BYTES == 20
    assert buffer.describe() == (
        "replay: 0.02 MB per 1,000 steps, 2e-06 GB of memory hold 100 steps; "
        "35 of 35 recorded steps are in memory"
    )


def test_settings_out_of_range_and_an_empty_buffer_say_so(tmp_path: Path):
    store = EpisodeStore(tmp_path, SPEC)
    with pytest.raises(ValueError, match="capacity_bytes=39: choose 40 or more"):
        ReplayBuffer(store, capacity_bytes=39)
    with pytest.raises(ValueError, match=r"held_out=1\.0: choose at least 0 and below 1"):
        ReplayBuffer(store, held_out=1.0)
    with pytest.raises(ValueError, match="no episode to draw from: 0 in memory"):
        ReplayBuffer(store).sample(1, 2, 0)
