# SPDX-License-Identifier: Apache-2.0
"""IoU and DIoU of all pairs of segments of the same video, for a batch of unequal videos; forward and backward.

A first launch, of one program, adds up where each video's pairs begin; in the second a lane writes a pair. A program
takes blocks of neighbouring pairs, which mostly are all of one video; where not, each lane finds its video between
those of the block's first and last pair. Backward, a program owns a few segments of one side and walks over the others
of each one's video, so sums have a fixed order. Nobody has looked at the offsets on a GPU: rows are clamped to those
that are there. Tested under Triton's interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _launch
from ._maths import can_approximate, load_pairs, store_pairs
from ._reduction import PROGRAMS
from .segment_iou import iou_of, slopes

if TYPE_CHECKING:
    from asl_fast.reference.segment_iou_ragged import BackwardOperands, BackwardOutputs, Operands, Outputs

BLOCK_VIDEOS, BLOCK_PAIRS, PART = 1024, 1024, 256
MOST_COLUMNS = tl.constexpr(1 << 14)  # of a video, for the division by a product: 2^30 is above a pair's place in it
# Rows of the matrix of pairs (few columns are usual), and columns (many rows; 8 neighbours fill a sector of memory).
BLOCK_A, BLOCK_B = (32, 32), (8, 128)


@triton.jit
def rows_of(video_offsets_ptr, video, count, inside):
    """Return first row and number of rows of a video, of ``count`` whatever the offsets are; none if not inside."""
    first = tl.load(video_offsets_ptr + video, mask=inside, other=0)
    last = tl.load(video_offsets_ptr + video + 1, mask=inside, other=0)
    first = tl.minimum(tl.maximum(first, 0), count)
    return first, tl.minimum(tl.maximum(last, first), count) - first


@triton.jit
def last_not_above(offsets_ptr, target, at, count):
    """Return the last index of the ``count`` rising offsets from ``at`` on that is not above ``target``, or ``at``."""
    while count > 1:
        half = count // 2
        at = tl.where(tl.load(offsets_ptr + at + half) <= target, at + half, at)
        count -= half
    return at


# Batches differ in their sizes: those are not compiled in.
@triton.jit(do_not_specialize=["videos", "a_count", "b_count"])
def segment_iou_ragged_offsets_kernel(
    a_video_offsets_ptr, b_video_offsets_ptr, pair_offsets_ptr, videos, a_count, b_count, BLOCK: tl.constexpr
):
    """Write pair_offsets (videos + 1,): sums of n * m over the videos before, by one program."""
    before = tl.zeros((), tl.int64)
    tl.store(pair_offsets_ptr, before)
    for first in range(0, videos, BLOCK):
        video = first + tl.arange(0, BLOCK)
        inside = video < videos
        _, n = rows_of(a_video_offsets_ptr, video, a_count, inside)
        _, m = rows_of(b_video_offsets_ptr, video, b_count, inside)
        tl.store(pair_offsets_ptr + 1 + video, before + tl.cumsum(n * m, 0), mask=inside)
        before += tl.sum(n * m, 0)


@triton.jit
def write_pairs(
    a_ptr, b_ptr, values_ptr, pair, a_row, b_row, inside, within, DISTANCE: tl.constexpr, APPROXIMATE: tl.constexpr,
    COMPUTE: tl.constexpr,
):  # fmt: skip
    """Write the value of each pair of rows where there is one, 0 elsewhere ``within`` the result."""
    start_a = tl.load(a_ptr + 2 * a_row, mask=inside, other=0.0).to(COMPUTE)
    end_a = tl.load(a_ptr + 2 * a_row + 1, mask=inside, other=0.0).to(COMPUTE)
    start_b = tl.load(b_ptr + 2 * b_row, mask=inside, other=0.0).to(COMPUTE)
    end_b = tl.load(b_ptr + 2 * b_row + 1, mask=inside, other=0.0).to(COMPUTE)
    iou = iou_of(start_a, end_a, start_b, end_b, DISTANCE, APPROXIMATE)
    tl.store(values_ptr + pair, tl.where(inside, iou, 0.0), mask=within)


@triton.jit(do_not_specialize=["videos", "a_count", "b_count", "max_pairs", "steps"])
def segment_iou_ragged_fwd_kernel(
    a_ptr,
    b_ptr,
    a_video_offsets_ptr,
    b_video_offsets_ptr,
    pair_offsets_ptr,
    values_ptr,
    videos,
    a_count,
    b_count,
    max_pairs,
    steps,
    DISTANCE: tl.constexpr,
    APPROXIMATE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
    PART: tl.constexpr,
):
    """Write values (max_pairs,), 0 behind the last: ``steps`` times BLOCK neighbouring pairs a program."""
    stop = tl.minimum(tl.load(pair_offsets_ptr + videos), max_pairs)
    first, next_video = tl.zeros((), tl.int64), tl.zeros((), tl.int64)  # the video of a block's first pair, its end
    begin = tl.program_id(0).to(tl.int64) * steps * BLOCK
    for _ in range(0, steps):
        first = last_not_above(pair_offsets_ptr, begin, first, tl.where(begin < next_video, 1, videos - first))
        some = begin < stop
        next_video = tl.load(pair_offsets_ptr + first + 1, mask=some, other=0)
        b_first, columns = rows_of(b_video_offsets_ptr, first, b_count, some)
        columns = tl.maximum(columns, 1)
        if (begin + BLOCK <= next_video) & (columns <= MOST_COLUMNS):
            # Mostly all pairs are of one video: nothing but a division in 32 bits, by a product, is left to each lane.
            a_first, _own = rows_of(a_video_offsets_ptr, first, a_count, some)
            skipped = begin - tl.load(pair_offsets_ptr + first, mask=some, other=0)
            row = skipped // columns
            width = columns.to(tl.int32)
            lane = tl.arange(0, BLOCK)
            column = (skipped - row * columns).to(tl.int32) + lane
            down = tl.umulhi(column * 4, ((1 << 30) + width - 1) // width)  # column // width
            pair = begin + lane
            write_pairs(
                a_ptr, b_ptr, values_ptr, pair, a_first + row + down, b_first + (column - down * width), pair < stop,
                pair < max_pairs, DISTANCE, APPROXIMATE, COMPUTE,
            )  # fmt: skip
        else:
            last = last_not_above(pair_offsets_ptr, begin + BLOCK - 1, first, videos - first)
            for part in range(0, BLOCK, PART):  # few lanes at a time, for the sake of registers
                each = begin + part + tl.arange(0, PART)
                there = each < stop
                video = first + tl.zeros((PART,), tl.int64)
                video = last_not_above(pair_offsets_ptr, each, video, last - first + 1)
                a_begin, _rows = rows_of(a_video_offsets_ptr, video, a_count, there)
                b_begin, widths = rows_of(b_video_offsets_ptr, video, b_count, there)
                local = each - tl.load(pair_offsets_ptr + video, mask=there, other=0)
                down_64 = local // tl.maximum(widths, 1)
                write_pairs(
                    a_ptr, b_ptr, values_ptr, each, a_begin + down_64, b_begin + (local - down_64 * widths), there,
                    each < max_pairs, DISTANCE, APPROXIMATE, COMPUTE,
                )  # fmt: skip
        begin += BLOCK


@triton.jit(do_not_specialize=["videos", "mine_count", "other_count", "max_pairs"])
def segment_iou_ragged_bwd_kernel(
    grad_ptr,
    mine_ptr,
    other_ptr,
    mine_video_offsets_ptr,
    other_video_offsets_ptr,
    pair_offsets_ptr,
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
    """Write the gradient of BLOCK_N segments, rows of their videos' matrices or else columns, over all their pairs."""
    n = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    there = n < mine_count
    none = tl.zeros((BLOCK_N,), tl.int64)
    video = last_not_above(mine_video_offsets_ptr, n, none, tl.zeros((), tl.int64) + videos)
    mine_first, own = rows_of(mine_video_offsets_ptr, video, mine_count, there)
    other_first, others = rows_of(other_video_offsets_ptr, video, other_count, there)
    place = n - mine_first
    others = tl.where((place >= 0) & (place < own), others, 0)
    pair = tl.load(pair_offsets_ptr + video, mask=there, other=0)
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


