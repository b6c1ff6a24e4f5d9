# SPDX-License-Identifier: Apache-2.0
"""Batches of segments as the launchers of pairwise IoU take them, Triton's and CUDA's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from asl_fast.reference.segment_iou import Operands


class Batches(NamedTuple):
    """Both sides contiguous, entry after entry.

    Attributes:
        a: (entries, N, 2), or (1, N, 2) where all entries share them; any leading dimensions.
        b: Likewise.
        a_batch: Segments of ``a`` from one batch entry to the next, 0 where all share them.
        b_batch: Likewise.
        entries: How many there are.
    """

    a: Tensor
    b: Tensor
    a_batch: int
    b_batch: int
    entries: int


def batches(given: Operands) -> Batches:
    """Return both sides; aligned rows are never shared."""
    leading, share_one = given.leading, not given.aligned
    (a, a_batch), (b, b_batch) = (_batched(side, leading, share_one) for side in (given.a, given.b))
    return Batches(a=a, b=b, a_batch=a_batch, b_batch=b_batch, entries=math.prod(leading))


def _batched(side: Tensor, leading: tuple[int, ...], share_one: bool) -> tuple[Tensor, int]:
    if tuple(side.shape[:-2]) == leading:
        return side.contiguous(), side.shape[-2]
    if share_one and math.prod(side.shape[:-2]) == 1:
        return side.contiguous(), 0
    return side.expand(*leading, *side.shape[-2:]).contiguous(), side.shape[-2]
