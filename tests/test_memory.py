"""The peak of a process counts every thread, and what was freed before."""

from threading import Thread

import pytest
import torch

from worldmodels.memory import peak_growth


def mebibytes(count):
    return torch.ones(count, 2**18)


def test_a_peak_is_seen_though_nothing_of_it_is_left():
    assert peak_growth(lambda: len(mebibytes(64))) == pytest.approx(64, abs=4)


def test_memory_that_was_freed_before_is_counted_when_it_is_taken_again():
    pieces = [mebibytes(1) for _ in range(64)]
    del pieces
    assert peak_growth(lambda: [mebibytes(1) for _ in range(64)]) == pytest.approx(64, abs=6)


def test_other_threads_count():
    held = []

    def work():
        thread = Thread(target=lambda: held.append(mebibytes(48)))
        thread.start()
        thread.join()

    assert peak_growth(work) == pytest.approx(48, abs=4)


def test_nothing_is_nothing():
    assert peak_growth(lambda: None) < 1