def segment_iou_ragged(given: Operands) -> Outputs:
    """Launch once for where each video's pairs begin and once for the pairs."""
    found = given.outputs()
    a_video_offsets, b_video_offsets = given.a_video_offsets.contiguous(), given.b_video_offsets.contiguous()
    sizes = {"videos": given.videos, "a_count": given.a.shape[0], "b_count": given.b.shape[0]}
    with _launch.on_device_of(given.a):
        _launch.launch(
            segment_iou_ragged_offsets_kernel,
            (1,),
            a_video_offsets,
            b_video_offsets,
            found.pair_offsets,
            **sizes,
            BLOCK=BLOCK_VIDEOS,
            num_warps=4,
        )
        if given.max_pairs > 0:
            blocks = _launch.cdiv(given.max_pairs, BLOCK_PAIRS)
            steps = _launch.cdiv(blocks, PROGRAMS)
            _launch.launch(
                segment_iou_ragged_fwd_kernel,
                (_launch.cdiv(blocks, steps),),
                given.a.contiguous(),
                given.b.contiguous(),
                a_video_offsets,
                b_video_offsets,
                found.pair_offsets,
                found.values,
                **sizes,
                max_pairs=given.max_pairs,
                steps=steps,
                DISTANCE=given.distance,
                APPROXIMATE=can_approximate(found.values.dtype),
                COMPUTE=_launch.triton_type(found.values.dtype),
                BLOCK=BLOCK_PAIRS,
                PART=PART,
                **_launch.FUSED,
            )
    return found


