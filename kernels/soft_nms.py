# SPDX-License-Identifier: Apache-2.0
"""Temporal soft-NMS over many videos in one launch, and another for voting.

A program treats one video after the other. The candidates of a video lie by falling score, in chunks; scores only fall,
so the best score that a chunk was last known to hold bounds what it holds now. The chunk with the best bound is brought
up to date against the video's later selections, until the best one is up to date and its best candidate is selected.
Decays are applied in the order of selection, with divisions rounded to nearest and without fused multiply-adds, so the
bits are those of the sequential algorithm. Between its steps a program exchanges scores through global memory, which
Triton's barrier orders on NVIDIA's GPUs only. Tested under Triton's interpreter and compiled for sm_80, sm_90 and
gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _launch
from .soft_nms_order import Ordered, ordered

if TYPE_CHECKING:
    from asl_fast.reference.soft_nms import Operands, Outputs

CHUNK, BLOCK_CHUNKS, BLOCK_VOTES = 128, 256, 256
MOST_PROGRAMS = 2048  # only the device knows the number of rows, and mostly that of videos


@triton.jit
def key_of(score, row, min_score):
    """Pack (score, lower row first) into an integer; 0 below min_score and for NaN."""
    bits = (score + 0.0).to(tl.int32, bitcast=True).to(tl.int64)
    return tl.where(score >= min_score, (bits << 32) | (0xFFFFFFFF - row), 0)


@triton.jit
def overlap(start, end, other_start, other_end):
    """Return the length that two segments share; 0 for those that are reversed, without length or NaN."""
    shares = (end > start) & (other_end > other_start) & (start < other_end) & (end > other_start)
    inter = tl.where(end < other_end, end, other_end) - tl.where(start > other_start, start, other_start)
    return tl.where(shares, inter, 0.0)


@triton.jit
def decayed(score, start, end, other_start, other_end, sigma, iou_threshold, min_score, METHOD: tl.constexpr):
    """Return the scores after a selected segment; -1 once suppressed or below min_score."""
    inter = overlap(start, end, other_start, other_end)
    area, other_area = (end - start) + 1e-6, (other_end - other_start) + 1e-6
    touches = inter > 0
    iou = tl.div_rn(tl.where(touches, inter, 0.0), tl.where(touches, (other_area + area) - inter, 1.0))
    if METHOD == "hard":
        after = tl.where(iou >= iou_threshold, -1.0, score)
    elif METHOD == "linear":
        after = tl.where(iou >= iou_threshold, score * (1.0 - iou), score)
    else:
        exponent = tl.div_rn(-(iou * iou), tl.zeros_like(iou) + sigma)
        # In float64 and rounded once, as in every implementation.
        after = score * tl.exp(exponent.to(tl.float64)).to(tl.float32)
    return tl.where(touches, tl.where(after >= min_score, after, -1.0), score)


@triton.jit
def other_class(own, labels_ptr, position, HAS_LABELS: tl.constexpr):
    """Return whether the classes ``own`` differ from that of the candidate at ``position``; never without labels."""
    other = 0
    if HAS_LABELS:
        other = tl.load(labels_ptr + position)
    return own != other


# Sizes are not compiled in: one kernel for any input.
@triton.jit(do_not_specialize=["videos", "count", "max_segments"])
def soft_nms_select_kernel(
    segments_ptr,
    scores_ptr,
    labels_ptr,
    rows_ptr,
    starts_ptr,
    current_ptr,
    best_ptr,
    seen_ptr,
    positions_ptr,
    decayed_ptr,
    counts_ptr,
    videos,
    count,
    max_segments,
    sigma,
    iou_threshold,
    min_score,
    METHOD: tl.constexpr,
    HAS_LABELS: tl.constexpr,
    KEEP_BEST: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK_CHUNKS: tl.constexpr,
):
    """Select in every tl.num_programs(0)-th video, whose candidates are first, ..., first + size - 1."""
    video = tl.program_id(0).to(tl.int64)
    first = tl.load(starts_ptr + video)
    lane = tl.arange(0, CHUNK).to(tl.int64)
    tile = tl.arange(0, BLOCK_CHUNKS).to(tl.int64)
    while (video < videos) & (first < count):
        size = tl.load(starts_ptr + video + 1) - first
        chunks = (size + CHUNK - 1) // CHUNK
        limit = tl.where(max_segments > 0, tl.minimum(size, max_segments), size)
        for c in range(0, chunks, BLOCK_CHUNKS):
            there = c + tile < chunks
            head = first + (c + tile) * CHUNK  # the best of its chunk
            score = tl.load(scores_ptr + head, mask=there, other=-1.0)
            row = tl.load(rows_ptr + head, mask=there, other=0)
            tl.store(best_ptr + first + c + tile, key_of(score, row, min_score), mask=there)
            tl.store(seen_ptr + first + c + tile, tl.full((BLOCK_CHUNKS,), -1, tl.int32), mask=there)
        tl.debug_barrier()

        kept = limit * 0
        going = limit > 0
        while going:
            top = limit * 0
            chunk = limit * 0
            for c in range(0, chunks, BLOCK_CHUNKS):
                keys = tl.load(best_ptr + first + c + tile, mask=c + tile < chunks, other=0)
                best = tl.max(keys, 0)
                where = tl.max(tl.where(keys == best, c + tile, 0), 0)
                chunk = tl.where(best > top, where, chunk)
                top = tl.maximum(best, top)
            seen = tl.load(seen_ptr + first + chunk)
            at = chunk * CHUNK + lane
            inside = at < size
            position = first + at
            row = tl.load(rows_ptr + position, mask=inside, other=0)
            known = inside & (seen >= 0)
            score = tl.load(scores_ptr + position, mask=inside & (seen < 0), other=-1.0)
            score = tl.where(known, tl.load(current_ptr + position, mask=known, other=-1.0), score)
            score = tl.where(score >= min_score, score, -1.0)
            fresh = seen == kept
            if fresh & (top > 0):
                chosen = inside & (key_of(score, row, min_score) == top)
                place = positions_ptr + first + kept + lane * 0
                tl.store(place, position.to(tl.int32), mask=chosen)
                tl.store(decayed_ptr + first + kept + lane * 0, score, mask=chosen)
                score = tl.where(chosen, -1.0, score)
                kept += 1
            elif top > 0:
                start = tl.load(segments_ptr + position * 2, mask=inside, other=0.0)
                end = tl.load(segments_ptr + position * 2 + 1, mask=inside, other=0.0)
                for k in range(tl.maximum(seen, 0), kept):
                    # The same in all lanes: the interpreter cannot combine comparisons of scalars.
                    selected = tl.load(positions_ptr + first + k + lane * 0).to(tl.int64)
                    other_start = tl.load(segments_ptr + selected * 2)
                    other_end = tl.load(segments_ptr + selected * 2 + 1)
                    after = decayed(
                        score, start, end, other_start, other_end, sigma, iou_threshold, min_score, METHOD
                    )  # fmt: skip
                    if HAS_LABELS:
                        own = tl.load(labels_ptr + position, mask=inside, other=0)
                        after = tl.where(own == tl.load(labels_ptr + selected), after, score)
                    score = tl.where(score >= 0, after, score)
            tl.debug_barrier()  # all threads have read what is overwritten now
            tl.store(seen_ptr + first + chunk, tl.where(fresh, seen, kept.to(tl.int32)))
            tl.store(current_ptr + position, score, mask=inside & (top > 0))
            keys = tl.where(inside, key_of(score, row, min_score), 0)
            tl.store(best_ptr + first + chunk, tl.max(keys, 0))
            tl.debug_barrier()
            going = (top > 0) & (kept < limit)

        if KEEP_BEST:
            # The best of every class that has none at min_score or above.
            scanned = size if HAS_LABELS else tl.where(kept == 0, size, 0)
            for t in range(0, scanned, CHUNK):
                at = t + lane
                position = first + at
                remains = tl.load(scores_ptr + position, mask=at < size, other=float("nan")) < min_score
                own = lane * 0
                if HAS_LABELS:
                    own = tl.load(labels_ptr + position, mask=remains, other=0)
                found = tl.max(remains.to(tl.int32), 0) > 0
                for k in range(0, tl.where(found, kept, 0)):
                    selected = tl.load(positions_ptr + first + k).to(tl.int64)
                    remains = remains & other_class(own, labels_ptr, selected, HAS_LABELS)
                while (tl.max(remains.to(tl.int32), 0) > 0) & (kept < limit):
                    chosen = tl.min(tl.where(remains, position, count), 0)
                    tl.store(positions_ptr + first + kept, chosen.to(tl.int32))
                    tl.store(decayed_ptr + first + kept, tl.load(scores_ptr + chosen))
                    remains = remains & other_class(own, labels_ptr, chosen, HAS_LABELS)
                    kept += 1
                tl.debug_barrier()
        tl.store(counts_ptr + video, kept)
        video += tl.num_programs(0)
        first = tl.load(starts_ptr + tl.minimum(video, videos))


@triton.jit
def soft_nms_vote_kernel(
    segments_ptr,
    scores_ptr,
    labels_ptr,
    starts_ptr,
    videos_ptr,
    chosen_ptr,
    total_ptr,
    moved_ptr,
    threshold,
    HAS_LABELS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Move every tl.num_programs(0)-th row to the mean of what overlaps it, weighted by score * IoU."""
    total = tl.load(total_ptr)
    lane = tl.arange(0, BLOCK).to(tl.int64)
    for row in range(tl.program_id(0), total, tl.num_programs(0)):
        video = tl.load(videos_ptr + row)
        chosen = tl.load(chosen_ptr + row + lane * 0)  # the same in all lanes
        start = tl.load(segments_ptr + chosen * 2)
        end = tl.load(segments_ptr + chosen * 2 + 1)
        weights = tl.zeros((BLOCK,), tl.float64)
        starts = tl.zeros((BLOCK,), tl.float64)
        ends = tl.zeros((BLOCK,), tl.float64)
        last = tl.load(starts_ptr + video + 1)
        for at in range(tl.load(starts_ptr + video), last, BLOCK):
            position = at + lane
            there = position < last
            other_start = tl.load(segments_ptr + position * 2, mask=there, other=0.0)
            other_end = tl.load(segments_ptr + position * 2 + 1, mask=there, other=0.0)
            score = tl.load(scores_ptr + position, mask=there, other=0.0)
            inter = overlap(start, end, other_start, other_end)
            touches = (inter > 0) & (score > 0)
            if HAS_LABELS:
                own = tl.load(labels_ptr + position, mask=there, other=0)
                touches = touches & (own == tl.load(labels_ptr + chosen))
            union = tl.where(touches, ((end - start) + (other_end - other_start)) - inter, 1.0)
            iou = tl.div_rn(tl.where(touches, inter, 0.0), union)
            weight = tl.where(touches & (iou >= threshold), score * iou, 0.0).to(tl.float64)
            weights += weight
            starts += tl.where(touches, weight * other_start, 0.0)
            ends += tl.where(touches, weight * other_end, 0.0)
        total_weight = tl.sum(weights, 0)
        if total_weight > 0:
            tl.store(moved_ptr + row * 2, (tl.sum(starts, 0) / total_weight).to(tl.float32))
            tl.store(moved_ptr + row * 2 + 1, (tl.sum(ends, 0) / total_weight).to(tl.float32))


