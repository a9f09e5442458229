"""The command line as a person meets it: help, work, and one line for every mistake."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from worldmodels.agent import Agent
from worldmodels.checkpoint import load
from worldmodels.cli import VERBS, main
from worldmodels.viz.video import read_video
from worldmodels.world_model import WorldModel

SAMPLE = Path(__file__).parent.parent / "data" / "pong-sample"
WORLD = ["--env.id=worldmodels/CliffHill-v0", "--env.size=[16,16]", "--env.time_limit=12"]
TINY = [
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
    "--planner.horizon=2", "--planner.candidates=4", "--planner.iterations=1",
    "--planner.elites=2", "--batches.batch_size=2", "--batches.batch_length=4",
    "--updates=2", "--round_updates=2",
]  # fmt: skip


class Printed:
    """What a command printed and how it ended."""

    def __init__(self, capsys):
        self._capsys = capsys

    def __call__(self, *words):
        self.status = main([str(word) for word in words])
        self.out, self.err = self._capsys.readouterr()
        return self


@pytest.fixture
def do(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Printed(capsys)


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A data set of counting episodes, recorded by the command line."""
    folder = tmp_path_factory.mktemp("counted") / "set"
    command = ["collect", "--env", "worldmodels/Counting-v0", "--size=[16,16]", "--episodes=3"]
    assert main([*command, "--out", str(folder)]) == 0
    return folder


def mistake(done):
    """The one line of a command that was refused."""
    assert done.status == 2
    assert done.out == ""
    assert done.err.endswith("\n")
    assert done.err.count("\n") == 1, done.err
    return done.err[:-1]


def test_no_verb_lists_the_verbs(do):
    done = do()
    assert (done.status, done.out) == (2, "")
    for verb, (_, text) in VERBS.items():
        assert f"  {verb:<10}{text}\n" in done.err
    helped = do("--help")
    assert helped.status == 0
    assert helped.out.startswith("usage: worldmodels VERB")


def test_an_unknown_verb_is_named_with_a_likely_one(do):
    assert mistake(do("evalute")) == "worldmodels: unknown verb 'evalute': did you mean evaluate?"
    assert "'xyz': choose one of demo, fit, evaluate" in mistake(do("xyz"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("demo", "--round_updates ROUND_UPDATES"),
        ("fit", "--env.id ID"),
        ("evaluate", "--sequences SEQUENCES"),
        ("imagine", "dreams drawn from the same state"),
        ("collect", "the data set's folder"),
        ("data", "{inspect}"),
        ("check", "{env,encoder,decoder,dynamics"),
        ("check env", "--num_envs NUM_ENVS"),
        ("check encoder", "--obs-shape OBS_SHAPE"),
        ("check decoder", "package.module.Class"),
        ("check dynamics", "package.module.Class"),
    ],
)
def test_help_tells_the_options_of_a_verb(do, words, told):
    done = do(*words.split(), "--help")
    assert (done.status, done.err) == (0, "")
    assert re.match(rf"usage: worldmodels {words} [-\[{{]", done.out)
    assert told in done.out


