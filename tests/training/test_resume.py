"""Killed anywhere and resumed equals never interrupted, bit for bit."""

import json
import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from tiny_training import (
    DREAMER,
    MODEL,
    OPTIONS,
    PARTS,
    PLANNER,
    SMALL_SAC,
    STUDENT,
    Kill,
    assert_equal,
    assert_same_run,
    kill_here,
    learn,
    run_until_killed,
    small_agent,
    weights,
    world,
)

from worldmodels.behaviours import MBPO, PPO, ActorCritic, ModelFree
from worldmodels.behaviours.lengths import ValidatedLength
from worldmodels.checkpoint import load
from worldmodels.cli.fit import fit
from worldmodels.planning import MPC
from worldmodels.training.round import Round
from worldmodels.training.run import RunFolder
from worldmodels.training.settings import Collect, Evaluate, Optimiser, Replay
from worldmodels.world_model import LatentModel

VALIDATED = partial(ValidatedLength, longest=2, tolerance=2.0)
KINDS = {
    "dreamerv3": {
        "parts": {
            "behaviour": partial(
                ActorCritic, horizon=3, hidden=8, bootstrap="fast", slow_regularizer=1.0,
                replay_critic=0.3, debias=False,
            )
        },
        "optimiser": Optimiser(name="laprop", warmup=4, gradient_clip=None),
    },
    "dreamer": {"parts": {"behaviour": DREAMER}, "optimiser": Optimiser(accumulate=2)},
    "distill": {
        "parts": {"behaviour": STUDENT, "planner": PLANNER, "mpc": partial(MPC, proposals=2)}
    },
    "mbpo": {
        "parts": {
            "behaviour": partial(MBPO, algorithm=SMALL_SAC, length=VALIDATED, real_ratio=0.3)
        },
        "replay": Replay(held_out=0.4),
    },
    "model-free": {
        "parts": {
            "model": partial(LatentModel, encoder=PARTS["encoder"]),
            "behaviour": partial(ModelFree, algorithm=partial(PPO, hidden=8, refresh=4)),
        }
    },
    "two stages": {
        "parts": {}, "autoencoder_updates": 5, "optimiser": Optimiser(weight_decay=0.1),
    },
}  # fmt: skip