def soft_nms(given: Operands) -> Outputs:
    """Sort by (video, score), select with a program per video, and gather the padded result."""
    found = given.outputs()
    device, count = given.scores.device, given.scores.shape[0]
    if count == 0:
        found.num_kept.zero_()
        return found
    with _launch.on_device_of(given.scores):
        candidates = ordered(given)
        videos = len(candidates.starts) - 1
        positions = _launch.empty((count,), torch.int32, device)
        decayed_scores = _launch.empty((count,), torch.float32, device)
        counts = _launch.empty((videos,), torch.int64, device).zero_()  # fewer videos than places, mostly
        _launch.launch(
            soft_nms_select_kernel,
            (min(videos, MOST_PROGRAMS),),
            candidates.segments,
            candidates.scores,
            candidates.labels,
            candidates.rows,
            candidates.starts,
            _launch.empty((count,), torch.float32, device),
            _launch.empty((count,), torch.int64, device),
            _launch.empty((count,), torch.int32, device),
            positions,
            decayed_scores,
            counts,
            videos,
            count,
            given.max_segments,
            given.sigma,
            given.iou_threshold,
            given.min_score,
            METHOD=given.method,
            HAS_LABELS=given.labels is not None,
            KEEP_BEST=given.keep_best,
            CHUNK=CHUNK,
            BLOCK_CHUNKS=BLOCK_CHUNKS,
            num_warps=4,
            enable_fp_fusion=False,
        )
        _collect(given, candidates, positions, decayed_scores, counts, found)
    return found


