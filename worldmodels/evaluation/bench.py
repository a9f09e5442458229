"""How fast and how lean planning is, on one fixed load."""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import repeat
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from worldmodels.dynamics.rssm import GaussianRSSM
from worldmodels.evaluation.statistics import bootstrap_interval
from worldmodels.nn.heads import ContinueHead, GaussianRewardHead
from worldmodels.planning import CEM
from worldmodels.planning.base import Plan
from worldmodels.precision import has_bfloat16_units, planning_precision
from worldmodels.types import ActionSpace
from worldmodels.viz.bands import Interval
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
    precision: str
    returns_float32: Interval
    returns_bfloat16: Interval

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        reference = REFERENCE_GFLOP / self.best_seconds
        return self._asdict() | {
            "returns_float32": self.returns_float32._asdict(),
            "returns_bfloat16": self.returns_bfloat16._asdict(),
            "reference_gflop": REFERENCE_GFLOP,
            "reference_gflops": reference,
        }

    def lines(self) -> list[str]:
        """For people."""
        faster = self.peak_bfloat16 > self.peak_float32
        return [
            f"{self.best_seconds:.3f} s per action at best, {self.median_seconds:.3f} s median, "
            f"{self.threads} threads, {self.precision}",
            f"{self.gflops:.0f} GFLOP/s over {self.model_gflop:.1f} GFLOP of products: "
            f"{100 * self.share_of_peak:.0f} % of the matrix-multiply peak of "
            f"{self.peak_float32:.0f} GFLOP/s",
            f"{self.memory_mib:.0f} MiB beyond the model at the peak",
            f"bfloat16 multiplies at {self.peak_bfloat16:.0f} GFLOP/s: "
            f"{'faster' if faster else 'no gain'} on this processor",
            f"return of plans made in float32 {self.returns_float32}, "
            f"in bfloat16 {self.returns_bfloat16} (both judged in float32)",
        ]


def reference_model() -> WorldModel:
    """Belief 200, stochastic 30, hidden 200 throughout, action 6, some random reward."""
    torch.manual_seed(0)
    model = WorldModel(
        (3, 64, 64),
        SPACE,
        dynamics=partial(GaussianRSSM, stoch=30, deter=200, hidden=200),
        reward=partial(GaussianRewardHead, hidden=200),
        continues=partial(ContinueHead, hidden=200),
    ).eval()
    # An untrained head answers 0, and then every plan is as good as any other.
    nn.init.normal_(model.reward.get_submodule("net.output").get_parameter("weight"), std=0.1)
    return model


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
        with planning_precision(torch.device("cpu")):
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
        precision="bfloat16" if has_bfloat16_units() else "float32",
        returns_float32=planned_returns(torch.float32),
        returns_bfloat16=planned_returns(torch.bfloat16),
    )


def planned_returns(dtype: torch.dtype, plans: int = 6, samples: int = 64) -> Interval:
    """The return of small searches made in one number format, judged in float32.

    Args:
        dtype: of the products while planning.
        plans: searches from different seeds.
        samples: of each plan's imagined future.
    """
    model = reference_model()
    state = model.dynamics.initial(1)
    found = []
    for seed in range(plans):
        rounded = dtype != torch.float32
        with torch.autocast("cpu", torch.bfloat16, enabled=rounded):
            plan = _decision(model, candidates=40, elites=8, iterations=4, seed=seed)()
        futures = repeat(plan.actions, "B H A -> B N H A", N=samples)
        with torch.no_grad():
            found.append(float(model.score(state, futures).mean()))
    return bootstrap_interval(np.array(found))


def matmul_rate(dtype: torch.dtype, size: int = 512, repeats: int = 8) -> float:
    """The best rate of a square product, in GFLOP/s."""
    left, right = torch.ones(size, size, dtype=dtype), torch.ones(size, size, dtype=dtype)
    best = min(_seconds(partial(torch.mm, left, right)) for _ in range(repeats))
    return 2e-9 * size**3 / best


def planning_memory() -> float:
    """MiB by which this process grows at the peak of a decision.

    One tiny decision comes first, so that what libraries allocate once is not counted.
    """
    model = reference_model()
    _decision(model, candidates=2, elites=1, iterations=1)()
    before = _reset_high_water()
    _decision(model)()
    return _high_water() - before


def _reset_high_water() -> float:
    """Forgets earlier peaks, where the system can (loading torch alone leaves a high one)."""
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        forget.write_text("5")
    return _high_water()


def _high_water() -> float:
    """The most MiB of memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    # Elsewhere the peak of the whole life: bytes on macOS, KiB on other systems.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MIB if sys.platform == "darwin" else 1024)


def _decision(
    model: WorldModel,
    candidates: int = 1000,
    elites: int = 100,
    iterations: int = 10,
    seed: int = 0,
) -> Callable[[], Plan]:
    planner = CEM(SPACE, 12, candidates, iterations, elites)
    state = model.dynamics.initial(1)

    @torch.no_grad()
    def decide() -> Plan:
        # The model draws from torch's generator, the planner from its own.
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
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