def started(out, name, kind, **more):
    settings = KINDS[kind] | more
    agent = small_agent(**settings.pop("parts"))
    return learn(out, name, agent, updates=9, **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(tmp_path, kind):
    whole = started(tmp_path, "whole", kind)
    batches = 5 * KINDS[kind].get("optimiser", Optimiser()).accumulate
    # In the middle of the second round: the first one's checkpoint is all that is left.
    run_until_killed(lambda: started(tmp_path, "killed", kind, callbacks=[Kill(batches)]))
    folder = RunFolder(tmp_path / "killed")
    assert folder.latest()["update"] == 3
    assert not json.loads(folder.record.read_text())["finished"]
    resumed = started(tmp_path, "killed", kind, resume=True)
    assert_same_run(resumed.path, whole.path)
    assert resumed.record["finished"]
    assert [line["update"] for line in whole.metrics if "train/loss" in line] == [*range(1, 10)]
    logged = {name for line in whole.metrics for name in line}
    assert ("held_out/open_loop_error/2" in logged) == (kind == "mbpo")
    assert ("train/loss/critic" in logged) == ("behaviour" in KINDS[kind]["parts"])
    assert ("train/loss/autoencoder" in logged) == (kind == "two stages")

    # And the model folder gives the same agent, behaviour included.
    again = load(whole.path)
    assert type(again.actor) is type(whole.agent.actor)
    assert type(again.behaviour) is type(whole.agent.behaviour)
    assert_equal(again.state_dict(), whole.agent.state_dict())


def test_distillation_resumes_with_the_teachers_labels(tmp_path):
    """The comparison above would be empty, were no label ever written."""
    run = started(tmp_path, "run", "distill")
    # Queries before updates 0, 2, 4, 6 and 8, four labels each.
    assert run.agent.behaviour.memory.written == 20
    checkpoint = torch.load(run.path / "checkpoints" / "update-000000006.ckpt", weights_only=True)
    assert checkpoint["state_dict"]["agent.behaviour.memory.written"] == 12


EVALUATED = {
    "updates": 9, "collect": Collect(prefill=16, replay_ratio=1.0),
    "evaluate": Evaluate(episodes=2, every=2), "optimiser": Optimiser(cooldown=0.5),
}  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return learn(tmp_path_factory.mktemp("whole"), **EVALUATED)


def killed_in(where, out):
    """A run that dies at a certain place; the process is a copy, so nothing is to be undone."""
    if where == "the first update of the last round":
        learn(out, callbacks=[Kill(7)], **EVALUATED)
    elif where == "the second collection":
        env = world()
        step, left = env.step, [30]

        def fatal(action):
            left[0] -= 1
            return kill_here() if not left[0] else step(action)

        env.step = fatal
        learn(out, **EVALUATED)
    elif where == "the evaluation":
        Round._evaluate = kill_here
        learn(out, **EVALUATED)
    else:
        complete, left = RunFolder.complete, [2]

        def fatal(self, checkpoint, about):
            left[0] -= 1
            if not left[0] and where == "before the second marker":
                kill_here()
            complete(self, checkpoint, about)
            if not left[0]:
                kill_here()

        RunFolder.complete = fatal
        learn(out, **EVALUATED)


@pytest.mark.parametrize(
    ("where", "update"),
    [
        ("the first update of the last round", 6),
        ("the second collection", 3),
        ("the evaluation", 3),
        ("before the second marker", 3),
        ("after the second marker", 6),
    ],
)
def test_wherever_it_is_killed(tmp_path, uninterrupted, where, update):
    run_until_killed(lambda: killed_in(where, tmp_path))
    folder = RunFolder(tmp_path / "run")
    assert folder.latest()["update"] == update
    resumed = learn(tmp_path, resume=True, **EVALUATED)
    assert_same_run(resumed.path, uninterrupted.path)
    updates = [line["update"] for line in resumed.metrics]
    assert updates == sorted(updates)
    assert [line["update"] for line in resumed.metrics if "eval/return_mean" in line] == [6, 9]


def test_killed_after_the_last_marker_the_model_is_already_there(tmp_path, uninterrupted):
    def work():
        complete = RunFolder.complete

        def fatal(self, checkpoint, about):
            complete(self, checkpoint, about)
            if about["update"] == 9:
                kill_here()

        RunFolder.complete = fatal
        learn(tmp_path, **EVALUATED)

    run_until_killed(work)
    assert_same_run(tmp_path / "run", uninterrupted.path)
    resumed = learn(tmp_path, resume=True, **EVALUATED)
    assert resumed.record["finished"]
    assert resumed.record["updates"] == 9
    assert_same_run(resumed.path, uninterrupted.path)
    assert_equal(resumed.agent.state_dict(), uninterrupted.agent.state_dict())


def test_offline_too(tmp_path, planned):
    offline = {"data": planned / "replay", "updates": 9, "replay": Replay(held_out=0.2)}
    whole = learn(tmp_path, "whole", **offline)
    run_until_killed(lambda: learn(tmp_path, "killed", callbacks=[Kill(5)], **offline))
    resumed = learn(tmp_path, "killed", resume=True, **offline)
    assert_same_run(resumed.path, whole.path)
    # Recorded episodes stay as many as they are: the x axis counts updates.
    assert [line["step"] for line in whole.metrics] == [*range(1, 10)]


def test_a_resumed_run_may_go_on_for_longer(tmp_path, planned):
    offline = {"data": planned / "replay"}
    whole = learn(tmp_path, "whole", updates=9, **offline)
    learn(tmp_path, "parts", updates=3, **offline)
    parts = learn(tmp_path, "parts", updates=9, resume=True, **offline)
    assert_same_run(parts.path, whole.path)
    assert parts.record["updates"] == 9


def test_rounds_keep_their_length(tmp_path, planned):
    offline = {"data": planned / "replay"}
    # One round, no longer than the run.
    first = learn(tmp_path, updates=2, round_updates=100, **offline)
    assert first.record["updates"] == 2
    again = learn(tmp_path, updates=2, round_updates=100, resume=True, **offline)
    assert again.record["updates"] == 2
    with pytest.raises(ValueError, match="rounds of 2 updates, give round_updates=2 to resume"):
        learn(tmp_path, updates=4, round_updates=100, resume=True, **offline)
    more = learn(tmp_path, updates=3, round_updates=2, resume=True, **offline)
    # Whole rounds.
    assert more.record["updates"] == 4


def test_another_process_and_the_command_line_give_the_same_run(tmp_path, planned):
    command = [sys.executable, "-m", "worldmodels.cli", "fit", f"--out={tmp_path}", "--name=run"]
    done = subprocess.run(
        [*command, *OPTIONS],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "123"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "run", planned)
    assert "6 updates" in done.stdout


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path, planned):
    assert_same_run(learn(tmp_path, "same").path, planned)
    other = learn(tmp_path, "other", small_agent(), seed=1)
    left, right = weights(other), weights(planned)
    assert any(not torch.equal(left[name], right[name]) for name in left)
    returns = [(run / "metrics.jsonl").read_text() for run in (other.path, planned)]
    assert returns[0] != returns[1]


def test_an_existing_run_is_never_overwritten(tmp_path, planned):
    before = (planned / "metrics.jsonl").read_text()
    agent = small_agent(seed=5)
    untouched = {name: value.clone() for name, value in agent.state_dict().items()}
    with pytest.raises(FileExistsError, match="exists already: continue it with --resume"):
        learn(planned.parent, agent=agent, world_model=planned)
    assert (planned / "metrics.jsonl").read_text() == before
    assert_equal(agent.state_dict(), untouched)
    assert all(parameter.requires_grad for parameter in agent.world_model.parameters())


def test_resuming_what_never_began_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no complete checkpoint to resume"):
        learn(tmp_path, "nothing", resume=True)


def test_a_run_of_an_older_version_is_not_resumed(tmp_path):
    run = learn(tmp_path, updates=3).path
    record = json.loads((run / "run.json").read_text())
    assert record.pop("format") == 2
    (run / "run.json").write_text(json.dumps(record))
    metrics = (run / "metrics.jsonl").read_text()
    with pytest.raises(ValueError, match="has format 1, this version continues 2") as error:
        learn(tmp_path, updates=6, resume=True)
    assert "\n" not in str(error.value)
    assert (run / "metrics.jsonl").read_text() == metrics


def test_a_checkpoint_of_another_model_is_one_line(tmp_path):
    learn(tmp_path, updates=3)
    other = small_agent(model=partial(MODEL, encoder=partial(PARTS["encoder"], depth=3)))
    with pytest.raises(ValueError, match="the checkpoint is of another model") as error:
        learn(tmp_path, agent=other, resume=True)
    assert "\n" not in str(error.value)


def test_a_length_that_follows_validation_needs_held_out_episodes(tmp_path):
    with pytest.raises(ValueError, match=r"give --replay\.held_out a share such as 0\.1"):
        started(tmp_path, "run", "mbpo", replay=Replay())
    assert not (tmp_path / "run").exists()


def test_fit_resumes_what_train_began(tmp_path, planned):
    learn(tmp_path, updates=3)
    resumed = fit([*OPTIONS, f"--out={tmp_path}", "--resume"])
    assert_same_run(resumed.path, planned)
