"""`fit` and `demo` as a person meets them: help, and one line for every mistake."""

import re
from pathlib import Path

import pytest

WORLD = ["--env.id=worldmodels/CliffHill-v0", "--env.size=[16,16]", "--env.time_limit=12"]
TINY = [
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
    "--planner=CEM", "--planner.horizon=2", "--planner.candidates=4", "--planner.iterations=1",
    "--planner.elites=2", "--batches.batch_size=2", "--batches.batch_length=4",
    "--updates=2", "--round_updates=2",
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [("demo", "--round_updates ROUND_UPDATES"), ("fit", "--env.id ID")],
)
def test_help_tells_the_options(do, words, told):
    done = do(words, "--help")
    assert (done.status, done.err) == (0, "")
    assert re.match(rf"usage: worldmodels {words} \[", done.out)
    assert told in done.out


def test_help_of_the_demo_leaves_an_earlier_demo_alone(do):
    Path("runs/demo").mkdir(parents=True)
    do("demo", "--help")
    assert [path.name for path in Path("runs").iterdir()] == ["demo"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("fit", "fit: give --env.id to learn online, or --data to learn from recorded episodes"),
        (
            "fit --env.id=worldmodels/CliffHill-v0 --data=b",
            "fit: give an environment (--env.id) to learn online, or --data to learn from",
        ),
        ("fit --config=nope.yaml", "fit: --config nope.yaml: no such file or recipe: "),
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
        (
            "fit --env.id=worldmodels/CliffHill-v0 --updates=0",
            "fit: train: updates=0: choose 1 or more",
        ),
        (
            "fit --env.id=worldmodels/CliffHill-v0 --checkpoint_every=0",
            "fit: train: checkpoint_every=0: choose 1 or more",
        ),
        ("fit --model.encoder.depth=x", "fit: --model.encoder.depth=x: expected int"),
        ("fit --model.encoder=no.Way", "fit: --model.encoder=no.Way: No module named 'no'"),
        ("fit --planner=CEMM", "fit: --planner: expected package.module.Class, not CEMM"),
        ("fit --env.time_limit=x", "fit: --env.time_limit=x: give one of int, null"),
        ("demo --uptades=3", "demo: unknown option --uptades: did you mean --updates?"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(do, words, line):
    assert do.mistake(*words.split()).startswith(f"worldmodels {line}")


def test_a_mistake_in_a_file_is_named_as_on_the_command_line(do):
    Path("mine.yaml").write_text("model: {encoder: {depht: 3}}\n")
    told = do.mistake("fit", "--config=mine.yaml")
    assert told.endswith(
        "unknown option --model.encoder.depht: did you mean --model.encoder.depth?"
    )


@pytest.mark.parametrize("given", [["--config", "torn.yaml"], ["--config=torn.yaml"]])
def test_a_file_that_is_no_yaml_is_named(do, given):
    Path("torn.yaml").write_text("model: {encoder: [\n")
    told = do.mistake("fit", *given)
    assert told.startswith("worldmodels fit: torn.yaml is no YAML: ")
    assert "line 2" in told


def test_an_unknown_logger_or_device_leaves_the_runs_name_free(do):
    fit = ["fit", *WORLD, *TINY, "--name=mine"]
    told = do.mistake(*fit, "--loggers=[tensorbord]")
    assert told == "worldmodels fit: --loggers tensorbord: choose from tensorboard, wandb"
    told = do.mistake(*fit, "--trainer.accelerator=abacus")
    assert "invalid accelerator name: `accelerator='abacus'`" in told
    told = do.mistake(*fit, "--trainer.accelerator=cpu", "--trainer.devices=0")
    assert told.startswith("worldmodels fit: ")
    assert "trainer" in told
    assert not Path("runs/mine/config.yaml").exists()


def test_a_run_is_neither_overwritten_nor_resumed_from_nothing(do, counted):
    fit = ["fit", f"--data={counted}", *TINY, "--name=mine"]
    told = do.mistake(*fit, "--resume=true")
    assert told == (
        "worldmodels fit: run runs/mine has no complete checkpoint to resume: "
        "start it without --resume"
    )
    assert do(*fit).status == 0
    told = do.mistake(*fit)
    assert told == (
        "worldmodels fit: run runs/mine exists already: continue it with --resume, or choose "
        "another --name"
    )
    done = do(*fit, "--resume=true", "--updates=4", "--model.dynamics.deter=16")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "the checkpoint is of another model (agent.world_model." in done.err


def test_what_was_trained_offline_is_evaluated_and_imagined(do, counted):
    assert do("fit", f"--data={counted}", *TINY, "--name=mine").status == 0
    sizes = ["--context=3", "--horizon=5"]
    assert do("evaluate", "runs/mine", "--episodes=1", "--sequences=2", *sizes).status == 0
    done = do("imagine", "runs/mine", "--out=dream.gif", *sizes)
    assert done.out == "wrote dream.gif: 8 frames at 10 per second\n"
