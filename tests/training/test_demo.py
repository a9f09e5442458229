"""The demo in tiny sizes: its story, its files, and where they go."""

import json
from functools import partial

from worldmodels.evaluation.open_loop import open_loop
from worldmodels.planning import CEM
from worldmodels.training import demo as story
from worldmodels.training.demo import demo

TINY = {
    "updates": 3, "round_updates": 1, "prefill": 60, "copies": 4, "episodes": 2, "size": (16, 16),
}  # fmt: skip


def test_the_demo_writes_into_its_run_and_moves_an_earlier_one_aside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search = {"candidates": 4, "iterations": 1, "elites": 2}
    monkeypatch.setattr(story, "open_loop", partial(open_loop, sequences=2))
    monkeypatch.setattr(story, "CEM", lambda space, *_, **__: CEM(space, 2, **search))
    run = tmp_path / "elsewhere" / "mine"
    run.mkdir(parents=True)
    (run / "mark").touch()
    told = demo("mine", "elsewhere", **TINY)
    facts = json.loads((run / "demo.json").read_text())
    assert facts == told.facts()
    assert facts["updates"] == "3"
    # After the first round and after the last one.
    assert [name for name in facts if "falls" in name] == [
        "planner falls, random data alone",
        "planner falls, 2 rounds of its own",
    ]
    assert facts["planner falls, 2 rounds of its own"].endswith(" of 2")
    for file in ("dream.mp4", "dream.png", "open_loop.png", "model/model.json", "metrics.csv"):
        assert (run / file).exists()
    assert not (run / "mark").exists()
    assert len(list((tmp_path / "elsewhere").glob("mine-*/mark"))) == 1
    assert not (tmp_path / "runs").exists()
