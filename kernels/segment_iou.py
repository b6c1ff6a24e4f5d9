# SPDX-License-Identifier: Apache-2.0
"""IoU and DIoU of segments: all pairs or row by row, with leading batch dimensions; forward and backward.

The pairwise forward is bound by writing the (N, M) matrix, in tiles that are contiguous along M. Its backward never
needs the matrix of slopes: a program owns a few rows of one side and walks over the other, so sums have a fixed order;
with very few rows on one side it has few programs. Tested under Triton's interpreter and compiled for sm_80, sm_90 and
gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _launch
from ._maths import can_approximate, load_pairs, maximum, minimum, quotient, rows_apart, share, store_pairs
from .segment_iou_batches import Batches, batches

if TYPE_CHECKING:
    from asl_fast.reference.segment_iou import BackwardOperands, BackwardOutputs, Operands, Outputs

BLOCK_ROWS = 512
ROWS, UNROLL = 32, 4  # of the pairwise forward; four segments of a are loaded while four are computed with
NARROW, WIDE = 256, 1024  # two or eight columns a lane
# Of the backward, by side: segments of a program, and those it meets at a time (half in float64). Lanes lie along the
# rows of the gradient, whose columns are b: along one row for a, over two sectors of many rows for b.
BLOCK_A, BLOCK_B = (4, 128), (16, 32)
# The least normal numbers of float32 and float64.
LEAST = tl.constexpr(1.1754943508222875e-38)
LEAST_WIDE = tl.constexpr(2.2250738585072014e-308)


@triton.jit
def iou_of(start_a, end_a, start_b, end_b, DISTANCE: tl.constexpr, APPROXIMATE: tl.constexpr):
    """Return the IoU of broadcast segments; with DISTANCE, minus (centre distance / hull)². NaN gives NaN."""
    intersection = maximum(minimum(end_a, end_b) - maximum(start_a, start_b), 0.0)
    union = maximum(end_a - start_a, 0.0) + maximum(end_b - start_b, 0.0) - intersection
    result = quotient(intersection, union, APPROXIMATE)
    if DISTANCE:
        away = (start_a - start_b) + (end_a - end_b)  # twice; and twice the hull, by terms of one side each
        hull = maximum(2.0 * maximum(start_a, end_a), 2.0 * maximum(start_b, end_b))
        hull -= minimum(2.0 * minimum(start_a, end_a), 2.0 * minimum(start_b, end_b))
        ratio = quotient(away, hull, APPROXIMATE)
        result -= ratio * ratio
    return result


@triton.jit
def slopes(start_a, end_a, start_b, end_b, DISTANCE: tl.constexpr):
    """Return d iou / d start_a and d end_a; half to each side at a tie, and no IoU part without an overlap."""
    raw = minimum(end_a, end_b) - maximum(start_a, start_b)
    union = maximum(end_a - start_a, 0.0) + maximum(end_b - start_b, 0.0) - maximum(raw, 0.0)
    least: tl.constexpr = LEAST_WIDE if raw.dtype == tl.float64 else LEAST
    overlap = (raw > 0) & (union >= least)
    # What is divided by infinity is 0: the slopes where there is no overlap, or no length to divide by.
    inverse = 1.0 / tl.where(overlap, union, float("inf"))
    iou = tl.where(overlap, raw, 0.0) * inverse
    at_start = (iou - (1.0 + iou) * share(start_a, start_b)) * inverse
    at_end = ((1.0 + iou) * share(end_b, end_a) - iou) * inverse
    if DISTANCE:
        low_a, high_a = minimum(start_a, end_a), maximum(start_a, end_a)
        low_b, high_b = minimum(start_b, end_b), maximum(start_b, end_b)
        hull = maximum(high_a, high_b) - minimum(low_a, low_b)
        point = hull < least
        safe_hull = tl.where(point, 1.0, hull)
        ratio = ((start_a - start_b) + (end_a - end_b)) * 0.5 / safe_hull
        at_high, at_low = share(high_a, high_b), share(low_b, low_a)
        # A reversed segment reaches the hull with its start.
        hull_by_start = tl.where(end_a < start_a, at_high, -at_low)
        hull_by_end = tl.where(end_a < start_a, -at_low, at_high)
        at_start -= tl.where(point, 0.0, 2.0 * ratio * (0.5 - ratio * hull_by_start) / safe_hull)
        at_end -= tl.where(point, 0.0, 2.0 * ratio * (0.5 - ratio * hull_by_end) / safe_hull)
    return at_start, at_end


@triton.jit(do_not_specialize=["rows", "packs", "a_batch", "b_batch"])
def segment_iou_pairwise_fwd_kernel(
    a_ptr,
    b_ptr,
    out_ptr,
    rows,
    packs,
    a_batch,
    b_batch,
    DISTANCE: tl.constexpr,
    APPROXIMATE: tl.constexpr,
    COMPUTE: tl.constexpr,
    PACK: tl.constexpr,
    ROWS: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """Write (batch, rows, packs * PACK), ROWS x BLOCK_M a program; the batch shares an input with a_batch, b_batch 0.

    A lane keeps its segments of b and meets one segment of a after the other.
    """
    columns = packs * PACK  # so the compiler knows how many neighbours of a row are stored as one
    tiles_n, tiles_m = tl.cdiv(rows, ROWS), tl.cdiv(columns, BLOCK_M)
    tile_m, rest = tl.program_id(0) % tiles_m, tl.program_id(0) // tiles_m
    tile_n, batch = rest % tiles_n, (rest // tiles_n).to(tl.int64)
    m = tile_m * BLOCK_M + tl.arange(0, BLOCK_M)
    in_row = m < columns
    b_ptr += batch * b_batch * 2
    start_b = tl.load(b_ptr + 2 * m, mask=in_row, other=0.0).to(COMPUTE)
    end_b = tl.load(b_ptr + 2 * m + 1, mask=in_row, other=0.0).to(COMPUTE)
    first = tile_n * ROWS
    a_ptr += (batch * a_batch + first) * 2
    out_ptr += (batch * rows + first) * columns
    for n in range(0, tl.minimum(rows - first, ROWS), UNROLL):
        for i in tl.static_range(UNROLL):
            inside = first + n + i < rows
            start_a = tl.load(a_ptr + 2 * i, mask=inside, other=0.0).to(COMPUTE)
            end_a = tl.load(a_ptr + 2 * i + 1, mask=inside, other=0.0).to(COMPUTE)
            iou = iou_of(start_a, end_a, start_b, end_b, DISTANCE, APPROXIMATE)
            tl.store(out_ptr + m, iou, mask=in_row & inside)
            out_ptr += columns
        a_ptr += 2 * UNROLL


@triton.jit(do_not_specialize=["rows"])
def segment_iou_aligned_fwd_kernel(
    a_ptr,
    b_ptr,
    out_ptr,
    rows,
    DISTANCE: tl.constexpr,
    APPROXIMATE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write (rows,) row by row."""
    row = rows_apart(tl.program_id(0).to(tl.int64) * BLOCK, BLOCK)
    inside = row < rows
    start_a, end_a = load_pairs(a_ptr, row, inside, COMPUTE)
    start_b, end_b = load_pairs(b_ptr, row, inside, COMPUTE)
    tl.store(out_ptr + row, iou_of(start_a, end_a, start_b, end_b, DISTANCE, APPROXIMATE), mask=inside)


