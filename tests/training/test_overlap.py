"""The behaviour learns while the world model's gradients are computed: the same numbers, sooner."""

import threading
from functools import partial

import pytest
import torch
from tiny_training import DREAMER, learn, small_agent, weights

from worldmodels.training.overlap import Overlap
from worldmodels.training.settings import Optimiser, Trainer


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def calls(monkeypatch):
    """The thread of every behaviour that learns aside."""
    found, both = [], Overlap.__call__

    def watched(self, here, aside):
        def noted():
            found.append(threading.get_ident())
            return aside()

        return both(self, here, noted)

    monkeypatch.setattr(Overlap, "__call__", watched)
    return found


def learned(out, planned, name, **settings):
    return learn(
        out, name, small_agent(behaviour=DREAMER), data=planned / "replay",
        **{"updates": 2, "round_updates": 2} | settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        {"optimiser": Optimiser(accumulate=2), "updates": 1},
        # Gradients in bfloat16 are rounded as they are added up: for one update that is nothing.
        {"trainer": Trainer(precision="bf16-mixed"), "updates": 1},
    ],
    ids=["accumulate", "bf16"],
)
def test_overlapping_is_one_after_the_other(tmp_path, planned, calls, settings):
    plain = learned(tmp_path, planned, "plain", overlap=False, **settings)
    assert not calls
    fast = learned(tmp_path, planned, "fast", **settings)
    batches = settings.get("updates", 2) * settings.get("optimiser", Optimiser()).accumulate
    assert len(calls) == batches
    assert threading.get_ident() not in calls
    left, right = weights(plain), weights(fast)
    assert left.keys() == right.keys()
    for name, weight in left.items():
        # Half of the threads add up in another order.
        torch.testing.assert_close(right[name], weight, rtol=1e-4, atol=5e-5, msg=name)
    assert len(plain.metrics) == len(fast.metrics)
    for one, other in zip(plain.metrics, fast.metrics, strict=True):
        assert list(one) == list(other)
        assert one == pytest.approx(other, rel=1e-4, abs=1e-6)


def test_the_thread_aside_computes_in_mixed_precision_too(tmp_path, planned):
    seen = {}

    def note(module, inputs, output):
        if type(module).__name__ == "Linear":
            seen.setdefault(threading.get_ident(), set()).add(output.dtype)

    handle = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        learned(tmp_path, planned, "run", trainer=Trainer(precision="bf16-mixed"), updates=1)
    finally:
        handle.remove()
    assert len(seen) == 2
    assert all(torch.bfloat16 in dtypes for dtypes in seen.values())


def test_one_thread_does_one_thing(tmp_path, planned, calls):
    torch.set_num_threads(1)
    learned(tmp_path, planned, "one", updates=1)
    assert not calls


def test_both_run_at_once_on_half_of_the_threads():
    meet, seen = threading.Barrier(2, timeout=20), []

    def work(name):
        meet.wait()
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return name

    assert Overlap()(partial(work, "here"), partial(work, "aside")) == "aside"
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
        Overlap()(lambda: work("here"), lambda: work("aside"))
    assert sorted(ended) == ["aside", "here"]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("part", ["here", "aside"])
def test_an_error_in_either_thread_ends_the_run(tmp_path, planned, part):
    agent = small_agent(behaviour=DREAMER)
    main = threading.get_ident()

    def wrong(gradient):
        assert (threading.get_ident() == main) == (part == "here")
        raise ArithmeticError(f"{part} failed")

    owner = agent.world_model.encoder if part == "here" else agent.behaviour.actor
    next(owner.parameters()).register_hook(wrong)
    with pytest.raises(ArithmeticError, match=f"{part} failed"):
        learn(tmp_path, agent=agent, data=planned / "replay", updates=1)
    assert torch.get_num_threads() == 2
