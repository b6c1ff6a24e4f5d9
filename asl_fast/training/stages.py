# SPDX-License-Identifier: Apache-2.0
"""The stages of a training step, and ranges by which a profiler tells them apart; a range costs nothing when off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch.autograd import profiler

STAGES = ("loader", "graph", "schedule", "forward", "loss", "backward", "clip", "optimizer", "average")
"""Every stage, in the order in which a step goes through them; "graph" is a whole step that is replayed as one."""

NVTX = "ASL_FAST_NVTX"
"""Environment variable: 1 marks the stages of every step for NVIDIA's profilers, whether or not ``--profile`` runs."""

_NOTHING: AbstractContextManager[object] = nullcontext()
_PREFIX = "stage:"
_recording = False
_marking = os.environ.get(NVTX) == "1"


def stage(name: str) -> AbstractContextManager[object]:
    """Mark what runs within as a stage of the training step, where somebody looks.

    Args:
        name: One of `STAGES`.
    """
    return _range(name) if _recording or _marking else _NOTHING


@contextmanager
def recorded() -> Iterator[None]:
    """Have PyTorch's profiler see the stages."""
    global _recording
    _recording = True
    try:
        yield
    finally:
        _recording = False


def stage_of(event: str) -> str | None:
    """Return the stage that an event of PyTorch's profiler marks by its name, None for any other event."""
    return event.removeprefix(_PREFIX) if event.startswith(_PREFIX) else None


@contextmanager
def _range(name: str) -> Iterator[None]:
    assert name in STAGES, f"{name!r} is none of {STAGES}"
    on_gpu = torch.cuda.is_available()
    with profiler.record_function(_PREFIX + name):
        if on_gpu:
            torch.cuda.nvtx.range_push(name)  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            if on_gpu:
                torch.cuda.nvtx.range_pop()  # type: ignore[no-untyped-call]