@triton.jit(do_not_specialize=["rows", "columns", "mine_batch", "other_batch"])
def segment_iou_pairwise_bwd_kernel(
    grad_ptr,
    mine_ptr,
    other_ptr,
    grad_mine_ptr,
    rows,
    columns,
    mine_batch,
    other_batch,
    OF_A: tl.constexpr,
    DISTANCE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """Write the gradient of BLOCK_N segments of one side, summed over all ``columns`` segments of the other."""
    tiles_n = tl.cdiv(rows, BLOCK_N)
    tile_n, batch = tl.program_id(0) % tiles_n, (tl.program_id(0) // tiles_n).to(tl.int64)
    n = tile_n.to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    start_a, end_a = load_pairs(mine_ptr + batch * mine_batch * 2, n, n < rows, COMPUTE)
    grad_ptr += batch * rows * columns
    other_ptr += batch * other_batch * 2
    start_sum = tl.zeros((BLOCK_N, BLOCK_M), COMPUTE)
    end_sum = tl.zeros((BLOCK_N, BLOCK_M), COMPUTE)
    for first in range(0, columns, BLOCK_M):
        m = first + tl.arange(0, BLOCK_M)
        start_b = tl.load(other_ptr + 2 * m, mask=m < columns, other=0.0).to(COMPUTE)
        end_b = tl.load(other_ptr + 2 * m + 1, mask=m < columns, other=0.0).to(COMPUTE)
        at_start, at_end = slopes(start_a[:, None], end_a[:, None], start_b[None, :], end_b[None, :], DISTANCE)
        inside = (n < rows)[:, None] & (m < columns)[None, :]
        # Which of the two has its neighbours side by side is compiled in, so that lanes read them together.
        at = n[:, None] * columns + m[None, :] if OF_A else m[None, :].to(tl.int64) * rows + n[:, None]
        grad = tl.load(grad_ptr + at, mask=inside, other=0.0).to(COMPUTE)
        start_sum += tl.where(inside, grad * at_start, 0.0)
        end_sum += tl.where(inside, grad * at_end, 0.0)
    store_pairs(grad_mine_ptr, batch * rows + n, tl.sum(start_sum, 1), tl.sum(end_sum, 1), n < rows)


@triton.jit(do_not_specialize=["rows"])
def segment_iou_aligned_bwd_kernel(
    grad_ptr,
    a_ptr,
    b_ptr,
    grad_a_ptr,
    grad_b_ptr,
    rows,
    DISTANCE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write both gradients, row by row."""
    row = rows_apart(tl.program_id(0).to(tl.int64) * BLOCK, BLOCK)
    inside = row < rows
    start_a, end_a = load_pairs(a_ptr, row, inside, COMPUTE)
    start_b, end_b = load_pairs(b_ptr, row, inside, COMPUTE)
    grad = tl.load(grad_ptr + row, mask=inside, other=0.0).to(COMPUTE)
    at_start, at_end = slopes(start_a, end_a, start_b, end_b, DISTANCE)
    store_pairs(grad_a_ptr, row, grad * at_start, grad * at_end, inside)
    at_start, at_end = slopes(start_b, end_b, start_a, end_a, DISTANCE)
    store_pairs(grad_b_ptr, row, grad * at_start, grad * at_end, inside)


def segment_iou(given: Operands) -> Outputs:
    """Compute in one launch."""
    found = given.outputs()
    out, compute = found.iou, _launch.triton_type(found.iou.dtype)
    if out.numel() == 0:
        return found
    sides, approximate = batches(given), can_approximate(out.dtype)
    with _launch.on_device_of(out):
        if given.aligned:
            _launch.launch(
                segment_iou_aligned_fwd_kernel,
                (_launch.cdiv(out.numel(), BLOCK_ROWS),),
                sides.a,
                sides.b,
                out,
                out.numel(),
                DISTANCE=given.distance,
                APPROXIMATE=approximate,
                COMPUTE=compute,
                BLOCK=BLOCK_ROWS,
                **_launch.FUSED,
            )
            return found
        rows, columns = given.a.shape[-2], given.b.shape[-2]
        # Two steps each, so that few sizes compile anything: whether 16 bytes of float32 move as one, and the width.
        pack = 4 if columns % 4 == 0 else 1
        block_m = NARROW if columns <= 2 * NARROW else WIDE // 2 if out.dtype == torch.float64 else WIDE
        _launch.launch(
            segment_iou_pairwise_fwd_kernel,
            (_launch.cdiv(rows, ROWS) * _launch.cdiv(columns, block_m) * sides.entries,),
            sides.a,
            sides.b,
            out,
            rows=rows,
            packs=columns // pack,
            a_batch=sides.a_batch,
            b_batch=sides.b_batch,
            DISTANCE=given.distance,
            APPROXIMATE=approximate,
            COMPUTE=compute,
            PACK=pack,
            ROWS=ROWS,
            UNROLL=UNROLL,
            BLOCK_M=block_m,
            **_launch.FUSED,
        )
    return found


def segment_iou_backward(given: BackwardOperands) -> BackwardOutputs:
    """Launch once for each gradient, or once if aligned."""
    found, sides, grad = given.unsummed(), batches(given.forward), given.grad.contiguous()
    with _launch.on_device_of(grad):
        if not given.aligned:
            _pairwise_gradient(given, sides, grad, found.grad_a, of_a=True)
            _pairwise_gradient(given, sides, grad, found.grad_b, of_a=False)
        elif grad.numel():
            _launch.launch(
                segment_iou_aligned_bwd_kernel,
                (_launch.cdiv(grad.numel(), BLOCK_ROWS),),
                grad,
                sides.a,
                sides.b,
                found.grad_a,
                found.grad_b,
                grad.numel(),
                DISTANCE=given.distance,
                COMPUTE=_launch.triton_type(given.forward.dtype),
                BLOCK=BLOCK_ROWS,
                **_launch.FUSED,
            )
    return given.summed(found.grad_a, found.grad_b)


def _pairwise_gradient(given: BackwardOperands, sides: Batches, grad: Tensor, out: Tensor, *, of_a: bool) -> None:
    """Write the gradient of one side, which is the rows of the kernel."""
    if not out.numel():
        return
    dtype, n, m = given.forward.dtype, given.a.shape[-2], given.b.shape[-2]
    rows = n if of_a else m
    block_n, block_m = BLOCK_A if of_a else BLOCK_B
    _launch.launch(
        segment_iou_pairwise_bwd_kernel,
        (_launch.cdiv(rows, block_n) * sides.entries,),
        grad,
        mine_ptr=sides.a if of_a else sides.b,
        other_ptr=sides.b if of_a else sides.a,
        grad_mine_ptr=out,
        rows=rows,
        columns=m if of_a else n,
        mine_batch=sides.a_batch if of_a else sides.b_batch,
        other_batch=sides.b_batch if of_a else sides.a_batch,
        OF_A=of_a,
        DISTANCE=given.distance,
        COMPUTE=_launch.triton_type(dtype),
        BLOCK_N=block_n,
        BLOCK_M=block_m // (2 if dtype == torch.float64 else 1),
        num_warps=4 if of_a else 8,
        enable_fp_fusion=True,
    )
