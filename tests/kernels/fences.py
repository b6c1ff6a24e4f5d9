# SPDX-License-Identifier: Apache-2.0
"""Output buffers of the launchers inside of larger poisoned ones, to see whether a kernel leaves its place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
import torch
from asl_fast.kernels import _launch
from torch import Tensor

BAND = 64  # elements on each side; keeps the alignment of the buffer
SENTINEL = -7777


@contextmanager
def fenced() -> Iterator[list[Tensor]]:
    """Buffers taken inside are poisoned (NaN, or a sentinel) with a band on both sides, which must not change."""
    buffers: list[tuple[Tensor, int]] = []

    def empty(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        size = math.prod(shape)
        poison = math.nan if dtype.is_floating_point else SENTINEL
        buffer = torch.full((size + 2 * BAND,), poison, dtype=dtype, device=device)
        buffers.append((buffer, size))
        return buffer[BAND : BAND + size].view(tuple(shape))

    views: list[Tensor] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_launch, "empty", empty)
        yield views
    assert buffers, "the launcher took no buffer from _launch.empty"
    for buffer, size in buffers:
        for band in (buffer[:BAND], buffer[BAND + size :]):
            untouched = band.isnan() if band.is_floating_point() else band == SENTINEL
            assert bool(untouched.all()), f"a kernel wrote outside of its buffer of {size} {buffer.dtype}"
        views.append(buffer[BAND : BAND + size])
