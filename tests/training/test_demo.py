"""The demo in tiny sizes: its story, its files, and where they go."""

import json

from worldmodels.training.demo import demo

TINY = [
    "--env.num_envs=4", "--collect.prefill=60", "--collect.episodes=2",
    "--collect.updates_per_step=1", "--updates=4", "--round_updates=2", "--batches.batch_size=2",
    "--batches.batch_length=4", "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--planner.horizon=2", "--planner.candidates=8", "--planner.iterations=1",
    "--planner.elites=2",
]  # fmt: skip


def test_the_demo_writes_into_its_run_and_moves_an_earlier_one_aside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--out=elsewhere", "--name=mine", *TINY]
    demo(options)
    run = tmp_path / "elsewhere" / "mine"
    facts = json.loads((run / "demo.json").read_text())
    assert facts["updates"] == "4"
    assert facts["planner falls, 1 round of its own"].endswith(" of 20")
    files = facts["files"].split(", ")
    assert "elsewhere/mine/dream.mp4" in files
    assert all((tmp_path / file).exists() for file in files)
    (run / "mark").touch()
    demo(options)
    assert not (run / "mark").exists()
    assert len(list((tmp_path / "elsewhere").glob("mine-*/mark"))) == 1
    assert not (tmp_path / "runs").exists()
