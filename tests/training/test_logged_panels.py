"""Dream panels reach TensorBoard and W&B, and a run is the same with and without them."""

import io
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image
from tiny_training import MODEL, assert_same_run, learn, small_agent

from worldmodels.training import loggers
from worldmodels.training.metrics import JsonlLogger
from worldmodels.training.panels import Panel, show, takes_pictures
from worldmodels.training.settings import Panels
from worldmodels.viz.video import read_video

SETTINGS = {
    "round_updates": 2, "panels": Panels(every=2, context=3, horizon=6),
}  # fmt: skip


def events(run):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulators.EventAccumulator(str(run / "tensorboard"))
    found.Reload()
    return found


def decoded(event):
    with Image.open(io.BytesIO(event.encoded_image_string)) as picture:
        return np.asarray(picture.convert("RGB")), getattr(picture, "n_frames", 1)


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The same run without further loggers: its panels have nowhere to go."""
    return learn(tmp_path_factory.mktemp("plain"), **SETTINGS).path


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    pytest.importorskip("tensorboard")
    out = tmp_path_factory.mktemp("shown")
    return learn(out, loggers=["tensorboard"], **SETTINGS).path


def test_tensorboard_has_the_curves_of_metrics_jsonl(shown):
    found = events(shown)
    for name in ("train/loss", "collect/return"):
        lines = [(row["step"], row[name]) for row in metrics(shown) if name in row]
        assert len(lines) > 0
        curve = [(event.step, event.value) for event in found.Scalars(name)]
        assert [step for step, _ in curve] == [step for step, _ in lines]
        np.testing.assert_allclose([v for _, v in curve], [v for _, v in lines], rtol=1e-6)


def test_tensorboard_shows_a_strip_and_a_moving_dream(shown):
    found = events(shown)
    # Rounds 2 and 3: every second one, and the last.
    assert [event.step for event in found.Images("dream/strip")] == [
        row["step"] for row in metrics(shown) if "train/loss" in row and row["update"] in (4, 6)
    ]
    strip, frames = decoded(found.Images("dream/strip")[-1])
    # 9 frames of 16 pixels, four times as large, beside the rows' names.
    assert strip.shape == (24 + 4 * 68, 112 + 9 * 68, 3)
    assert frames == 1
    _, frames = decoded(found.Images("dream/video")[-1])
    assert frames == 9
    videos = sorted((shown / "media").iterdir())
    assert [path.name for path in videos] == ["dream-000000004.gif", "dream-000000006.gif"]
    assert found.Images("dream/video")[-1].encoded_image_string == videos[-1].read_bytes()
    assert read_video(videos[-1]).fps == 10


def test_a_run_is_the_same_with_and_without_panels(plain, shown):
    assert_same_run(shown, plain)


def test_without_a_logger_for_pictures_nothing_is_drawn(plain):
    assert not (plain / "media").exists()


def test_every_0_draws_nothing(tmp_path):
    pytest.importorskip("tensorboard")
    learn(tmp_path, loggers=["tensorboard"], updates=2, panels=Panels(every=0))
    assert not (tmp_path / "run" / "media").exists()
    assert events(tmp_path / "run").Tags()["images"] == []


def test_wandb_takes_the_curves_the_strip_and_the_video(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    learn(tmp_path, loggers=["wandb"], **SETTINGS | {"updates": 2})
    summary = dict(wandb.run.summary)
    wandb.finish()
    last = [row for row in metrics(tmp_path / "run") if "train/loss" in row][-1]
    assert summary["train/loss"] == pytest.approx(last["train/loss"])
    assert summary["update"] == 2
    (media,) = (tmp_path / "run" / "wandb").glob("offline-run-*/files/media")
    (video,) = (media / "videos" / "dream").iterdir()
    assert video.read_bytes() == (tmp_path / "run" / "media" / "dream-000000002.gif").read_bytes()
    (strip,) = (media / "images" / "dream").iterdir()
    with Image.open(strip) as picture:
        assert picture.size == (112 + 9 * 68, 24 + 4 * 68)


def test_a_model_without_a_decoder_has_nothing_to_show(tmp_path):
    pytest.importorskip("tensorboard")
    agent = small_agent(model=partial(MODEL, decoder=None))
    learn(tmp_path, agent=agent, loggers=["tensorboard"], **SETTINGS | {"updates": 2})
    assert not (tmp_path / "run" / "media").exists()
    assert events(tmp_path / "run").Tags()["images"] == []


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_a_missing_package_is_one_line_that_names_our_extra(name, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda package: None)
    with pytest.raises(ModuleNotFoundError) as error:
        learn(tmp_path, loggers=[name])
    assert str(error.value) == (
        f'--loggers {name}: {name} is not installed, run `pip install "worldmodels[{name}]"`'
    )
    # The name is free for the next attempt.
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_an_unknown_logger_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="--loggers board: choose from tensorboard, wandb"):
        learn(tmp_path, loggers=["board"])


def test_only_known_loggers_take_pictures(tmp_path):
    pytest.importorskip("tensorboard")
    assert takes_pictures(loggers.LOGGERS["tensorboard"](tmp_path))
    text = JsonlLogger(tmp_path / "metrics.jsonl")
    assert not takes_pictures(text)
    panel = Panel(np.zeros((1, 1, 3), np.uint8), tmp_path / "none.gif")
    with pytest.raises(TypeError, match="JsonlLogger takes no pictures"):
        show(text, panel, 0)
