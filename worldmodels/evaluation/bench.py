"""How fast and how lean planning is, on one fixed load."""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from worldmodels.dynamics.rssm import GaussianRSSM
from worldmodels.nn.heads import ContinueHead, GaussianRewardHead
from worldmodels.planning import CEM
from worldmodels.types import ActionSpace
from worldmodels.world_model import WorldModel

REFERENCE_GFLOP = 92.5
"""The count by which other systems were measured on this load."""

SPACE = ActionSpace(6, False)
MIB = 2**20


class PlanBench(NamedTuple):
    """One measurement of the reference load.

    ``seconds`` are per action; rates are GFLOP/s; ``model_gflop`` counts the products that this
    project's model makes for one action, ``REFERENCE_GFLOP`` what other systems were counted with.
    """

    threads: int
    best_seconds: float
    median_seconds: float
    model_gflop: float
    gflops: float
    peak_float32: float
    peak_bfloat16: float
    share_of_peak: float
    memory_mib: float

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        reference = REFERENCE_GFLOP / self.best_seconds
        return self._asdict() | {"reference_gflop": REFERENCE_GFLOP, "reference_gflops": reference}

    def lines(self) -> list[str]:
        """For people."""
        faster = self.peak_bfloat16 > self.peak_float32
        return [
            f"{self.best_seconds:.3f} s per action at best, {self.median_seconds:.3f} s median, "
            f"{self.threads} threads, float32",
            f"{self.gflops:.0f} GFLOP/s over {self.model_gflop:.1f} GFLOP of products: "
            f"{100 * self.share_of_peak:.0f} % of the matrix-multiply peak of "
            f"{self.peak_float32:.0f} GFLOP/s",
            f"{self.memory_mib:.0f} MiB beyond the model at the peak",
            f"bfloat16 multiplies at {self.peak_bfloat16:.0f} GFLOP/s: "
            f"{'faster' if faster else 'no gain'} on this processor",
        ]


def reference_model() -> WorldModel:
    """Belief 200, stochastic 30, hidden 200 throughout, action 6."""
    torch.manual_seed(0)
    return WorldModel(
        (3, 64, 64),
        SPACE,
        dynamics=partial(GaussianRSSM, stoch=30, deter=200, hidden=200),
        reward=partial(GaussianRewardHead, hidden=200),
        continues=partial(ContinueHead, hidden=200),
    ).eval()


def bench_plan(repeats: int = 5) -> PlanBench:
    """Plans for one environment: horizon 12, 10 iterations, 1,000 candidates, 100 elites.

    Every plan is followed by a measurement of the peak, so that both meet the same machine.

    Raises:
        ValueError: when ``repeats`` is below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats}: choose 1 or more")
    decide = _decision(reference_model())
    decide()
    seconds, peaks = [], []
    for _ in range(repeats):
        seconds.append(_seconds(decide))
        peaks.append(matmul_rate(torch.float32))
    gflop = _model_gflop(decide)
    return PlanBench(
        threads=torch.get_num_threads(),
        best_seconds=min(seconds),
        median_seconds=float(np.median(seconds)),
        model_gflop=gflop,
        gflops=gflop / min(seconds),
        peak_float32=max(peaks),
        peak_bfloat16=matmul_rate(torch.bfloat16),
        share_of_peak=gflop / min(seconds) / max(peaks),
        memory_mib=_memory_in_a_new_process(),
    )


def matmul_rate(dtype: torch.dtype, size: int = 512, repeats: int = 8) -> float:
    """The best rate of a square product, in GFLOP/s."""
    left, right = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    best = min(_seconds(partial(torch.mm, left, right)) for _ in range(repeats))
    return 2e-9 * size**3 / best


def planning_memory() -> float:
    """MiB by which the resident set's high water rises during the first decisions.

    Meant for a fresh process: the high water never falls. One tiny decision comes first, so that
    what libraries allocate once is not counted.
    """
    model = reference_model()
    _decision(model, candidates=2, elites=1, iterations=1)()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _decision(model)()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return (after - before) / (MIB if sys.platform == "darwin" else 1024)


def _decision(
    model: WorldModel, candidates: int = 1000, elites: int = 100, iterations: int = 10
) -> Callable[[], object]:
    planner = CEM(SPACE, 12, candidates, iterations, elites)
    state = model.dynamics.initial(1)

    def decide() -> object:
        generator = torch.Generator().manual_seed(0)
        return planner.plan(partial(model.score, state), planner.initial(1), generator)

    return decide


def _model_gflop(decide: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter:
        decide()
    return counter.get_total_flops() / 1e9


def _memory_in_a_new_process() -> float:
    code = f"from {__name__} import planning_memory; print(planning_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
