"""`train` in Python and `worldmodels fit`: one set of arguments, refused in one line each."""

import math
from functools import partial

import lightning as L
import pytest
import yaml
from tiny_training import (
    DREAMER,
    MODEL,
    OPTIONS,
    PARTS,
    PLANNER,
    SMALL_SAC,
    STUDENT,
    WORLD,
    assert_equal,
    assert_same_run,
    learn,
    small_agent,
    weights,
    world,
)

from worldmodels.behaviours import ModelFree
from worldmodels.checkpoint import load, read_about
from worldmodels.cli.fit import fit
from worldmodels.dynamics import EnsembleRSSM
from worldmodels.envs.make import make_env
from worldmodels.evaluation.returns import evaluate_returns
from worldmodels.nn.pixels import Standardized
from worldmodels.planning import MPC
from worldmodels.replay.sampling import RecencyMixed
from worldmodels.replay.store import EpisodeStore
from worldmodels.training.round import mixed_seed
from worldmodels.training.settings import (
    Batches,
    Collect,
    Evaluate,
    Optimiser,
    Panels,
    Replay,
)
from worldmodels.world_model import LatentModel

STUDENT_OPTIONS = [
    "--behaviour=Distillation", "--behaviour.horizon=3", "--behaviour.starts=4",
    "--behaviour.hidden=8", "--behaviour.queries=4", "--behaviour.memory=8",
    "--behaviour.query_every=2", "--behaviour.labels=8",
    "--behaviour.teacher="
    "{class_path: CEM, init_args: {horizon: 2, candidates: 4, iterations: 1, elites: 2}}",
    "--mpc.proposals=2", "--noise=0.1",
    "--optimiser.learning_rate=1e-3", "--optimiser.cooldown=0.5", "--optimiser.accumulate=2",
    "--replay.held_out=0.2", "--replay.sampler=RecencyMixed", "--replay.sampler.fraction=0.5",
    "--evaluate.every=1", "--evaluate.episodes=2",
]  # fmt: skip


def test_objects_and_options_give_the_same_run(tmp_path):
    agent = small_agent(
        behaviour=STUDENT, planner=PLANNER, mpc=partial(MPC, proposals=2), noise=0.1
    )
    run = learn(
        tmp_path,
        "objects",
        agent,
        optimiser=Optimiser(learning_rate=1e-3, cooldown=0.5, accumulate=2),
        replay=Replay(sampler=RecencyMixed(fraction=0.5), held_out=0.2),
        evaluate=Evaluate(episodes=2, every=1),
    )
    same = fit([*OPTIONS, *STUDENT_OPTIONS, f"--out={tmp_path}", "--name=options"])
    assert_same_run(same.path, run.path)
    assert_equal(same.agent.state_dict(), run.agent.state_dict())


@pytest.mark.parametrize("kind", ["student", "planner", "offline"])
def test_the_runs_configuration_gives_the_run_again(tmp_path, planned, kind):
    if kind == "student":
        run = fit([*OPTIONS, *STUDENT_OPTIONS, f"--out={tmp_path}", "--name=run"]).path
    elif kind == "planner":
        # Written by `train`, with objects.
        run = planned
    else:
        run = learn(tmp_path, data=planned / "replay").path
    again = fit([f"--config={run / 'config.yaml'}", f"--out={tmp_path}", "--name=again"])
    assert_same_run(again.path, run)
    configs = [yaml.safe_load((path / "config.yaml").read_text()) for path in (run, again.path)]
    for config in configs:
        # A configuration that the command line wrote also holds the defaults of the agent's parts.
        for name in ("name", "out", *(("model", "planner", "mpc") if kind != "student" else ())):
            del config[name]
    assert configs[0] == configs[1]


