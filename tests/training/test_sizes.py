"""Every frame size goes the whole way: train, evaluate, dream to video."""

import json
import math

import numpy as np
import pytest

from worldmodels.envs.make import make_env
from worldmodels.training.fit import fit
from worldmodels.verbs import evaluate, imagine
from worldmodels.viz.video import read_video

OPTIONS = [
    "--env.id=worldmodels/CliffHill-v0", "--env.time_limit=12",
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
    "--planner.horizon=2", "--planner.candidates=4", "--planner.iterations=1",
    "--planner.elites=2",
    "--batches.batch_size=2", "--batches.batch_length=4",
    "--collect.prefill=24", "--evaluate.every=0",
    "--updates=3", "--round_updates=3",
]  # fmt: skip
CONTEXT, HORIZON = 3, 5


@pytest.fixture(
    params=[(16, 16, 3), (48, 80, 3), (96, 96, 3), (48, 80, 1)],
    ids=lambda size: "x".join(map(str, size)),
)
def size(request):
    return request.param


def trained(tmp_path, size):
    height, width, channels = size
    shape = [f"--env.size=[{height},{width}]", f"--env.channels={channels}"]
    agent = fit([*OPTIONS, *shape, f"--out={tmp_path}", "--name=run"])
    assert agent.world_model.obs_shape == (channels, height, width)
    return tmp_path / "run"


def numbers(value):
    """Every number inside a tree of dicts and lists."""
    if isinstance(value, dict):
        return [n for child in value.values() for n in numbers(child)]
    if isinstance(value, list):
        return [n for child in value for n in numbers(child)]
    return [value] if isinstance(value, int | float) else []


def test_a_frame_size_trains_evaluates_and_dreams(tmp_path, size):
    run = trained(tmp_path, size)
    dreams = [f"--context={CONTEXT}", f"--horizon={HORIZON}"]

    evaluate([str(run), "--episodes=2", "--sequences=3", *dreams])
    report = json.loads((run / "evaluation.json").read_text())
    assert len(report["returns"]) == 2
    assert report["return"]["mean"] == pytest.approx(np.mean(report["returns"]))
    assert max(report["lengths"]) <= 12
    assert report["open_loop"]["sequences"] == 3
    assert report["open_loop"]["context"] == CONTEXT
    for measure in ("psnr", "ssim", "moving_psnr", "reward", "discontinue"):
        assert len(report["open_loop"][measure]["model"]["mean"]) == HORIZON
    assert all(math.isfinite(number) for number in numbers(report))

    imagine([str(run), f"--out={tmp_path}/dream.mp4", "--futures=1", *dreams])
    video = read_video(tmp_path / "dream.mp4")
    assert len(video.frames) == CONTEXT + HORIZON
    assert video.fps == make_env("worldmodels/CliffHill-v0").frame_rate
    # The counter and the curve move on, so no two frames of the video are equal.
    assert all((a != b).any() for a, b in zip(video.frames, video.frames[1:]))
