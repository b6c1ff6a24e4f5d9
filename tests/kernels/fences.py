# SPDX-License-Identifier: Apache-2.0
"""Output buffers of the launchers inside of larger poisoned ones, to see whether a kernel leaves its place."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

BAND = 64  # elements on each side; keeps the alignment of the buffer
SENTINEL = -7777
# Modules whose ``empty`` is called: for the results of an op, and for the scratch memory of its launchers.
OUTPUTS = "asl_fast.reference._outputs"
TRITON, CUDA = (OUTPUTS, "asl_fast.kernels._launch"), (OUTPUTS,)


def _sentinel(dtype: torch.dtype) -> float | int | bool:
    if dtype.is_floating_point:
        return math.nan
    return True if dtype == torch.bool else SENTINEL % 251 if dtype == torch.uint8 else SENTINEL


@contextmanager
def fenced(owners: Sequence[str] = TRITON, *, some: bool = True) -> Iterator[list[Tensor]]:
    """Buffers taken inside are poisoned (NaN, or a sentinel) with a band on both sides, which must not change.

    Args:
        owners: Modules that hand out the buffers.
        some: Whether it is an error that none was taken.
    """
    buffers: list[tuple[Tensor, int]] = []

    def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        size = math.prod(shape)
        buffer = torch.full((size + 2 * BAND,), _sentinel(dtype), dtype=dtype, device=device)
        buffers.append((buffer, size))
        return buffer[BAND : BAND + size].view(tuple(shape))

    views: list[Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        for owner in owners:
            patch.setattr(importlib.import_module(owner), "empty", empty)
        yield views
    assert buffers or not some, f"the launcher took no buffer from {owners}"
    for buffer, size in buffers:
        for band in (buffer[:BAND], buffer[BAND + size :]):
            untouched = band.isnan() if band.is_floating_point() else band == _sentinel(band.dtype)
            assert bool(untouched.all()), f"a kernel wrote outside of its buffer of {size} {buffer.dtype}"
        views.append(buffer[BAND : BAND + size])