def test_what_a_run_is_and_prints(tmp_path):
    run = learn(tmp_path, evaluate=Evaluate(episodes=3, every=1))
    assert run.path == tmp_path / "run"
    assert not run.agent.training
    again = load(run.path)
    assert_equal(again.state_dict(), run.agent.state_dict())
    # The same episodes without exploration, at every evaluation.
    played = evaluate_returns(again, world(), 3, mixed_seed(0, 3))
    last = [line for line in run.metrics if "eval/return_mean" in line][-1]
    assert last["eval/return_mean"] == pytest.approx(played.interval.mean)
    assert last["update"] == 6
    record = run.record
    assert (record["format"], record["updates"], record["finished"]) == (2, 6, True)
    assert record["parameters"] == sum(p.numel() for p in run.agent.parameters())
    store = EpisodeStore(run.path / "replay")
    assert record["env_steps"] == store.steps
    assert record["time/train"] > 0
    assert f"6 updates, {store.steps} agent steps" in str(run)
    assert f"eval/return_mean {last['eval/return_mean']:.4g}" in str(run)
    rows = (run.path / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + len(run.metrics)
    assert rows[0].startswith("step,update,")


@pytest.mark.parametrize(
    ("batches", "accumulate", "ratio", "steps"),
    [
        # 24 replayed steps a round, so 6 more steps after it, in pairs of episodes of 8 steps.
        (Batches(2, 4), 1, 4.0, [16, 32, 32]),
        # 24 steps a round are 24 more, then 48.
        (Batches(2, 4), 1, 1.0, [16, 48, 64]),
        # Two batches an update are twice as many.
        (Batches(2, 4), 2, 2.0, [16, 48, 64]),
        (Batches(4, 4), 1, 2.0, [16, 48, 64]),
        (Batches(2, 4), 1, math.inf, [16, 16, 16]),
    ],
)
def test_replayed_steps_for_each_collected_one(tmp_path, batches, accumulate, ratio, steps):
    class Steps(L.Callback):
        def __init__(self):
            self.found = []

        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if batch_idx == 0:
                self.found.append(trainer.datamodule.buffer.steps)

    watch = Steps()
    run = learn(
        tmp_path,
        updates=9,
        batches=batches,
        optimiser=Optimiser(accumulate=accumulate),
        collect=Collect(prefill=16, replay_ratio=ratio),
        callbacks=[watch],
    )
    assert watch.found == steps
    episodes = list(EpisodeStore(run.path / "replay"))
    assert [episode.policy for episode in episodes[:2]] == ["random"] * 2
    assert {episode.policy for episode in episodes[2:]} <= {"planner"}


def test_episodes_are_collected_one_in_every_copy_or_as_many_as_are_asked_for(tmp_path):
    three = Collect(prefill=17, replay_ratio=math.inf, episodes=3)
    run = learn(tmp_path, updates=3, collect=three)
    assert run.record["env_steps"] == 24


def test_log_points_are_counted_in_updates(tmp_path, planned):
    settings = {"updates": 7, "round_updates": 7, "data": planned / "replay", "log_every": 3}
    plain = learn(tmp_path, "plain", **settings)
    assert [line["update"] for line in plain.metrics] == [3, 6, 7]
    two = learn(tmp_path, "two", optimiser=Optimiser(accumulate=2), **settings)
    assert [line["update"] for line in two.metrics] == [3, 6, 7]
    # And a line is the mean over all batches since the last one.
    every = learn(tmp_path, "every", **settings | {"log_every": 1})
    losses = [line["train/loss"] for line in every.metrics]
    expected = [sum(losses[:3]) / 3, sum(losses[3:6]) / 3, losses[6]]
    assert [line["train/loss"] for line in plain.metrics] == pytest.approx(expected)


def test_a_callback_sees_the_round_before_its_checkpoint(tmp_path):
    class Look(L.Callback):
        def on_train_epoch_end(self, trainer, module):
            done = sorted(path.name for path in (tmp_path / "run/checkpoints").glob("*.ckpt"))
            found.append((module.update, done))

    found = []
    learn(tmp_path, callbacks=[Look()])
    assert found == [(3, []), (6, ["update-000000003.ckpt"])]


@pytest.mark.parametrize(("every", "kept"), [(1, [6, 9]), (2, [6, 9]), (9, [9])])
def test_the_newest_two_checkpoints_are_kept(tmp_path, planned, every, kept):
    run = learn(tmp_path, updates=9, checkpoint_every=every, data=planned / "replay")
    names = sorted(path.name for path in (run.path / "checkpoints").glob("*.ckpt"))
    assert names == [f"update-{update:09d}.ckpt" for update in kept]


def test_a_loaded_agent_trains_in_training_mode(tmp_path, planned):
    """Ensembles draw the member of every step in training alone."""
    model = partial(MODEL, dynamics=partial(EnsembleRSSM, members=2, stoch=4, deter=8, hidden=8))
    modes = []

    class Look(L.Callback):
        def on_train_batch_start(self, trainer, module, *_):
            modes.append({part.training for part in module.world_model.modules()})

    offline = {"data": planned / "replay", "updates": 2, "round_updates": 1}
    first = learn(tmp_path, "first", small_agent(model=model), **offline)
    learn(tmp_path, "second", load(first.path), callbacks=[Look()], **offline)
    assert modes == [{True}] * 2


def test_an_environment_of_other_frames_is_refused(tmp_path):
    other = make_env(**WORLD | {"size": (32, 32)})
    with pytest.raises(ValueError, match=r"sees \(3, 16, 16\).*shows \(3, 32, 32\)"):
        learn(tmp_path, env=other)
    # The name is free for the next attempt.
    assert not (tmp_path / "run" / "config.yaml").exists()
    learn(tmp_path, "run", small_agent(env=other), env=other, updates=1, round_updates=1)


def test_what_no_configuration_can_name_is_refused_before_anything_is_made(tmp_path):
    model = partial(MODEL, decoder=lambda features, shape: PARTS["decoder"](features, shape))
    with pytest.raises(ValueError, match="give an importable class") as error:
        learn(tmp_path, agent=small_agent(model=model))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


REFUSED = {
    "updates=0: choose 1 or more": {"updates": 0},
    "round_updates=0: choose 1 or more": {"round_updates": 0},
    "checkpoint_every=0: choose 1 or more": {"checkpoint_every": 0},
    "log_every=0: choose 1 or more": {"log_every": 0},
    "autoencoder_updates=-1: choose 0 or more": {"autoencoder_updates": -1},
    "give an environment": {"env": None},
    "freeze_critic keeps the critic": {"freeze_critic": True},
    "only=decoder trains nothing else": {"only": "decoder", "autoencoder_updates": 2},
}


@pytest.mark.parametrize("message", REFUSED)
def test_arguments_that_do_not_fit_are_refused_before_anything_is_made(tmp_path, message):
    with pytest.raises(ValueError, match=message) as error:
        learn(tmp_path, **REFUSED[message])
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_pixels_standardized_by_the_prefill_are_refused_where_a_policy_collects(tmp_path, planned):
    agent = small_agent(model=partial(MODEL, pixels=Standardized))
    with pytest.raises(ValueError, match="Standardized is fitted to the prefill alone") as error:
        learn(tmp_path, agent=agent)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    once = {"updates": 1, "round_updates": 1}
    learn(tmp_path, "prefill", agent, collect=Collect(16, math.inf), **once)
    learn(tmp_path, "offline", agent, data=planned / "replay", **once)


def test_a_burn_in_that_leaves_no_row_is_refused(tmp_path):
    agent = small_agent(model=partial(MODEL, burn_in=4))
    with pytest.raises(ValueError, match="burn_in=4: sequences of batch_length=4 rows would only"):
        learn(tmp_path, agent=agent)
    learn(tmp_path, agent=small_agent(model=partial(MODEL, burn_in=3)), updates=1, round_updates=1)


def test_an_environment_and_a_data_set_are_one_too_many(tmp_path, planned):
    with pytest.raises(ValueError, match="give an environment"):
        learn(tmp_path, env=world(), data=planned / "replay")


def test_a_model_free_agent_has_nothing_to_decode(tmp_path):
    agent = small_agent(
        model=partial(LatentModel, encoder=PARTS["encoder"]),
        behaviour=partial(ModelFree, algorithm=SMALL_SAC),
    )
    with pytest.raises(ValueError, match="LatentModel predicts nothing to decode"):
        learn(tmp_path, agent=agent, only="decoder")
    assert all(parameter.requires_grad for parameter in agent.world_model.parameters())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Optimiser(learning_rate=0.0), "learning_rate=0.0: choose a number above 0"),
        (lambda: Optimiser(gradient_clip=0.0), "gradient_clip=0.0: choose a number above 0"),
        (lambda: Optimiser(weight_decay=-1.0), "weight_decay=-1.0: choose 0 or more"),
        (lambda: Optimiser(accumulate=0), "accumulate=0: choose 1 or more"),
        (lambda: Optimiser(cooldown=1.5), "cooldown=1.5: choose 0 to 1"),
        (lambda: Collect(prefill=0), "prefill=0: choose 1 or more"),
        (lambda: Collect(replay_ratio=0.0), "replay_ratio=0.0: choose a number above 0"),
        (lambda: Collect(episodes=0), "episodes=0: choose 1 or more"),
        (lambda: Evaluate(episodes=0), "episodes=0: choose 1 or more"),
        (lambda: Evaluate(every=-1), "every=-1: choose 0 or more"),
        (lambda: Panels(every=-1), "every=-1: choose 0 or more"),
        (lambda: Panels(context=0), "context=0: choose 1 or more"),
        (lambda: Panels(horizon=0), "horizon=0: choose 1 or more"),
    ],
)
def test_settings_are_refused_where_they_are_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_fit_tells_of_a_wrong_setting_in_one_line(tmp_path):
    with pytest.raises(ValueError, match=r"cooldown=1\.5: choose 0 to 1") as error:
        fit([*OPTIONS, f"--out={tmp_path}", "--optimiser.cooldown=1.5"])
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=r"give --env\.id to learn online, or --data"):
        fit([option for option in OPTIONS if not option.startswith("--env")])


