"""Computations at once on a CPU."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

# Of one part, rows times width squared: with less, what Python does between kernels takes the time.
LEAST_WORK = 5_000_000

T = TypeVar("T")


def side_by_side(*works: Callable[[], T]) -> list[T]:
    """Does the first of ``works`` here, each other one in a thread of its own; what they return.

    Each gets an even share of torch's threads. The kernels of small models are too short to be cut
    up, so cores do more for computations side by side than for one after the other. At most one of
    them may draw from torch's generator: threads that race for it cannot be repeated.

    All run to their end before an error is raised, that of the earliest work.
    """
    threads = torch.get_num_threads()
    share = max(1, threads // len(works))
    first, *others = works
    alike = _thread_like_this(share)
    try:
        # Threads of this call alone: a pool that is kept would not survive a fork.
        with ThreadPoolExecutor(max(1, len(others)), "worldmodels-together") as pool:
            running = [pool.submit(alike, work) for work in others]
            torch.set_num_threads(share)
            done = first()
    finally:
        torch.set_num_threads(threads)
    return [done, *(each.result() for each in running)]


def parts_of(rows: Float[Tensor, "N F"]) -> int:
    """In how many parts rows are best computed side by side; one where gradients are asked."""
    if rows.device.type != "cpu" or torch.is_grad_enabled():
        return 1
    work = len(rows) * rows.shape[1] ** 2
    return max(1, min(torch.get_num_threads(), work // LEAST_WORK))


def _thread_like_this(threads: int) -> Callable[[Callable[[], T]], T]:
    """Runs a work in the modes of the thread that asks now: every thread has its own."""
    learns, infers = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    rounds, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def run(work: Callable[[], T]) -> T:
        torch.set_num_threads(threads)
        with (
            torch.inference_mode(infers),
            torch.set_grad_enabled(learns),
            torch.autocast("cpu", dtype, enabled=rounds),
        ):
            return work()

    return run
