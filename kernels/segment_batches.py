# SPDX-License-Identifier: Apache-2.0
"""Batches of segments as the launchers of pairwise IoU take them, Triton's and CUDA's."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def leading(a: Tensor, b: Tensor) -> tuple[int, ...]:
    """The leading dimensions that (..., N, 2) and (..., M, 2) broadcast to."""
    return tuple(torch.broadcast_shapes(a.shape[:-2], b.shape[:-2]))


def batched(x: Tensor, shape: tuple[int, ...], share_one: bool) -> tuple[Tensor, int]:
    """Contiguous values and the segments from one batch entry to the next, 0 if ``share_one`` and all are the same."""
    if tuple(x.shape[:-2]) == shape:
        return x.contiguous(), x.shape[-2]
    if share_one and math.prod(x.shape[:-2]) == 1:
        return x.contiguous(), 0
    return x.expand(*shape, *x.shape[-2:]).contiguous(), x.shape[-2]