def test_a_model_without_a_decoder_trains_evaluates_and_saves(tmp_path, planned):
    agent = small_agent(model=partial(MODEL, decoder=None), behaviour=DREAMER)
    run = learn(tmp_path, agent=agent, evaluate=Evaluate(episodes=2, every=1))
    assert run.agent.world_model.decoder is None
    logged = {name for line in run.metrics for name in line}
    assert {"train/loss/reward", "train/loss/dynamics", "eval/return_mean"} <= logged
    assert not any("image" in name for name in logged)
    again = load(run.path)
    assert again.world_model.decoder is None
    assert_equal(again.state_dict(), run.agent.state_dict())
    assert not any(name.startswith("decoder.") for name in weights(run))
    # The options are those of the command line, too.
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["model"]["init_args"]["decoder"] is None
    same = fit([f"--config={run.path / 'config.yaml'}", f"--out={tmp_path}", "--name=same"])
    assert_same_run(same.path, run.path)


def test_the_model_folder_shows_an_agent_its_world_again(planned, tmp_path):
    for run in (planned, learn(tmp_path, data=planned / "replay", updates=1).path):
        again = make_env(**read_about(run)["env"])
        assert (again.name, again.obs_shape) == (WORLD["id"], (3, 16, 16))
        assert again.arguments["time_limit"] == 8
