"""`imagine`: one call from a run to a video."""

from functools import partial

import numpy as np
import pytest
import torch
from small_runs import COUNTING, MODEL, small_agent

from worldmodels.checkpoint import load
from worldmodels.envs.make import make_env
from worldmodels.evaluation import imagine, record
from worldmodels.planning import RandomShooting
from worldmodels.viz.video import read_video
from worldmodels.world_model import LatentModel, WorldModel

SHORT = {"context": 3, "horizon": 5}


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A data set of three counting episodes."""
    folder = tmp_path_factory.mktemp("counted") / "set"
    record("worldmodels/Counting-v0", folder, episodes=3, options={"size": (16, 16)})
    return folder


def returned(monkeypatch, cls, method):
    """Collects what a method of a class will have returned."""
    seen, original = [], getattr(cls, method)

    def spy(self, *given, **options):
        seen.append(original(self, *given, **options))
        return seen[-1]

    monkeypatch.setattr(cls, method, spy)
    return seen


def test_a_dream_is_a_value_that_can_be_written(counting, tmp_path):
    dream = imagine(counting, **SHORT)
    assert str(dream) == "not written yet: 8 frames at 10 per second"
    assert dream.record.dream.shape == (2, 5, 3, 16, 16)
    assert len(dream.frames) == 8
    written = dream.save(tmp_path / "dream.gif")
    assert str(written) == f"wrote {tmp_path}/dream.gif: 8 frames at 10 per second"
    assert (written.path, dream.path) == (tmp_path / "dream.gif", None)
    video = read_video(tmp_path / "dream.gif")
    assert (len(video.frames), video.fps) == (8, 10)


def test_a_recorded_episode_is_imagined(counting, counted, tmp_path):
    dream = imagine(counting, tmp_path / "a.gif", data=counted, episode=2, start=1, **SHORT)
    assert len(read_video(tmp_path / "a.gif").frames) == 8
    assert (dream.title, dream.record.start) == ("worldmodels/Counting-v0", 1)
    # Counting pays its count.
    assert dream.record.reward.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    with pytest.raises(ValueError, match=r"episode=3: .*set holds episodes 0 to 2"):
        imagine(counting, data=counted, episode=3, **SHORT)


def test_the_policy_acts_in_what_is_imagined(guided, monkeypatch):
    imagined = returned(monkeypatch, WorldModel, "imagine")
    dream = imagine(guided, context=1, horizon=3, policy=True)
    assert len(dream.record.truth) == 4
    # Those before are proposals, made while the guided planner played the true episode.
    trajectory = imagined[-1]
    mode = load(guided).behaviour.policy(trajectory.feature[:, :-1]).mode()
    assert trajectory.action.shape == (2, 3, 1)
    torch.testing.assert_close(trajectory.action, mode)


def test_another_planner_plays_the_true_episode(counting, counted, monkeypatch):
    plans = returned(monkeypatch, RandomShooting, "plan")
    imagine(counting, planner="RandomShooting", context=1, horizon=2)
    assert len(plans) == 10
    with pytest.raises(ValueError, match="planner=CEM and data: nothing is played"):
        imagine(counting, planner="CEM", data=counted)


def test_an_agent_imagines_in_an_environment_that_is_given():
    agent = small_agent(COUNTING)
    dream = imagine(agent, env=make_env(**COUNTING), **SHORT)
    assert dream.frame_rate == 10
    again = imagine(agent, env=make_env(**COUNTING), **SHORT)
    np.testing.assert_array_equal(dream.record.dream, again.record.dream)


def test_a_model_that_draws_nothing_is_refused_before_it_plays(counted):
    blind = small_agent(COUNTING, model=partial(MODEL.func, **MODEL.keywords | {"decoder": None}))
    told = "this agent has no decoder to draw .* `worldmodels fit --only decoder --world_model RUN`"
    with pytest.raises(ValueError, match=told):
        imagine(blind, data=counted, **SHORT)


def test_a_model_free_agent_is_refused(counted):
    from worldmodels.behaviours import ModelFree

    model = partial(LatentModel, encoder=MODEL.keywords["encoder"])
    agent = small_agent(COUNTING, model=model, behaviour=ModelFree, planner=None)
    with pytest.raises(ValueError, match="model-free: its LatentModel predicts nothing"):
        imagine(agent, data=counted, **SHORT)


def test_mistakes_are_named_before_anything_is_loaded(counting):
    for name in ("context", "horizon", "futures"):
        with pytest.raises(ValueError, match=f"imagine: {name}=0: choose 1 or more"):
            imagine("nowhere", **{name: 0})
    with pytest.raises(ValueError, match="imagine: start=-1: choose 0 or more"):
        imagine("nowhere", start=-1)
    with pytest.raises(ValueError, match=r"'x\.xyz' must end in \.mp4, \.gif, \.webp"):
        imagine("nowhere", "x.xyz")
    with pytest.raises(FileNotFoundError, match="no trained model in nowhere"):
        imagine("nowhere")
    with pytest.raises(ValueError, match=r"policy: .* learned no policy: leave it out"):
        imagine(counting, policy=True)
