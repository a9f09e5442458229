"""Commands that do their work: record, inspect, check, evaluate, imagine, compare, curves."""

import json
import shutil
from pathlib import Path

import pytest

from worldmodels.viz.video import read_video

SAMPLE = Path(__file__).parent.parent.parent / "data" / "pong-sample"
DREAMS = ("--context=3", "--horizon=5")


def test_inspect_counts_the_tracked_sample(do):
    done = do("data", "inspect", SAMPLE)
    assert (done.status, done.err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in done.out.splitlines() if line[0] != " ")
    assert lines["environment"].startswith("ALE/Pong-v5")
    assert lines["frames"].startswith("3x64x64 bytes")
    assert lines["episodes"] == "2"
    assert lines["terminal"] == "100% of episodes"


def test_inspect_names_a_damaged_episode_and_counts_the_others(do, counted):
    shutil.copytree(counted, "bad")
    (shard,) = Path("bad").glob("*.shard")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    done = do("data", "inspect", "bad")
    assert done.status == 0
    assert done.err.startswith(f"worldmodels: {shard}: ")
    assert "damaged and left out" in done.err
    assert done.err.count("\n") == 1
    assert "episodes        2 (1 unreadable)" in done.out


def test_inspect_names_a_broken_description(do, counted):
    shutil.copytree(counted, "bad")
    Path("bad/dataset.json").write_text("{")
    assert "bad/dataset.json" in do.mistake("data", "inspect", "bad")


@pytest.mark.parametrize(
    ("kind", "name", "line"),
    [
        ("encoder", "worldmodels.nn.encoders.ConvEncoder", "ConvEncoder keeps its contract"),
        ("decoder", "worldmodels.nn.decoders.ConvDecoder", "ConvDecoder keeps its contract"),
        ("dynamics", "worldmodels.dynamics.rssm.GaussianRSSM", "GaussianRSSM"),
        ("env", "worldmodels/Counting-v0", "worldmodels/Counting-v0"),
    ],
)
def test_check_reports_what_keeps_its_contract(do, kind, name, line):
    done = do("check", kind, name)
    assert (done.status, done.err) == (0, "")
    assert line in done.out.splitlines()[0]


def test_collect_counts_what_it_recorded(do, mine):
    command = ["collect", "--env=worldmodels/Counting-v0", "--size=[16,16]", "--out=set"]
    done = do(*command, "--episodes=2", f"--run={mine}")
    assert (done.status, done.err) == (0, "")
    assert "episodes        2\n" in done.out
    assert "planner" in done.out


def test_evaluate_prints_json_and_leaves_it_in_the_run(do, mine, counted):
    done = do("evaluate", mine, "--episodes=2", "--sequences=3", *DREAMS, "--json")
    assert (done.status, done.err) == (0, "")
    report = json.loads(done.out)
    # Whatever is chosen, counting to 10 earns 1 + 2 + ... + 10.
    assert (report["returns"], report["lengths"]) == ([55.0, 55.0], [10.0, 10.0])
    assert (report["run"], report["actor"]) == (mine, "planner")
    assert report == json.loads(Path(mine, "evaluation.json").read_text())
    assert Path(mine, "evaluation.png").stat().st_size > 5000
    told = do.mistake("evaluate", mine, "--policy", *DREAMS)
    told = told.removeprefix("worldmodels evaluate: ")
    assert told == f"policy: {mine} learned no policy: leave it out, or train a behaviour"
    told = do.mistake("evaluate", mine, f"--data={counted}", "--planner=CEM", *DREAMS)
    assert told == (
        "worldmodels evaluate: with data nothing is played: leave out planner and policy"
    )
    told = do.mistake("evaluate", mine, f"--data={SAMPLE}", *DREAMS)
    assert f"{mine} was trained on (3, 16, 16)" in told
    told = do.mistake("evaluate", mine, "--planner=foo")
    assert told.startswith("worldmodels evaluate: unknown planner 'foo': choose one of Random")


def test_evaluate_prints_for_people(do, mine, counted):
    done = do("evaluate", mine, f"--data={counted}", "--sequences=3", *DREAMS)
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0] == f"{mine}: 3 recorded episodes"
    assert lines[-1] == f"wrote {mine}/evaluation.json and evaluation.png"


