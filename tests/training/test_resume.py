"""Killed anywhere and resumed equals never interrupted, bit for bit."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from worldmodels.training.fit import fit

OPTIONS = [
    "--env.id=worldmodels/CliffHill-v0", "--env.num_envs=2", "--env.size=[16,16]",
    "--env.time_limit=12",
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
    "--planner.horizon=3", "--planner.candidates=10", "--planner.iterations=2",
    "--planner.elites=3",
    "--batches.batch_size=4", "--batches.batch_length=6",
    "--collect.prefill=40", "--collect.updates_per_step=0.5", "--collect.episodes=2",
    "--evaluate.episodes=2", "--evaluate.every=2",
    "--updates=60", "--round_updates=12", "--metrics.every=5", "--train.cooldown=0.5",
]  # fmt: skip


def command(tmp_path, name, *more):
    verb = [sys.executable, "-m", "worldmodels.cli", "fit", f"--out={tmp_path}", f"--name={name}"]
    return [*verb, *OPTIONS, *more]


def run(tmp_path, name, *more):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(tmp_path, name, *more), env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kill_after(tmp_path, name, rounds):
    """Starts a run and kills it, hard, somewhere in the round after ``rounds`` complete ones."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(tmp_path, name), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    marker = tmp_path / name / "checkpoints" / "latest.json"
    deadline = time.time() + 240
    while time.time() < deadline and process.poll() is None:
        if marker.exists() and json.loads(marker.read_text())["round"] >= rounds:
            break
        time.sleep(0.002)
    assert process.poll() is None, "the run ended before it could be killed"
    time.sleep(0.03)
    process.send_signal(signal.SIGKILL)
    process.wait()


def metrics(tmp_path, name):
    return (tmp_path / name / "metrics.jsonl").read_text()


def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path):
    run(tmp_path, "whole")
    kill_after(tmp_path, "killed", rounds=2)
    assert not json.loads((tmp_path / "killed" / "run.json").read_text())["finished"]
    run(tmp_path, "killed", "--resume")
    whole = load_file(tmp_path / "whole" / "model" / "weights.safetensors")
    killed = load_file(tmp_path / "killed" / "model" / "weights.safetensors")
    assert whole.keys() == killed.keys()
    for name, value in whole.items():
        assert torch.equal(value, killed[name]), name
    assert metrics(tmp_path, "whole") == metrics(tmp_path, "killed")
    shards = [(tmp_path / name / "replay").glob("*.shard") for name in ("whole", "killed")]
    left, right = ([path.read_bytes() for path in sorted(found)] for found in shards)
    assert left == right
    updates = [json.loads(line)["update"] for line in metrics(tmp_path, "whole").splitlines()]
    assert updates == sorted(updates)
    assert updates[-1] == 60


def test_the_same_seed_gives_the_same_losses_and_another_seed_others(tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        fit([*OPTIONS, f"--out={tmp_path}", f"--name={name}", f"--seed={seed}", "--updates=24"])
    assert metrics(tmp_path, "one") == metrics(tmp_path, "two")
    assert metrics(tmp_path, "one") != metrics(tmp_path, "other")


def test_an_existing_run_is_never_overwritten(tmp_path):
    options = [*OPTIONS, f"--out={tmp_path}", "--name=first", "--updates=12"]
    fit(options)
    before = metrics(tmp_path, "first")
    with pytest.raises(FileExistsError, match="exists already: continue it with --resume"):
        fit(options)
    assert metrics(tmp_path, "first") == before


def test_resuming_what_never_began_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no complete checkpoint to resume"):
        fit([*OPTIONS, f"--out={tmp_path}", "--name=nothing", "--resume"])