def _collect(
    given: Operands,
    candidates: Ordered,
    positions: Tensor,
    decayed_scores: Tensor,
    counts: Tensor,
    found: Outputs,
) -> None:
    """Write the padded result of what was selected."""
    ends = counts.cumsum(0)
    found.num_kept.copy_(ends[-1])
    rows = found.indices.shape[0]
    row = torch.arange(rows, device=counts.device)
    there = row < found.num_kept
    video = torch.searchsorted(ends, row, right=True).clamp(max=len(counts) - 1)
    place = torch.where(there, candidates.starts[video] + row - (ends - counts)[video], 0)
    chosen = torch.where(there, positions[place].long(), 0)
    found.segments.copy_(torch.where(there[:, None], candidates.segments[chosen], 0.0))
    if given.voting_threshold > 0:
        _launch.launch(
            soft_nms_vote_kernel,
            (min(rows, MOST_PROGRAMS),),
            candidates.segments,
            candidates.scores,
            candidates.labels,
            candidates.starts,
            video,
            chosen,
            found.num_kept,
            found.segments,
            given.voting_threshold,
            HAS_LABELS=candidates.labels is not None,
            BLOCK=BLOCK_VOTES,
            num_warps=4,
            enable_fp_fusion=False,
        )
    found.indices.copy_(torch.where(there, candidates.rows[chosen], -1))
    found.scores.copy_(torch.where(there, decayed_scores[place], 0.0))