def segment_iou_ragged_backward(given: BackwardOperands) -> BackwardOutputs:
    """Launch once for each gradient."""
    found = given.outputs()
    with _launch.on_device_of(given.a):
        given = given._replace(
            grad=given.grad.contiguous(),
            a=given.a.contiguous(),
            b=given.b.contiguous(),
            a_video_offsets=given.a_video_offsets.contiguous(),
            b_video_offsets=given.b_video_offsets.contiguous(),
            pair_offsets=given.pair_offsets.contiguous(),
        )
        _gradient(given, found.grad_a, of_a=True)
        _gradient(given, found.grad_b, of_a=False)
    return found


def _gradient(given: BackwardOperands, out: Tensor, *, of_a: bool) -> None:
    """Write the gradient of one side; a is the rows of the matrices of pairs, b their columns."""
    dtype, videos, max_pairs = given.forward.dtype, given.forward.videos, given.grad.shape[0]
    mine, other = (given.a, given.b) if of_a else (given.b, given.a)
    block_n, block_m = BLOCK_A if of_a else BLOCK_B
    if min(videos, len(other), max_pairs) == 0:
        out.zero_()
    elif len(mine) > 0:
        _launch.launch(
            segment_iou_ragged_bwd_kernel,
            (_launch.cdiv(len(mine), block_n),),
            given.grad,
            mine,
            other,
            mine_video_offsets_ptr=given.a_video_offsets if of_a else given.b_video_offsets,
            other_video_offsets_ptr=given.b_video_offsets if of_a else given.a_video_offsets,
            pair_offsets_ptr=given.pair_offsets,
            grad_mine_ptr=out,
            videos=videos,
            mine_count=len(mine),
            other_count=len(other),
            max_pairs=max_pairs,
            OF_ROWS=of_a,
            DISTANCE=given.distance,
            COMPUTE=_launch.triton_type(dtype),
            BLOCK_N=block_n,
            BLOCK_M=block_m // (2 if dtype == torch.float64 else 1),
            **_launch.FUSED,
        )
