"""The demo in tiny sizes: its story, its files, and where they go."""

import json

from worldmodels.training.demo import demo

TINY = {
    "updates": 4, "round_updates": 2, "prefill": 60, "copies": 4, "episodes": 2, "size": (16, 16),
}  # fmt: skip


def test_the_demo_writes_into_its_run_and_moves_an_earlier_one_aside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = demo("mine", "elsewhere", **TINY)
    run = tmp_path / "elsewhere" / "mine"
    facts = json.loads((run / "demo.json").read_text())
    assert facts == told.facts()
    assert facts["updates"] == "4"
    assert facts["planner falls, 1 round of its own"].endswith(" of 2")
    for file in ("dream.mp4", "dream.png", "open_loop.png", "model/model.json", "metrics.csv"):
        assert (run / file).exists()
    (run / "mark").touch()
    demo("mine", "elsewhere", **TINY)
    assert not (run / "mark").exists()
    assert len(list((tmp_path / "elsewhere").glob("mine-*/mark"))) == 1
    assert not (tmp_path / "runs").exists()