def test_evaluate_lets_the_policy_act_alone(do, guided):
    command = ["evaluate", guided, "--episodes=1", "--context=1", "--horizon=2", "--policy"]
    done = do(*command)
    assert (done.status, done.out.splitlines()[0]) == (0, f"{guided}: the policy acts")
    assert json.loads(Path(guided, "evaluation.json").read_text())["actor"] == "policy"
    told = do.mistake(*command, "--planner=CEM")
    assert told == (
        "worldmodels evaluate: policy and planner=CEM: only one can act, leave out the other"
    )


def test_a_planner_of_ones_own_acts_by_its_class_path(do, mine):
    Path("my_lab.py").write_text(
        "from worldmodels.planning import RandomShooting\nclass Mine(RandomShooting): pass\n"
    )
    sizes = ["--episodes=1", "--sequences=1", *DREAMS]
    assert do("evaluate", mine, "--planner=my_lab.Mine", *sizes).status == 0
    done = do("compare", mine, "--planners=my_lab.Mine", "--episodes=1", "--json")
    assert list(json.loads(done.out)["agents"]) == ["CEM", "Mine"]


def test_imagine_writes_a_video(do, mine, counted):
    done = do("imagine", mine, "--out=dream.gif", f"--data={counted}", *DREAMS)
    assert done.out == "wrote dream.gif: 8 frames at 10 per second\n"
    video = read_video("dream.gif")
    assert (len(video.frames), video.fps) == (8, 10)
    told = do.mistake("imagine", mine, f"--data={counted}", "--policy", *DREAMS)
    assert f"policy: {mine} learned no policy: leave it out" in told
    told = do.mistake("imagine", mine, f"--data={counted}", "--episode=3", *DREAMS)
    assert told.endswith(f"episode=3: {counted} holds episodes 0 to 2")


def test_imagine_lets_the_policy_act(do, guided):
    done = do("imagine", guided, "--policy", "--out=dream.gif", "--context=1", "--horizon=3")
    assert done.out == "wrote dream.gif: 4 frames at 10 per second\n"
    assert len(read_video("dream.gif").frames) == 4


def test_compare_writes_a_table_a_figure_and_json(do, guided, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    done = do("compare", guided, "--planners=cem,MPPI", "--episodes=2")
    assert (done.status, done.err) == (0, "")
    assert "predicted return" in done.out
    assert done.out.splitlines()[-1] == f"wrote {guided}/compare/compare.json and compare.png"
    report = json.loads(Path(guided, "compare", "compare.json").read_text())
    assert list(report["agents"]) == ["CEM", "MPPI", "policy", "guided planner"]
    assert (report["run"], report["episodes"], report["seed"]) == (guided, 2, 1000)
    done = do("compare", guided, "--planners=policy", "--episodes=1", "--json", "--out=other")
    assert json.loads(done.out) == json.loads(Path("other/compare.json").read_text())


def test_compare_names_mistakes_in_one_line(do, mine, guided):
    told = do.mistake("compare", mine, "--planners=policy")
    assert told == f"worldmodels compare: {mine} learned no policy: choose planners"
    assert do.mistake("compare", guided, "--planners=cem,foo") == (
        "worldmodels compare: unknown planner 'foo': choose one of "
        "RandomShooting, CEM, ICEM, MPPI, PDDM, Gradient, Hybrid, or give a class path"
    )
    assert not Path(mine, "compare").exists()


def test_curves_writes_a_figure_and_prints_the_last_values(do, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    for number, name in enumerate(("dreamer-0", "dreamer-1", "planet")):
        Path(name).mkdir()
        rows = [{"step": 10 * k, "update": k, "return": float(number + k)} for k in range(4)]
        Path(name, "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = do("curves", "dreamer-0", "dreamer-1", "planet", "--metrics=return", "--out=a.png")
    assert (done.status, done.err) == (0, "")
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")
    (line,) = [line for line in done.out.splitlines() if "planet" in line]
    # Last step 30, last value 2 + 3, mean of 3, 4 and 5.
    assert [word for word in line.split() if word[0].isdigit()] == ["4", "30", "5", "4"]
    assert done.out.splitlines()[-1] == "wrote a.png"
    assert "holds no metrics.jsonl" in do.mistake("curves", "none", "--out=b.png")
    told = do.mistake("curves", "planet", "--metrics=loss", "--out=b.png")
    assert "metric 'loss' is in no run: choose of return" in told
    assert not Path("b.png").exists()
