"""Tiny episodes whose frames say where they come from: channel 0 the episode, channel 1 the row."""

from pathlib import Path

import numpy as np

from worldmodels.replay.episode import Episode, make_episode
from worldmodels.replay.spec import DatasetSpec
from worldmodels.replay.store import EpisodeStore
from worldmodels.types import ActionSpace

SPEC = DatasetSpec((2, 1, 1), ActionSpace(3, False), "Fake-v0", 15.0, 2, {"size": [1, 1]})
ROW_BYTES = 2 + 3 * 4 + 4 + 2


def numbered(id: int, length: int, policy: str = "random", round: int = 0) -> Episode:
    """Episode ``id`` with ``length`` actions; odd ids end terminally."""
    rows = np.arange(length + 1)
    obs = np.stack([np.full(length + 1, id), rows], axis=1).astype(np.uint8)
    noise = np.random.default_rng(id)
    action = noise.uniform(-1, 1, (length + 1, 3)).astype(np.float32)
    reward = noise.normal(size=length + 1).astype(np.float32)
    action[0], reward[0] = 0, 0
    return make_episode(obs.reshape(-1, 2, 1, 1), action, reward, id % 2 == 1, policy, round)


def record(directory: Path, lengths: list[int], **options: int) -> EpisodeStore:
    """A store with one numbered episode per length, open for recording."""
    store = EpisodeStore(directory, SPEC, **options)
    for length in lengths:
        store.append(numbered(store.episodes, length))
    return store


def assert_same(left: Episode, right: Episode) -> None:
    for name, ours, theirs in zip(Episode._fields, left, right, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)
        assert np.asarray(ours).dtype == np.asarray(theirs).dtype, name
