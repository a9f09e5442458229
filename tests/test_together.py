"""Computations side by side: each in a thread of its own, as if it ran in the caller's."""

import threading

import pytest
import torch

from worldmodels.together import LEAST_WORK, parts_of, side_by_side

pytestmark = pytest.mark.usefixtures("two_threads")


def test_works_run_at_once_on_even_shares_of_the_threads():
    torch.set_num_threads(4)
    meet, seen = threading.Barrier(2, timeout=20), []

    def work(name):
        meet.wait()
        seen.append((threading.get_ident(), torch.get_num_threads()))
        return name

    assert side_by_side(lambda: work("first"), lambda: work("second")) == ["first", "second"]
    assert len({thread for thread, _ in seen}) == 2
    assert [threads for _, threads in seen] == [2, 2]
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("wrong", ["first", "second"])
def test_an_error_of_either_is_raised_when_both_have_ended(wrong):
    ended = []

    def work(name):
        ended.append(name)
        if name == wrong:
            raise ValueError(f"{name} failed")

    with pytest.raises(ValueError, match=f"{wrong} failed"):
        side_by_side(lambda: work("first"), lambda: work("second"))
    assert sorted(ended) == ["first", "second"]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("rounds", [False, True])
def test_every_work_runs_in_the_modes_of_the_caller(mode, rounds):
    weight = torch.ones(2, 2, requires_grad=True)

    def work():
        product = weight @ torch.full((2, 2), 1 / 3)
        return product.dtype, product.requires_grad, product.is_inference()

    with mode(), torch.autocast("cpu", torch.bfloat16, enabled=rounds):
        here, aside = side_by_side(work, work)
        assert here == aside == work()
    assert here[0] == (torch.bfloat16 if rounds else torch.float32)


def test_rows_are_cut_up_where_threads_and_work_are_enough_and_no_gradient_is_asked():
    rows = LEAST_WORK // 100**2
    many, few = torch.zeros(2 * rows, 100), torch.zeros(2 * rows - 1, 100)
    with torch.no_grad():
        assert (parts_of(many), parts_of(few)) == (2, 1)
        assert parts_of(many.to("meta")) == 1
        torch.set_num_threads(1)
        assert parts_of(many) == 1
    torch.set_num_threads(2)
    assert parts_of(many) == 1
