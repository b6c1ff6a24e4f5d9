# SPDX-License-Identifier: Apache-2.0
"""IoU and DIoU of all pairs of segments of the same video, for a batch of unequal videos; forward and backward.

A first launch, of one program, adds up where each video's pairs begin; in the second a lane writes a pair and finds its
video between those of the program's first and last pair. Backward, a program owns a few segments of one side and walks
over the others of each one's video, so sums have a fixed order. Nobody has looked at the offsets on a GPU: rows are
clamped to those that are there. Tested under Triton's interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has
run it yet.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from asl_fast.kernels import _launch
from asl_fast.kernels._maths import load_pairs, store_pairs
from asl_fast.kernels.segment_iou import iou_of, slopes
from torch import Tensor

BLOCK_VIDEOS, BLOCK_PAIRS = 1024, 1024
# Rows of the matrix of pairs (few columns are usual), and columns (many rows; 8 neighbours fill a sector of memory).
BLOCK_A, BLOCK_B = (32, 32), (8, 128)


@triton.jit
def rows_of(offsets_ptr, video, count, inside):
    """First row of a video and how many it has, of ``count`` rows whatever the offsets are; none where not inside."""
    first = tl.load(offsets_ptr + video, mask=inside, other=0)
    last = tl.load(offsets_ptr + video + 1, mask=inside, other=0)
    first = tl.minimum(tl.maximum(first, 0), count)
    return first, tl.minimum(tl.maximum(last, first), count) - first


@triton.jit
def last_not_above(offsets_ptr, target, at, count):
    """Index of the last of the ``count`` rising offsets from ``at`` on that is not above ``target``, else ``at``."""
    while count > 1:
        half = count // 2
        at = tl.where(tl.load(offsets_ptr + at + half) <= target, at + half, at)
        count -= half
    return at


# Batches differ in their sizes: those are not compiled in.
@triton.jit(do_not_specialize=["videos", "a_count", "b_count"])
def segment_iou_ragged_offsets_kernel(
    a_offsets_ptr, b_offsets_ptr, offsets_ptr, videos, a_count, b_count, BLOCK: tl.constexpr
):
    """offsets (videos + 1,): sums of n * m over the videos before, by one program."""
    before = tl.zeros((), tl.int64)
    tl.store(offsets_ptr, before)
    for first in range(0, videos, BLOCK):
        video = first + tl.arange(0, BLOCK)
        inside = video < videos
        _, n = rows_of(a_offsets_ptr, video, a_count, inside)
        _, m = rows_of(b_offsets_ptr, video, b_count, inside)
        tl.store(offsets_ptr + 1 + video, before + tl.cumsum(n * m, 0), mask=inside)
        before += tl.sum(n * m, 0)


@triton.jit(do_not_specialize=["videos", "a_count", "b_count", "max_pairs"])
def segment_iou_ragged_fwd_kernel(
    a_ptr,
    b_ptr,
    a_offsets_ptr,
    b_offsets_ptr,
    offsets_ptr,
    values_ptr,
    videos,
    a_count,
    b_count,
    max_pairs,
    DISTANCE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """values (max_pairs,): BLOCK pairs a program, 0 behind the last."""
    begin = tl.program_id(0).to(tl.int64) * BLOCK
    pair = begin + tl.arange(0, BLOCK)
    inside = pair < tl.minimum(tl.load(offsets_ptr + videos), max_pairs)
    none = tl.zeros((), tl.int64)
    first = last_not_above(offsets_ptr, begin, none, none + videos)
    last = last_not_above(offsets_ptr, begin + BLOCK - 1, first, videos - first)
    video = last_not_above(offsets_ptr, pair, first + tl.zeros((BLOCK,), tl.int64), last - first + 1)
    a_first, _ = rows_of(a_offsets_ptr, video, a_count, inside)
    b_first, columns = rows_of(b_offsets_ptr, video, b_count, inside)
    local = pair - tl.load(offsets_ptr + video, mask=inside, other=0)
    columns = tl.maximum(columns, 1)
    start_a, end_a = load_pairs(a_ptr, a_first + local // columns, inside, COMPUTE)
    start_b, end_b = load_pairs(b_ptr, b_first + local % columns, inside, COMPUTE)
    iou = iou_of(start_a, end_a, start_b, end_b, DISTANCE)
    tl.store(values_ptr + pair, tl.where(inside, iou, 0.0), mask=pair < max_pairs)


@triton.jit(do_not_specialize=["videos", "mine_count", "other_count", "max_pairs"])
def segment_iou_ragged_bwd_kernel(
    grad_ptr,
    mine_ptr,
    other_ptr,
    mine_offsets_ptr,
    other_offsets_ptr,
    offsets_ptr,
    grad_mine_ptr,
    videos,
    mine_count,
    other_count,
    max_pairs,
    OF_ROWS: tl.constexpr,
    DISTANCE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """Gradient of BLOCK_N segments, rows of their videos' matrices or else columns, each summed over all its pairs."""
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    there = n < mine_count
    none = tl.zeros((BLOCK_N,), tl.int64)
    video = last_not_above(mine_offsets_ptr, n, none, tl.zeros((), tl.int64) + videos)
    mine_first, own = rows_of(mine_offsets_ptr, video, mine_count, there)
    other_first, others = rows_of(other_offsets_ptr, video, other_count, there)
    place = n - mine_first
    others = tl.where((place >= 0) & (place < own), others, 0)
    pair = tl.load(offsets_ptr + video, mask=there, other=0)
    if OF_ROWS:
        pair += place * others
        step = none + 1
    else:
        pair += place
        step = own
    start_a, end_a = load_pairs(mine_ptr, n, there, COMPUTE)
    start_sum = tl.zeros((BLOCK_N, BLOCK_M), COMPUTE)
    end_sum = tl.zeros((BLOCK_N, BLOCK_M), COMPUTE)
    for begin in range(0, tl.max(others, 0), BLOCK_M):
        m = begin + tl.arange(0, BLOCK_M).to(tl.int64)
        at = pair[:, None] + m[None, :] * step[:, None]
        inside = (m[None, :] < others[:, None]) & (at >= 0) & (at < max_pairs)
        row = (other_first[:, None] + m[None, :]) * 2
        start_b = tl.load(other_ptr + row, mask=inside, other=0.0).to(COMPUTE)
        end_b = tl.load(other_ptr + row + 1, mask=inside, other=0.0).to(COMPUTE)
        at_start, at_end = slopes(start_a[:, None], end_a[:, None], start_b, end_b, DISTANCE)
        grad = tl.load(grad_ptr + at, mask=inside, other=0.0).to(COMPUTE)
        start_sum += tl.where(inside, grad * at_start, 0.0)
        end_sum += tl.where(inside, grad * at_end, 0.0)
    store_pairs(grad_mine_ptr, n, tl.sum(start_sum, 1), tl.sum(end_sum, 1), there)


