# SPDX-License-Identifier: Apache-2.0
"""Memory of a process on the CPU: what one operator or batch frees, the next one gets without asking the system."""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # by these numbers malloc.h knows them
_LARGEST_KEPT = 32 << 20  # the most that glibc takes
_MOST_KEPT = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory for later allocations instead of giving it back to the system each time.

    Every step of a network allocates and frees the same tensors, and a loader the same batches. By glibc's own rules
    most of them are fetched from the system anew, which hands out pages one by one and fills them with zeros: a sixth
    of the time of a training step of a small model, and more than half of that of a large batch which is put together
    without workers, measured. Blocks of up to 32 MB are kept, at most 2 GB that lie free in one piece. Nothing that is
    computed changes.

    Returns:
        Whether it does: glibc alone does, and only where the environment does not say how it is to allocate.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") and name.endswith("_") for name in os.environ):
        return False
    if "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes, mallopt.restype = (ctypes.c_int, ctypes.c_int), ctypes.c_int
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT) and mallopt(_TRIM_THRESHOLD, _MOST_KEPT))
