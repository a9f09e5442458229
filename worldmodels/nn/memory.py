"""A process's memory: the allocator's part in speed on a CPU, and how much is in use at most."""

import ctypes
import resource
import sys
from collections.abc import Callable
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
MIB = 2**20


def keep_freed_memory() -> None:
    """Lets glibc keep freed blocks instead of returning them to the system at once.

    Every update or plan allocates and frees the same large activations. By default each of them is
    mapped, cleared and unmapped by the kernel anew, which costs convolutions about a third of
    their time. The price: the process keeps its peak memory. Elsewhere than on glibc this does
    nothing.
    """
    mallopt = _from_c_library("mallopt")
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)


def peak_growth(work: Callable[[], object]) -> float:
    """MiB by which this process, all of its threads, grows at the peak of ``work``.

    Memory that was freed earlier goes back to the system first, where glibc can do that: what
    ``work`` takes of it would not be seen. Elsewhere than on Linux a peak before ``work`` hides
    lower ones of it.
    """
    trim = _from_c_library("malloc_trim")
    if trim is not None:
        trim(0)
    forget = Path("/proc/self/clear_refs")
    if forget.exists():
        # Forgets earlier peaks (loading torch alone leaves a high one).
        forget.write_text("5")
    before = _high_water()
    work()
    return _high_water() - before


def _high_water() -> float:
    """The most MiB of memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    # Elsewhere the peak of the whole life: bytes on macOS, KiB on other systems.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MIB if sys.platform == "darwin" else 1024)


def _from_c_library(function: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), function, None)