def test_help_of_the_demo_leaves_an_earlier_demo_alone(do):
    Path("runs/demo").mkdir(parents=True)
    do("demo", "--help")
    assert [path.name for path in Path("runs").iterdir()] == ["demo"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("fit", "fit: give --env.id to learn online, or --data to learn from recorded episodes"),
        ("fit --env.id=a --data=b", "fit: give --env.id to learn online, or --data"),
        ("fit --config=nope.yaml", "fit: --config: File does not exist: '"),
        ("fit --env.id=Nope-v0", "fit: unknown environment 'Nope-v0': did you mean "),
        ("fit --data=nowhere", "fit: no data set in nowhere: expected nowhere/dataset.json"),
        ("fit --uptades=3", "fit: unknown option --uptades: did you mean --updates?"),
        ("fit --upd=3", "fit: unknown option --upd: did you mean --updates?"),
        ("fit --env.idd=x", "fit: unknown option --env.idd: did you mean --env.id?"),
        (
            "fit --model.encoder.depht=3",
            "fit: unknown option --model.encoder.depht: did you mean --model.encoder.depth?",
        ),
        ("fit --updates=many", "fit: --updates=many: expected int"),
        ("fit --updates=0", "fit: --updates=0: choose 1 or more"),
        ("fit --checkpoint_every=0", "fit: --checkpoint_every=0: choose 1 or more"),
        ("fit --model.encoder.depth=x", "fit: --model.encoder.depth=x: expected int"),
        ("fit --model.encoder=no.Way", "fit: --model.encoder=no.Way: No module named 'no'"),
        ("fit --planner=CEMM", "fit: --planner: expected package.module.Class, not CEMM"),
        ("fit --env.time_limit=x", "fit: --env.time_limit=x: give one of int, null"),
        ("fit --trainer.precision=b", "fit: --trainer.precision=b: give one of Literal[64, 32, 16"),
        ("demo --uptades=3", "demo: unknown option --uptades: did you mean --updates?"),
        ("evaluate", "evaluate: the following arguments are required: run"),
        ("evaluate nowhere", "evaluate: no trained model in nowhere: expected nowhere/model/"),
        ("evaluate x --episode=3", "evaluate: unknown option --episode: did you mean --episodes?"),
        ("evaluate x --episodes=y", "evaluate: --episodes=y: expected int"),
        ("evaluate x --horizon=0", "evaluate: --horizon=0: choose 1 or more"),
        ("imagine x --futures=0", "imagine: --futures=0: choose 1 or more"),
        ("imagine nowhere", "imagine: no trained model in nowhere: expected nowhere/model/"),
        (
            "imagine nowhere --out x.xyz",
            "imagine: video path 'x.xyz' must end in .mp4, .gif, .webp",
        ),
        ("collect --out d", "collect: the following arguments are required: env"),
        ("collect --env Nope-v0 --out d", "collect: unknown environment 'Nope-v0': did you mean"),
        (
            "collect --env worldmodels/CliffHill-v0 --out d --run nowhere",
            "collect: no trained model in nowhere",
        ),
        ("data", "data: the following arguments are required: action, folder"),
        ("data show x", "data: argument action: invalid choice: 'show' (choose from 'inspect')"),
        ("data inspect nowhere", "data: no data set in nowhere: expected nowhere/dataset.json"),
        ("check", "check: the following arguments are required: kind"),
        ("check planer x", "check: argument kind: invalid choice: 'planer'"),
        ("check env", "check: the following arguments are required: id"),
        ("check env Nope-v0", "check: unknown environment 'Nope-v0'"),
        ("check encoder ViT", "check: 'ViT': give the whole path, package.module.Class"),
        ("check encoder no.ViT", "check: 'no.ViT': cannot import no (No module named 'no')"),
        (
            "check encoder worldmodels.nn.encoders.ViT",
            "check: 'worldmodels.nn.encoders.ViT': module worldmodels.nn.encoders has no class ViT",
        ),
        (
            "check encoder worldmodels.nn.encoders.ConvEncoder --obs-shape 3,64",
            "check: --obs-shape 3,64: give C,h,w such as 3,96,96",
        ),
        (
            "check encoder worldmodels.nn.decoders.ConvDecoder",
            "check: ConvDecoder is not a subclass of Encoder",
        ),
    ],
)
def test_a_mistake_is_one_line_and_status_2(do, words, line):
    assert mistake(do(*words.split())).startswith(f"worldmodels {line}")


def test_a_mistake_in_a_file_is_named_as_on_the_command_line(do):
    Path("mine.yaml").write_text("model: {encoder: {depht: 3}}\n")
    told = mistake(do("fit", "--config=mine.yaml"))
    assert told.endswith(
        "unknown option --model.encoder.depht: did you mean --model.encoder.depth?"
    )


@pytest.mark.parametrize("given", [["--config", "torn.yaml"], ["--config=torn.yaml"]])
def test_a_file_that_is_no_yaml_is_named(do, given):
    Path("torn.yaml").write_text("model: {encoder: [\n")
    told = mistake(do("fit", *given))
    assert told.startswith("worldmodels fit: torn.yaml is no YAML: ")
    assert "line 2" in told


def test_an_unknown_logger_or_device_leaves_the_runs_name_free(do):
    fit = ["fit", *WORLD, *TINY, "--name=mine"]
    told = mistake(do(*fit, "--loggers=[tensorbord]"))
    assert told == "worldmodels fit: --loggers tensorbord: choose from tensorboard, wandb"
    told = mistake(do(*fit, "--trainer.accelerator=abacus"))
    assert "invalid accelerator name: `accelerator='abacus'`" in told
    told = mistake(do(*fit, "--trainer.accelerator=cpu", "--trainer.devices=0"))
    assert told.startswith("worldmodels fit: --trainer: ")
    assert not Path("runs/mine/config.yaml").exists()


