"""How fast and how lean planning is, on one fixed load."""

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from worldmodels.checks import check_at_least
from worldmodels.dynamics.rssm import GaussianRSSM
from worldmodels.evaluation.statistics import bootstrap_interval
from worldmodels.nn.heads import GaussianRewardHead, NeverEnds
from worldmodels.nn.memory import peak_growth
from worldmodels.nn.precision import has_bfloat16_units
from worldmodels.planning import CEM
from worldmodels.planning.base import Plan
from worldmodels.types import ActionSpace
from worldmodels.viz.bands import Interval
from worldmodels.world_model import WorldModel

REFERENCE_GFLOP = 92.5
"""The count by which other systems were measured on this load."""

SPACE = ActionSpace(6, False)


class PlanBench(NamedTuple):
    """One measurement of the reference load.

    ``seconds`` are per action; rates are GFLOP/s; ``model_gflop`` counts the products that this
    project's model makes for one action, ``REFERENCE_GFLOP`` what other systems were counted with.
    ``share_of_peak`` is of the peak in ``precision``, in which plans are made. ``difference`` is
    what the same searches return more when made in float32.
    """

    threads: int
    precision: str
    best_seconds: float
    median_seconds: float
    model_gflop: float
    gflops: float
    peak_float32: float
    peak_bfloat16: float
    share_of_peak: float
    memory_mib: float
    returns: Interval
    difference: Interval

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return self._asdict() | {
            "returns": self.returns._asdict(),
            "difference": self.difference._asdict(),
            "reference_gflop": REFERENCE_GFLOP,
            "reference_gflops": REFERENCE_GFLOP / self.best_seconds,
        }

    def __str__(self) -> str:
        return "\n".join(self.lines())

    __repr__ = __str__

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.best_seconds:.3f} s per action at best, {self.median_seconds:.3f} s median, "
            f"{self.threads} threads, products in {self.precision}",
            f"{self.gflops:.0f} GFLOP/s over {self.model_gflop:.1f} GFLOP of products: "
            f"{100 * self.share_of_peak:.0f} % of the {self.precision} peak",
            f"peaks of the matrix product: float32 {self.peak_float32:.0f}, "
            f"bfloat16 {self.peak_bfloat16:.0f} GFLOP/s",
            f"{self.memory_mib:.0f} MiB beyond the model at the peak",
            f"plans return {self.returns}; made in float32 from the same noise they return "
            f"{self.difference} more (judged in float32)",
        ]


def reference_model() -> WorldModel:
    """Belief 200, stochastic 30, hidden 200 throughout, action 6, some random reward.

    As the model that others were measured with (PlaNet's), it does not predict ends.
    """
    torch.manual_seed(0)
    model = WorldModel(
        (3, 64, 64),
        SPACE,
        dynamics=partial(GaussianRSSM, stoch=30, deter=200, hidden=200),
        reward=partial(GaussianRewardHead, hidden=200),
        continues=NeverEnds,
    ).eval()
    # An untrained head answers 0, and then every plan is as good as any other.
    nn.init.normal_(model.reward.get_submodule("net.output").get_parameter("weight"), std=0.1)
    return model


def bench_plan(repeats: int = 5) -> PlanBench:
    """Plans for one environment: horizon 12, 10 iterations, 1,000 candidates, 100 elites.

    Every plan is followed by a measurement of the peaks, so that all meet the same machine.

    Raises:
        ValueError: when ``repeats`` is below 1.
    """
    check_at_least("bench", 1, repeats=repeats)
    decide = decision(reference_model())
    decide()
    seconds, exact, rounded = [], [], []
    for _ in range(repeats):
        seconds.append(_seconds(decide))
        exact.append(matmul_rate(torch.float32))
        rounded.append(matmul_rate(torch.bfloat16))
    gflop = model_gflop(decide)
    rounds = has_bfloat16_units()
    returns, in_float32 = planned_returns(), planned_returns(exact=True)
    return PlanBench(
        threads=torch.get_num_threads(),
        precision="bfloat16" if rounds else "float32",
        best_seconds=min(seconds),
        median_seconds=float(np.median(seconds)),
        model_gflop=gflop,
        gflops=gflop / min(seconds),
        peak_float32=max(exact),
        peak_bfloat16=max(rounded),
        share_of_peak=gflop / min(seconds) / max(rounded if rounds else exact),
        memory_mib=_memory_in_a_new_process(),
        returns=bootstrap_interval(returns),
        difference=bootstrap_interval(in_float32 - returns),
    )


def planned_returns(
    exact: bool = False, plans: int = 24, samples: int = 256
) -> Float[np.ndarray, " N"]:
    """The return of small searches, judged in float32.

    Args:
        exact: search in float32, too; else as an agent does.
        plans: searches from different seeds.
        samples: imagined sequences of each plan, from the same noise for both ways to search.
    """
    model = reference_model()
    # Rows of their own: the plans of one row would all meet the same noise.
    states = model.dynamics.initial(samples)
    found = []
    for seed in range(plans):
        search = decision(model, candidates=256, elites=25, iterations=4, seed=seed, exact=exact)
        repeated = repeat(search().actions, "1 H A -> N 1 H A", N=samples)
        torch.manual_seed(seed)
        with torch.no_grad():
            found.append(float(model.score(states, repeated).mean()))
    return np.array(found)


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
    decision(model, candidates=2, elites=1, iterations=1)()
    return peak_growth(decision(model))


def decision(
    model: WorldModel,
    candidates: int = 1000,
    elites: int = 100,
    iterations: int = 10,
    seed: int = 0,
    exact: bool = False,
) -> Callable[[], Plan]:
    """A search from the model's initial state, as an agent makes it (``exact``: in float32)."""
    planner = CEM(SPACE, 12, candidates, iterations, elites)
    score = partial(model.score, fast=not exact)
    state = model.dynamics.initial(1)

    def decide() -> Plan:
        # The model draws from torch's generator, the planner from its own.
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        return planner.plan(score, state, planner.initial(1), generator)

    return decide


def model_gflop(decide: Callable[[], object]) -> float:
    """GFLOP of products in ``decide``."""
    with FlopCounterMode(display=False) as counter:
        decide()
    return counter.get_total_flops() / 1e9


def _memory_in_a_new_process() -> float:
    # As the command line's processes do: what is kept counts, too.
    code = (
        "from worldmodels.nn.memory import keep_freed_memory; keep_freed_memory()\n"
        f"from {__name__} import planning_memory; print(planning_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
