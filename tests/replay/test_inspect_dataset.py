from pathlib import Path

import numpy as np
import pytest
from recorded import ROW_BYTES, SPEC, numbered

from worldmodels.replay.episode import make_episode
from worldmodels.replay.inspect import Source, contact_sheet, inspect_dataset
from worldmodels.replay.shards import HEADER_BYTES
from worldmodels.replay.store import DamageWarning, EpisodeStore


def filled(directory: Path) -> EpisodeStore:
    store = EpisodeStore(directory, SPEC)
    for id, (length, policy, round) in enumerate(
        [(3, "random", 0), (5, "random", 0), (2, "planner", 1), (7, "planner", 2)]
    ):
        store.append(numbered(id, length, policy, round))
    return store


def test_the_report_counts_what_was_recorded(tmp_path: Path):
    store = filled(tmp_path)
    report = inspect_dataset(tmp_path)
    assert report.lengths.tolist() == [3, 5, 2, 7]
    expected = [numbered(id, n).reward.sum(dtype=float) for id, n in enumerate([3, 5, 2, 7])]
    np.testing.assert_allclose(report.returns, expected, rtol=1e-12)
    assert report.terminal == 2
    assert report.sources == {
        Source("random", 0): 2,
        Source("planner", 1): 1,
        Source("planner", 2): 1,
    }
    assert report.disk_bytes == (tmp_path / "episodes-00000.shard").stat().st_size
    assert report.memory_bytes == sum(e.nbytes for e in store) == 21 * ROW_BYTES


def test_the_table_is_readable(tmp_path: Path):
    filled(tmp_path).close()
    lines = inspect_dataset(tmp_path).lines()
    assert lines[1:6] == [
        "environment     Fake-v0 {'size': [1, 1]}",
        "frames          2x1x1 bytes, 15 per s",
        "actions         3 numbers in [-1, 1], each for 2 frames",
        "episodes        4",
        "steps           17",
    ]
    assert "length          mean 4.25, min 2, max 7" in lines
    assert "terminal        50% of episodes" in lines
    assert "  random        round 0: 2 episodes" in lines


def test_damage_is_counted_and_named_and_nothing_is_changed(tmp_path: Path):
    store = filled(tmp_path)
    store.truncate(3)
    store.close()
    path = tmp_path / "episodes-00000.shard"
    data = bytearray(path.read_bytes())
    data[store.records[1].offset + HEADER_BYTES] ^= 1
    path.write_bytes(data)
    with pytest.warns(DamageWarning, match="episode 1 at offset"):
        report = inspect_dataset(tmp_path)
    assert (report.recorded, report.lengths.tolist()) == (3, [3, 2])
    (moved,) = report.set_aside
    assert moved.suffix == ".later"
    assert "episodes        2 (1 unreadable)" in report.lines()
    assert report.lines()[-1].startswith(f"set aside       {moved} (")
    assert path.read_bytes() == data


def test_an_empty_data_set_has_a_table_too(tmp_path: Path):
    EpisodeStore(tmp_path, SPEC).close()
    assert "episodes        0" in inspect_dataset(tmp_path).lines()


def test_a_contact_sheet_shows_evenly_spaced_frames_in_reading_order():
    obs = np.zeros((10, 3, 2, 2), np.uint8) + np.arange(10, dtype=np.uint8).reshape(-1, 1, 1, 1)
    obs[:, 2, 1, 0] = 99
    rows = np.zeros(10, np.float32)
    episode = make_episode(obs, np.zeros((10, 1), np.float32), rows, False, "p", 0)
    sheet = contact_sheet(episode, columns=2, rows=2)
    assert sheet[::2, ::2, 0].tolist() == [[0, 3], [6, 9]]
    assert sheet[:, :, 2].tolist() == [[0, 0, 3, 3], [99, 0, 99, 3], [6, 6, 9, 9], [99, 6, 99, 9]]
    with pytest.raises(ValueError, match="contact_sheet: columns=0: choose 1 or more"):
        contact_sheet(episode, columns=0)
