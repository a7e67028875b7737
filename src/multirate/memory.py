"""The C allocator's habit of giving memory back, which costs more than the arithmetic of a gate."""

import ctypes
import os
import platform

# Parameters of glibc's mallopt, from malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT = 1 << 30
# Settings of the user's own, and other allocators, which are left alone.
_CHOSEN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Let this process keep up to a gibibyte of freed memory for its next tensors, where glibc is its allocator.

    glibc hands large blocks back to the system as soon as they are free, and each step of training on a CPU then asks
    for them again, page by page: 5 to 20% of the step of a convolutional network (docs/performance.md). This holds for
    the rest of the process. Any of ``MALLOC_TRIM_THRESHOLD_``, ``MALLOC_MMAP_THRESHOLD_``, ``MALLOC_TOP_PAD_``,
    ``GLIBC_TUNABLES`` and ``LD_PRELOAD`` in the environment switches this off.

    Returns:
        Whether it was done.
    """
    if platform.system() != "Linux" or any(name in os.environ for name in _CHOSEN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018  # other C libraries have a mallopt that does nothing
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _KEPT)) and bool(mallopt(_MMAP_THRESHOLD, _KEPT))
