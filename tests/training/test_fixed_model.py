"""A behaviour that learns inside the finished world model of another run."""

import pytest
import torch
from safetensors.torch import load_file

from worldmodels.checkpoint import BEHAVIOUR, load
from worldmodels.training.fit import fit

SMALL = [
    "--env.id=worldmodels/CliffHill-v0", "--env.num_envs=2", "--env.size=[16,16]",
    "--env.time_limit=8",
    "--planner.horizon=2", "--planner.candidates=4", "--planner.iterations=1",
    "--planner.elites=2", "--planner.kept_elites=1",
]  # fmt: skip
LEARNING = [
    "--batches.batch_size=2", "--batches.batch_length=4", "--collect.prefill=16",
    "--evaluate.every=0", "--round_updates=3", "--updates=3", "--trainer.gradient_clip_val=100",
]  # fmt: skip
MODEL = [
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
]  # fmt: skip
BEHAVIOUR_OPTIONS = [
    "--behaviour=ActorCritic", "--behaviour.horizon=3", "--behaviour.starts=4",
    "--behaviour.hidden=8", "--acting=ByPolicy",
]  # fmt: skip


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    fit([*SMALL, *LEARNING, *MODEL, f"--out={out}", "--name=teacher"])
    return out / "teacher"


def weights(run):
    return load_file(run / "model" / "weights.safetensors")


def kept(found, expected):
    names = [name for name in found if not name.startswith(BEHAVIOUR)]
    assert names == list(expected)
    return all(torch.equal(found[name], expected[name]) for name in names)


@pytest.mark.parametrize("source", ["env", "data"])
def test_the_model_stays_as_it_is_and_the_behaviour_learns(teacher, tmp_path, source):
    frames = SMALL if source == "env" else [f"--data={teacher / 'replay'}"]
    # Other sizes, as a recipe would bring them, give way to the model that is there.
    options = [*frames, *LEARNING, *BEHAVIOUR_OPTIONS, "--model.encoder.depth=4"]
    agent = fit([*options, f"--world_model={teacher}", f"--out={tmp_path}", "--name=student"])
    found = weights(tmp_path / "student")
    assert kept(found, weights(teacher))
    learned = {name: found[name] for name in found if name.startswith(BEHAVIOUR + "actor")}
    # An untrained actor's last layer is zero.
    assert learned[f"{BEHAVIOUR}actor.net.output.weight"].abs().sum() > 0
    again = load(tmp_path / "student")
    for name, tensor in agent.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_resuming_gives_the_same_weights(teacher, tmp_path):
    options = [*SMALL, *LEARNING, *BEHAVIOUR_OPTIONS, f"--world_model={teacher}"]
    options = [*options, f"--out={tmp_path}"]
    fit([*options, "--name=whole", "--updates=6"])
    fit([*options, "--name=parts"])
    fit([*options, "--name=parts", "--updates=6", "--resume"])
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())


def test_a_fixed_model_without_a_behaviour_is_refused(teacher, tmp_path):
    with pytest.raises(ValueError, match="world model is fixed: give --behaviour"):
        fit([*SMALL, *LEARNING, f"--world_model={teacher}", f"--out={tmp_path}"])


def test_a_model_of_other_frames_is_refused(teacher, tmp_path):
    options = [*SMALL, *LEARNING, *BEHAVIOUR_OPTIONS, "--env.size=[32,32]"]
    with pytest.raises(ValueError, match=r"sees \(3, 16, 16\).*this job has \(3, 32, 32\)"):
        fit([*options, f"--world_model={teacher}", f"--out={tmp_path}"])


@pytest.fixture(scope="module")
def actor_critic(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    fit([*SMALL, *LEARNING, *MODEL, *BEHAVIOUR_OPTIONS, f"--out={out}", "--name=actor_critic"])
    return out / "actor_critic"


DISTILLATION = [
    "--behaviour=Distillation", "--behaviour.horizon=3", "--behaviour.starts=4",
    "--behaviour.lessons=4", "--behaviour.hidden=8", "--acting=ByPolicy",
    "--behaviour.teacher=RandomShooting", "--behaviour.teacher.horizon=2",
    "--behaviour.teacher.candidates=4",
]  # fmt: skip


def test_a_kept_value_is_the_runs_and_stays_so(actor_critic, tmp_path):
    options = [*SMALL, *LEARNING, *DISTILLATION, f"--world_model={actor_critic}", "--freeze_critic"]
    fit([*options, f"--out={tmp_path}", "--name=student"])
    found, expected = weights(tmp_path / "student"), weights(actor_critic)
    names = [name for name in expected if name.startswith(f"{BEHAVIOUR}critic.head")]
    assert names
    assert all(torch.equal(found[name], expected[name]) for name in names)
    assert found[f"{BEHAVIOUR}actor.net.output.weight"].abs().sum() > 0


def test_a_value_that_cannot_be_kept_is_refused(teacher, actor_critic, tmp_path):
    job = [*SMALL, *LEARNING, f"--out={tmp_path}", "--freeze_critic"]
    with pytest.raises(ValueError, match="give that, too"):
        fit([*job, *DISTILLATION])
    with pytest.raises(ValueError, match="has no critic: give a run of ActorCritic"):
        fit([*job, *DISTILLATION, f"--world_model={teacher}"])
    with pytest.raises(ValueError, match="give this behaviour the same hidden and layers"):
        fit([*job, *DISTILLATION, "--behaviour.hidden=4", f"--world_model={actor_critic}"])
    with pytest.raises(ValueError, match="MBPO has no critic: choose ActorCritic"):
        fit([*job, "--behaviour=MBPO", f"--world_model={actor_critic}"])