def test_a_run_is_neither_overwritten_nor_resumed_from_nothing(do, counted):
    fit = ["fit", f"--data={counted}", *TINY, "--name=mine"]
    told = mistake(do(*fit, "--resume"))
    assert told == (
        "worldmodels fit: run runs/mine has no complete checkpoint to resume: "
        "start it without --resume"
    )
    assert do(*fit).status == 0
    told = mistake(do(*fit))
    assert told == (
        "worldmodels fit: run runs/mine exists already: continue it with --resume, or choose "
        "another --name"
    )
    done = do(*fit, "--resume", "--updates=4", "--model.dynamics.deter=16")
    assert (done.status, done.err.count("\n")) == (2, 1)
    told = done.err
    assert "the checkpoint is of another model (agent.world_model." in told
    weights = Path("runs/mine/model/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "runs/mine/model/weights.safetensors is damaged (" in mistake(do("imagine", "runs/mine"))


def test_a_folder_that_is_no_run_is_refused(do, counted):
    assert mistake(do("evaluate", counted)) == (
        f"worldmodels evaluate: no trained model in {counted}: expected {counted}/model/model.json"
    )
    folder = Path("other/model")
    folder.mkdir(parents=True)
    (folder / "model.json").write_text("{}")
    assert "other/model/model.json is not a model of worldmodels" in mistake(do("imagine", "other"))
    (folder / "model.json").write_text("not json")
    assert "other/model/model.json is not a model of worldmodels" in mistake(do("imagine", "other"))


def test_a_path_that_cannot_be_written_is_named(do):
    Path("file").write_text("")
    told = mistake(do("collect", "--env=worldmodels/Counting-v0", "--out=file/x", "--episodes=1"))
    assert told == "worldmodels collect: file/x: Not a directory"


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
    assert "bad/dataset.json" in mistake(do("data", "inspect", "bad"))


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


def test_record_train_offline_evaluate_and_dream(do, counted):
    assert do("fit", f"--data={counted}", *TINY, "--name=mine").status == 0
    dreams = ["--context=3", "--horizon=5"]
    done = do("evaluate", "runs/mine", "--episodes=2", "--sequences=3", *dreams, "--json")
    assert done.status == 0
    report = json.loads(done.out)
    # Whatever is chosen, counting to 10 earns 1 + 2 + ... + 10.
    assert (report["returns"], report["lengths"]) == ([55.0, 55.0], [10.0, 10.0])
    assert report == json.loads(Path("runs/mine/evaluation.json").read_text())
    done = do("imagine", "runs/mine", "--out=dream.gif", f"--data={counted}", *dreams)
    assert done.out == "wrote dream.gif: 8 frames at 10 per second\n"
    video = read_video("dream.gif")
    assert (len(video.frames), video.fps) == (8, 10)
    told = mistake(do("imagine", "runs/mine", f"--data={counted}", "--policy", *dreams))
    assert "--policy: runs/mine learned no policy; leave it out" in told
    told = mistake(do("evaluate", "runs/mine", "--policy", *dreams))
    assert "--policy: runs/mine learned no policy; leave it out" in told
    told = mistake(do("compare", "runs/mine", "--planners=policy"))
    assert told == "worldmodels compare: runs/mine learned no policy: choose planners"
    told = mistake(do("imagine", "runs/mine", f"--data={counted}", "--episode=3", *dreams))
    assert told.endswith(f"--episode 3: {counted} holds episodes 0 to 2")
    told = mistake(do("evaluate", "runs/mine", f"--data={counted}", "--planner=CEM", *dreams))
    assert told == (
        "worldmodels evaluate: with --data nobody acts: leave out --planner and --policy"
    )
    told = mistake(do("evaluate", "runs/mine", f"--data={SAMPLE}", *dreams))
    assert "runs/mine was trained on (3, 16, 16)" in told


def returned(monkeypatch, cls, method):
    """Collects what a method of a class will have returned, each with its object."""
    seen, original = [], getattr(cls, method)

    def spy(self, *given, **options):
        seen.append((self, original(self, *given, **options)))
        return seen[-1][1]

    monkeypatch.setattr(cls, method, spy)
    return seen


def test_evaluate_lets_the_policy_act_alone(do, distilled, monkeypatch):
    decisions = returned(monkeypatch, Agent, "act")
    command = ["evaluate", distilled, "--episodes=1", "--context=1", "--horizon=2", "--policy"]
    assert do(*command).status == 0
    assert len(decisions) == 4
    for agent, (action, after) in decisions:
        policy = agent.behaviour.policy(agent.world_model.feature(after.latent))
        assert torch.equal(action, policy.mode())
        assert not after.plan.evaluations.any()
    assert json.loads((distilled / "evaluation.json").read_text())["acting"] == "policy"
    told = mistake(do(*command, "--planner=CEM"))
    assert told == (
        "worldmodels evaluate: --policy and --planner CEM: only one can act, leave out the other"
    )


def test_imagine_lets_the_policy_act_in_the_dream(do, distilled, monkeypatch):
    dreams = returned(monkeypatch, WorldModel, "imagine")
    done = do("imagine", distilled, "--policy", "--out=dream.gif", "--context=1", "--horizon=3")
    assert done.out == "wrote dream.gif: 4 frames at 10 per second\n"
    assert len(read_video("dream.gif").frames) == 4
    # The dreams before are proposals, made while the guided planner played the true episode.
    dream = dreams[-1][1]
    mode = load(distilled).behaviour.policy(dream.feature[:, :-1]).mode()
    assert dream.action.shape == (2, 3, 1)
    torch.testing.assert_close(dream.action, mode)


def script(*words):
    """The installed console script."""
    return subprocess.run(
        [Path(sys.executable).parent / "worldmodels", *words],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_installed_script_ends_with_the_status_and_prints_where_it_should():
    done = script("fly")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("worldmodels: unknown verb 'fly'")
    done = script("data", "inspect", str(SAMPLE))
    assert (done.returncode, done.stderr) == (0, "")
    assert "ALE/Pong-v5" in done.stdout
