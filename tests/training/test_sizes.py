"""Every frame size goes the whole way: train, evaluate, dream to video."""

import math

import numpy as np
import pytest
from tiny_training import WORLD, learn, small_agent

from worldmodels.checkpoint import load
from worldmodels.envs.make import make_env
from worldmodels.evaluation.evaluate import evaluate
from worldmodels.evaluation.imagine import imagine
from worldmodels.viz.video import read_video

CONTEXT, HORIZON = 3, 5


@pytest.fixture(
    params=[(16, 16, 3), (48, 80, 3), (96, 96, 3), (48, 80, 1)],
    ids=lambda size: "x".join(map(str, size)),
)
def size(request):
    return request.param


def trained(tmp_path, size):
    height, width, channels = size
    env = make_env(**WORLD | {"size": (height, width), "channels": channels})
    run = learn(tmp_path, agent=small_agent(env=env), env=env, updates=3)
    assert run.agent.world_model.obs_shape == (channels, height, width)
    return run.path


def numbers(value):
    """Every number inside a tree of dicts and lists."""
    if isinstance(value, dict):
        return [n for child in value.values() for n in numbers(child)]
    if isinstance(value, list):
        return [n for child in value for n in numbers(child)]
    return [value] if isinstance(value, int | float) else []


def test_a_frame_size_trains_evaluates_and_dreams(tmp_path, size):
    run = trained(tmp_path, size)
    dreams = {"context": CONTEXT, "horizon": HORIZON}
    assert load(run).world_model.obs_shape == (size[2], *size[:2])

    report = evaluate(run, episodes=2, sequences=3, **dreams).as_dict()
    assert len(report["returns"]) == 2
    assert report["return"]["mean"] == pytest.approx(np.mean(report["returns"]))
    assert max(report["lengths"]) <= 8
    assert report["open_loop"]["sequences"] == 3
    assert report["open_loop"]["context"] == CONTEXT
    for measure in ("psnr", "ssim", "moving_psnr", "reward", "continues"):
        assert len(report["open_loop"][measure]["model"]["mean"]) == HORIZON
    assert all(math.isfinite(number) for number in numbers(report))

    imagine(run, tmp_path / "dream.mp4", futures=1, **dreams)
    video = read_video(tmp_path / "dream.mp4")
    assert len(video.frames) == CONTEXT + HORIZON
    assert video.fps == make_env("worldmodels/CliffHill-v0").frame_rate
    # The counter and the curve move on, so no two frames of the video are equal.
    assert all((a != b).any() for a, b in zip(video.frames, video.frames[1:]))