def segment_iou_ragged(
    a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor, max_pairs: int, distance: bool
) -> tuple[Tensor, Tensor]:
    """The op's schema: values (max_pairs,) and offsets (B + 1,) int64."""
    dtype, compute = _launch.compute_type(a, b)
    videos = a_offsets.shape[0] - 1
    values = _launch.empty((max_pairs,), dtype, a.device)
    offsets = _launch.empty((videos + 1,), torch.int64, a.device)
    a_offsets, b_offsets = a_offsets.contiguous(), b_offsets.contiguous()
    sizes = (videos, a.shape[0], b.shape[0])
    with _launch.on_device_of(a):
        segment_iou_ragged_offsets_kernel[(1,)](a_offsets, b_offsets, offsets, *sizes, BLOCK=BLOCK_VIDEOS, num_warps=4)
        if max_pairs > 0:
            segment_iou_ragged_fwd_kernel[(triton.cdiv(max_pairs, BLOCK_PAIRS),)](
                a.contiguous(), b.contiguous(), a_offsets, b_offsets, offsets, values, *sizes, max_pairs,
                DISTANCE=distance, COMPUTE=compute, BLOCK=BLOCK_PAIRS, **_launch.FUSED,
            )  # fmt: skip
    return values, offsets


def segment_iou_ragged_backward(
    grad: Tensor, a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor, offsets: Tensor, distance: bool
) -> tuple[Tensor, Tensor]:
    """The op's schema: gradients in the shapes and dtypes of ``a`` and ``b``; a launch for each."""
    dtype, compute = _launch.compute_type(a, b)
    videos, max_pairs = a_offsets.shape[0] - 1, grad.shape[0]
    grad_a, grad_b = (_launch.empty(x.shape, x.dtype, x.device) for x in (a, b))
    grad, offsets, a_offsets, b_offsets = (x.contiguous() for x in (grad, offsets, a_offsets, b_offsets))
    a, b = a.contiguous(), b.contiguous()
    sides = ((a, b, a_offsets, b_offsets, grad_a, BLOCK_A), (b, a, b_offsets, a_offsets, grad_b, BLOCK_B))
    with _launch.on_device_of(a):
        for mine, other, mine_offsets, other_offsets, out, (block_n, block_m) in sides:
            if min(videos, len(other), max_pairs) == 0:
                out.zero_()
            elif len(mine) > 0:
                segment_iou_ragged_bwd_kernel[(triton.cdiv(len(mine), block_n),)](
                    grad, mine, other, mine_offsets, other_offsets, offsets, out,
                    videos, len(mine), len(other), max_pairs, OF_ROWS=mine is a,
                    DISTANCE=distance, COMPUTE=compute, BLOCK_N=block_n,
                    BLOCK_M=block_m // (2 if dtype == torch.float64 else 1), **_launch.FUSED,
                )  # fmt: skip
    return grad_a, grad_b
