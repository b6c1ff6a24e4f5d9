# SPDX-License-Identifier: Apache-2.0
"""Peak memory of one call, beyond what was in use before it.

On CUDA it is what PyTorch's allocator handed out at most. On the CPU (Linux with glibc) it is the peak of the process's
resident pages: free heap is first returned to the system and the kernel's high-water mark reset, so that pages touched
by tensors, by C++ scratch and by temporary arrays all count, those that were resident before do not. The kernel counts
pages in batches per thread: differences below about 1 MB mean nothing.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from typing import Any

import torch

_RESET_HIGH_WATER = "5"


def peak_bytes(call: Callable[[], Any], device: str) -> int:
    """Run ``call`` once and return the bytes it needed on top.

    Raises:
        OSError: Where the system has no high-water mark that can be reset.
    """
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not sys.platform.startswith("linux"):
        raise OSError("peak memory on the CPU is measured on Linux only")
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        raise OSError("peak memory on the CPU needs glibc's malloc_trim")
    libc.malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as file:
        file.write(_RESET_HIGH_WATER)
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def _status(key: str) -> int:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(key):
                return int(line.split()[1]) << 10
    raise OSError(f"/proc/self/status has no {key}")
