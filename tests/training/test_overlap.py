"""The behaviour learns while the world model's gradients are computed: the same numbers, sooner."""

import json
import threading

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from worldmodels.behaviours.base import frozen
from worldmodels.training.fit import fit
from worldmodels.training.overlap import Together

TINY = [
    "--env.id=worldmodels/CliffHill-v0", "--env.num_envs=2", "--env.size=[16,16]",
    "--env.time_limit=8",
    "--model.encoder.depth=2", "--model.decoder.depth=2",
    "--model.dynamics.stoch=4", "--model.dynamics.deter=8", "--model.dynamics.hidden=8",
    "--behaviour=ActorCritic", "--behaviour.horizon=3", "--behaviour.starts=4",
    "--behaviour.hidden=8", "--acting=ByPolicy",
    "--batches.batch_size=2", "--batches.batch_length=4", "--collect.prefill=16",
    "--evaluate.every=0", "--panels.every=0", "--round_updates=3", "--updates=6",
    "--metrics.every=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def learned(out, name, *options):
    fit([*TINY, f"--out={out}", f"--name={name}", *options])
    lines = (out / name / "metrics.jsonl").read_text().splitlines()
    losses = [
        {k: v for k, v in json.loads(line).items() if not k.startswith("time")} for line in lines
    ]
    return load_file(out / name / "model" / "weights.safetensors"), losses


@pytest.mark.parametrize(
    "options",
    [
        ["--behaviour.gradient=DynamicsBackprop", "--trainer.accumulate_grad_batches=2"],
        # Gradients in bfloat16 are rounded as they are added up: for one update that is nothing.
        ["--trainer.precision=bf16-mixed", "--updates=1", "--round_updates=1"],
    ],
)
def test_together_is_one_after_the_other(tmp_path, monkeypatch, options):
    calls = []
    both = Together.__call__
    monkeypatch.setattr(Together, "__call__", lambda *a: (calls.append(1), both(*a)))
    plain, told = learned(tmp_path, "plain", "--train.together=false", *options)
    assert not calls
    fast, said = learned(tmp_path, "fast", *options)
    assert calls
    assert plain.keys() == fast.keys()
    for name, weight in plain.items():
        # Half of the threads add up in another order.
        torch.testing.assert_close(fast[name], weight, rtol=1e-4, atol=5e-5, msg=name)
    assert len(said) == len(told)
    for one, other in zip(said, told, strict=True):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_one_thread_does_one_thing(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setattr(Together, "__call__", lambda *a: pytest.fail("there is no second thread"))
    learned(tmp_path, "one")


def test_both_run_at_once_on_half_of_the_threads():
    meet, seen = threading.Barrier(2, timeout=20), []

    def work():
        meet.wait()
        seen.append((threading.get_ident(), torch.get_num_threads()))

    Together()(work, work)
    assert len({thread for thread, _ in seen}) == 2
    assert [threads for _, threads in seen] == [1, 1]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("wrong", ["aside", "here"])
def test_an_error_of_either_is_raised_when_both_have_ended(wrong):
    ended = []

    def work(name):
        ended.append(name)
        if name == wrong:
            raise ValueError(f"{name} failed")

    with pytest.raises(ValueError, match=f"{wrong} failed"):
        Together()(lambda: work("aside"), lambda: work("here"))
    assert sorted(ended) == ["aside", "here"]
    assert torch.get_num_threads() == 2


def test_gradients_arrive_while_the_module_is_frozen_for_others():
    layer = nn.Linear(2, 1)
    loss = layer(torch.ones(1, 2)).sum()
    seen = torch.ones(1, 2, requires_grad=True)
    with frozen(layer):
        passed = layer(seen).sum()
        loss.backward()
        passed.backward()
    assert layer.weight.grad is not None
    assert seen.grad is not None
    # By its own loss alone, and only once.
    assert torch.equal(layer.weight.grad, torch.ones(1, 2))
    assert torch.equal(seen.grad, layer.weight.detach())
    assert all(isinstance(parameter, nn.Parameter) for parameter in layer.parameters())
