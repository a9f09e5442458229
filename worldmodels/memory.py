"""The allocator's part in the speed of training on a CPU."""

import ctypes
import ctypes.util

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Lets glibc keep freed blocks instead of returning them to the system at once.

    Every update allocates and frees the same large activations. By default each of them is mapped,
    cleared and unmapped by the kernel anew, which costs convolutions about a third of their time.
    The price: the process keeps its peak memory. Elsewhere than on glibc this does nothing.
    """
    name = ctypes.util.find_library("c")
    mallopt = None if name is None else getattr(ctypes.CDLL(name), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
