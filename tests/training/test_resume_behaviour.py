"""Behaviours resume bit for bit: their optimiser groups, targets, statistics and memories."""

import pytest
import torch
from safetensors.torch import load_file

from worldmodels.checkpoint import load
from worldmodels.training.fit import fit

OPTIONS = [
    "--env.id=worldmodels/CliffHill-v0", "--env.num_envs=2", "--env.size=[16,16]",
    "--env.time_limit=8",
    "--planner.horizon=2", "--planner.candidates=4", "--planner.iterations=1",
    "--planner.elites=2", "--planner.kept_elites=1",
    "--batches.batch_size=2", "--batches.batch_length=4",
    "--collect.prefill=16", "--collect.updates_per_step=0.5", "--collect.episodes=2",
    "--evaluate.every=0", "--metrics.every=1", "--round_updates=3",
]  # fmt: skip
MODEL = [
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
]  # fmt: skip
TEACHER = "{class_path: CEM, init_args: {horizon: 2, candidates: 4, iterations: 1, elites: 2}}"
SMALL = ["--behaviour.horizon=3", "--behaviour.starts=4", "--behaviour.hidden=8"]
BEHAVIOURS = {
    "dreamer": [
        *MODEL,
        "--behaviour=ActorCritic", "--behaviour.gradient=DynamicsBackprop", *SMALL,
        "--acting=ByPolicy",
    ],
    "distill": [
        *MODEL,
        "--behaviour=Distillation", f"--behaviour.teacher={TEACHER}", *SMALL,
        "--behaviour.lessons=4", "--behaviour.memory=8", "--behaviour.teacher_every=2",
        "--acting=ByGuidedPlanner", "--acting.proposals=2",
    ],
    "mbpo": [
        *MODEL,
        "--behaviour=MBPO", "--behaviour.learner=SAC", "--behaviour.learner.hidden=8",
        "--behaviour.length=ValidatedLength", "--behaviour.length.longest=2",
        "--behaviour.length.tolerance=2.0", "--behaviour.real_ratio=0.3", "--replay.held_out=0.4",
        "--acting=ByPolicy",
    ],
    "model-free": [
        "--model=Perception", "--model.encoder=ConvEncoder", "--model.encoder.depth=2",
        "--behaviour=ModelFree", "--behaviour.learner=PPO", "--behaviour.learner.hidden=8",
        "--behaviour.learner.refresh=4", "--acting=ByPolicy",
    ],
}  # fmt: skip


def trained(folder, name, behaviour, *more):
    options = [*OPTIONS, *BEHAVIOURS[behaviour], f"--out={folder}", f"--name={name}", *more]
    agent = fit(options)
    run = folder / name
    return agent, load_file(run / "model" / "weights.safetensors"), run


class Stopped(Exception):
    pass


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_stopped_and_resumed_run_equals_an_uninterrupted_one(tmp_path, behaviour, monkeypatch):
    agent, whole, run = trained(tmp_path, "whole", behaviour, "--updates=9")
    moved = type(agent.behaviour).loss
    calls = []

    def stops(self, *arguments):
        calls.append(1)
        if len(calls) == 5:
            raise Stopped
        return moved(self, *arguments)

    # In the middle of the second round: the first one's checkpoint is all that is left.
    monkeypatch.setattr(type(agent.behaviour), "loss", stops)
    with pytest.raises(Stopped):
        trained(tmp_path, "parts", behaviour, "--updates=9")
    monkeypatch.setattr(type(agent.behaviour), "loss", moved)
    _, parts, resumed = trained(tmp_path, "parts", behaviour, "--updates=9", "--resume")
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    lines = [(folder / "metrics.jsonl").read_text() for folder in (run, resumed)]
    assert lines[0] == lines[1]
    assert "train/loss/critic" in lines[0]
    assert ("held_out/open_loop_error/2" in lines[0]) == agent.behaviour.validates

    # And the model folder gives the same agent, behaviour included.
    again = load(run)
    assert type(again.behaviour) is type(agent.behaviour)
    assert type(again.acting) is type(agent.acting)
    for name, value in agent.behaviour.state_dict().items():
        assert torch.equal(value, again.behaviour.state_dict()[name]), name
    planner = load(run, acting="worldmodels.agent.ByPlanner")
    assert planner.acting.name == "planner"


def test_a_length_that_follows_validation_needs_held_out_episodes(tmp_path):
    options = [option for option in BEHAVIOURS["mbpo"] if "held_out" not in option]
    with pytest.raises(ValueError, match=r"give --replay\.held_out a share such as 0\.1"):
        fit([*OPTIONS, *options, f"--out={tmp_path}", "--name=run", "--updates=3"])
