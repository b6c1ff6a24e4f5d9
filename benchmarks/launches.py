# SPDX-License-Identifier: Apache-2.0
"""Kernels that one call launches on the GPU, and how long they run, counted by PyTorch's profiler."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


class Launches(NamedTuple):
    """Attributes: ``kernels`` launched; ``copies``, memory copies and fills; ``kernel_sec``, time of the kernels."""

    kernels: int
    copies: int
    kernel_sec: float


def count_launches(call: Callable[[], Any]) -> Launches:
    """Run ``call`` twice on the current GPU and count the second time."""
    call()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        call()
        torch.cuda.synchronize()
    return summarise(profiler.events() or ())


def summarise(events: Iterable[Any]) -> Launches:
    """Count device events: ``device_type``, ``name`` and ``time_range`` in microseconds."""
    device = [event for event in events if event.device_type == DeviceType.CUDA]
    copies = [event for event in device if event.name.startswith(("Memcpy", "Memset"))]
    kernels = [event for event in device if not event.name.startswith(("Memcpy", "Memset"))]
    return Launches(len(kernels), len(copies), sum(event.time_range.elapsed_us() for event in kernels) / 1e6)
