# SPDX-License-Identifier: Apache-2.0
"""Temporal IoU and distance IoU of the pairs of each video of a ragged batch in plain PyTorch, and derivatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference._precision import compute_dtype
from asl_fast.reference.segment_iou import segment_iou, segment_iou_backward


def segment_iou_ragged(
    a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor, max_pairs: int, distance: bool
) -> tuple[Tensor, Tensor]:
    """The registered op: every pair names its two rows, which are compared row by row.

    Args:
        a: (N, 2) start and end, all videos.
        b: (M, 2) likewise.
        a_offsets: (B + 1,) int64; video v owns rows ``a_offsets[v]:a_offsets[v + 1]`` of ``a``.
        b_offsets: (B + 1,) int64 of ``b``.
        max_pairs: length of the result; pairs beyond it are dropped.
        distance: DIoU instead of IoU.

    Returns:
        values (max_pairs,), the n_v x m_v pairs of each video row by row, 0 behind the last; and where each video's
        pairs begin and end among them, (B + 1,) int64.
    """
    offsets = _pair_offsets(a, b, a_offsets, b_offsets)
    if a.shape[0] == 0 or b.shape[0] == 0 or a_offsets.shape[0] == 1:
        return a.new_zeros(max_pairs, dtype=compute_dtype(a, b)), offsets
    pairs = _pairs(a, b, a_offsets, b_offsets, offsets, max_pairs)
    values = segment_iou(a[pairs.a_row], b[pairs.b_row], True, distance)
    return torch.where(pairs.inside, values, 0), offsets


def segment_iou_ragged_backward(
    grad: Tensor, a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor, offsets: Tensor, distance: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of ``sum(grad * values)`` in the dtypes of ``a`` and ``b``; ``offsets`` are those of the forward."""
    dtype = compute_dtype(a, b)
    grad_a, grad_b = a.new_zeros(a.shape, dtype=dtype), b.new_zeros(b.shape, dtype=dtype)
    if a.shape[0] > 0 and b.shape[0] > 0 and a_offsets.shape[0] > 1:
        pairs = _pairs(a, b, a_offsets, b_offsets, offsets, grad.shape[0])
        wide_a, wide_b = a.to(dtype)[pairs.a_row], b.to(dtype)[pairs.b_row]
        of_a, of_b = segment_iou_backward(grad, wide_a, wide_b, True, distance)
        inside = pairs.inside.unsqueeze(-1)
        grad_a.index_add_(0, pairs.a_row, torch.where(inside, of_a, 0))
        grad_b.index_add_(0, pairs.b_row, torch.where(inside, of_b, 0))
    return grad_a.to(a.dtype), grad_b.to(b.dtype)


class _Pairs(NamedTuple):
    """The rows of ``a`` and ``b`` that meet in each place of the result, and whether there is a pair."""

    a_row: Tensor
    b_row: Tensor
    inside: Tensor


def _rows(offsets: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """First row and number of rows of every video, within ``count`` whatever the offsets are."""
    first = offsets[:-1].clamp(0, count)
    return first, torch.maximum(offsets[1:].clamp(0, count), first) - first


def _pair_offsets(a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor) -> Tensor:
    n, m = _rows(a_offsets, a.shape[0])[1], _rows(b_offsets, b.shape[0])[1]
    return torch.cat((a_offsets.new_zeros(1), (n * m).cumsum(0)))


def _pairs(a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor, offsets: Tensor, count: int) -> _Pairs:
    pair = torch.arange(count, device=a.device)
    ends = offsets[1:].contiguous()
    video = torch.searchsorted(ends, pair, right=True).clamp(max=ends.shape[0] - 1)
    (a_first, _), (b_first, m) = _rows(a_offsets, a.shape[0]), _rows(b_offsets, b.shape[0])
    inside = pair < ends[-1]
    local, columns = pair - offsets[video], m[video].clamp(min=1)
    a_row = a_first[video] + local // columns
    b_row = b_first[video] + local % columns
    return _Pairs(torch.where(inside, a_row, 0), torch.where(inside, b_row, 0), inside)
