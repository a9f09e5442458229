import pytest

from worldmodels.evaluation import record
from worldmodels.replay.store import EpisodeStore


def test_a_second_call_adds_other_episodes(tmp_path):
    world = {"env": "worldmodels/CliffHill-v0", "options": {"size": (16, 16), "time_limit": 4}}
    first = record(out=tmp_path / "set", episodes=2, **world)
    assert (first.recorded, first.lengths.tolist()) == (2, [4, 4])
    second = record(out=tmp_path / "set", episodes=2, **world)
    assert second.recorded == 4
    starts = [episode.obs[0].tobytes() for episode in EpisodeStore(tmp_path / "set")]
    assert len(set(starts)) == 4


def test_a_trained_agent_records_under_its_actors_name(counting, tmp_path):
    world = {"env": "worldmodels/Counting-v0", "options": {"size": (16, 16)}}
    report = record(out=tmp_path / "set", episodes=1, run=counting, **world)
    assert [source.policy for source in report.sources] == ["planner"]
    assert report.returns.tolist() == [55]


def test_no_episode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="collect: episodes=0: choose 1 or more"):
        record("worldmodels/Counting-v0", tmp_path / "set", episodes=0)
