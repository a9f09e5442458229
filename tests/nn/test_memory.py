"""The peak of a process counts every thread, and what was freed before."""

import json
import subprocess
import sys

import pytest

# In a process of its own: what earlier tests left to the allocator would be taken again unseen.
CODE = """
import json
from threading import Thread

import torch

from worldmodels.nn.memory import peak_growth


def mebibytes(count):
    return torch.ones(count, 2**18)


def aside(work):
    thread = Thread(target=work)
    thread.start()
    thread.join()


held = []
pieces = [mebibytes(1) for _ in range(64)]
del pieces
found = {
    "nothing": peak_growth(lambda: None),
    "nothing is left": peak_growth(lambda: len(mebibytes(64))),
    "freed before": peak_growth(lambda: [mebibytes(1) for _ in range(64)]),
    "another thread": peak_growth(lambda: aside(lambda: held.append(mebibytes(48)))),
}
print(json.dumps(found))
"""


def test_a_peak_is_seen_wherever_memory_is_taken():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["nothing"] < 1
    assert found["nothing is left"] == pytest.approx(64, abs=4)
    assert found["freed before"] == pytest.approx(64, abs=6)
    assert found["another thread"] == pytest.approx(48, abs=4)
