"""Real processes, killed for real while they record."""

import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from recorded import SPEC, assert_same, numbered

from worldmodels.replay.store import DamageWarning, EpisodeStore

# Episode 4 dies between the two halves of its bytes.
HALF_WAY = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from recorded import SPEC, numbered
from worldmodels.replay import store
written = store.EpisodeStore(sys.argv[1], SPEC, compression=0)
write = os.write
def half(descriptor, data):
    write(descriptor, data[:len(data) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
for id in range(5):
    if id == 4:
        store.os.write = half
    written.append(numbered(id, 200))
"""

ENDLESS = """
import sys
sys.path.insert(0, sys.argv[2])
from recorded import SPEC, numbered
from worldmodels.replay.store import EpisodeStore
store = EpisodeStore(sys.argv[1], SPEC, compression=0, shard_bytes=100_000)
while True:
    store.append(numbered(store.episodes % 250, 200))
    print(store.episodes, flush=True)
"""


def recorder(script: str, directory: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, str(directory), str(Path(__file__).parent)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_process_killed_half_way_through_an_append_loses_that_episode_alone(tmp_path: Path):
    process = recorder(HALF_WAY, tmp_path)
    assert process.wait(60) == -signal.SIGKILL
    with pytest.warns(DamageWarning, match="incomplete record"):
        store = EpisodeStore(tmp_path, SPEC)
    assert store.episodes == 4
    for id, episode in enumerate(store):
        assert_same(episode, numbered(id, 200))
    store.append(numbered(4, 3))
    assert [episode.length for episode in EpisodeStore(tmp_path)] == [200] * 4 + [3]


def test_killed_at_any_moment_every_episode_reported_as_recorded_is_there(tmp_path: Path):
    process = recorder(ENDLESS, tmp_path)
    assert process.stdout is not None
    first = process.stdout.readline()
    time.sleep(0.2)
    process.kill()
    reported = int((first + process.stdout.read()).split()[-1])
    process.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamageWarning)
        store = EpisodeStore(tmp_path, SPEC)
    assert reported <= store.episodes <= reported + 1
    for id, episode in enumerate(store):
        assert_same(episode, numbered(id % 250, 200))
    assert len(store.records) == store.episodes
