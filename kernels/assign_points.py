# SPDX-License-Identifier: Apache-2.0
"""Assignment of pyramid points to ground truth: a whole ragged batch in one launch.

A program owns some points of one video and walks over the video's segments for the shortest that claims each point and
the shortest beside it; a second time, for their classes, where the two tie. Blocks of segments that cannot claim any of
the program's points are passed over. Contraction to fused multiply-adds is off, so that points that
lie on a boundary are decided as in the reference. The classes are scattered over zeros that the same program wrote, one
barrier before; on AMD, where that barrier does not order global writes, the zeros come from a fill. Tested under
Triton's interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from . import _launch

if TYPE_CHECKING:
    from asl_fast.reference.assign_points import Operands, Outputs

BLOCK_POINTS, BLOCK_SEGMENTS, BLOCK_ZEROS = 64, 32, 1024


@triton.jit
def reach_of(stride, RADIUS: tl.constexpr):
    """Return how far from an instance's centre its points may lie.

    The maximum changes nothing; it keeps the product from being contracted with what is added to it, which would round
    in another way than the reference.
    """
    if RADIUS is None:
        return stride
    else:  # Triton before 3.7 takes two returns in no other form
        return tl.maximum(stride * RADIUS, 0.0)


@triton.jit
def widest(usable, time, low, high):
    """Return what the points that are used have in common: first and last time, least and greatest distance."""
    first = tl.min(tl.where(usable, time, float("inf")), 0)
    last = tl.max(tl.where(usable, time, -float("inf")), 0)
    least = tl.min(tl.where(usable, low, float("inf")), 0)
    greatest = tl.max(tl.where(usable, high, -float("inf")), 0)
    return first, last, least, greatest


@triton.jit
def load_segments(segments_ptr, index, count, COMPUTE: tl.constexpr):
    """Load starts and ends; NaN, which claims nothing, beyond the last."""
    there = index < count
    start = tl.load(segments_ptr + index * 2, mask=there, other=float("nan")).to(COMPUTE)
    end = tl.load(segments_ptr + index * 2 + 1, mask=there, other=float("nan")).to(COMPUTE)
    return start, end


@triton.jit
def some_may_claim(start, end, first, last, least, greatest):
    """Tell whether any of some segments can claim a point of those that :func:`widest` describes.

    A claim lies strictly inside of its segment, and the larger distance to the boundaries is at least half of its
    length and at most its length; both come from one subtraction each, whose rounding is far below the margin.
    """
    length = end - start
    possible = (start < last) & (end > first) & (0.5 * length <= greatest * 1.00001 + 1e-30)
    return tl.max((possible & (length * 1.00001 + 1e-30 >= least)).to(tl.int32), 0) > 0


@triton.jit
def claimed_length(time, low, high, reach, start, end, RADIUS: tl.constexpr):
    """Return the length of the segment where it claims the point, infinity elsewhere; the arguments broadcast."""
    if RADIUS is None:
        inside = (time > start) & (end > time)
    else:
        centre = 0.5 * (start + end)
        inside = (time > tl.maximum(centre - reach, start)) & (tl.minimum(centre + reach, end) > time)
    far = tl.maximum(time - start, end - time)
    return tl.where(inside & (far >= low) & (far <= high), end - start, float("inf"))


@triton.jit
def claimed_lengths(
    time, low, high, reach, segments_ptr, index, count, RADIUS: tl.constexpr, COMPUTE: tl.constexpr
):  # fmt: skip
    """Return :func:`claimed_length` of some segments and points (segments, points).

    Segments come first: their minimum for a point is then taken within few threads. They are loaded here, whoever has
    loaded them before: each thread has some of its own, and not each lane one.
    """
    start, end = load_segments(segments_ptr, index[:, None], count, COMPUTE)
    return claimed_length(time[None, :], low[None, :], high[None, :], reach[None, :], start, end, RADIUS)


@triton.jit
def shortest_claim(
    time, low, high, reach, usable, segments_ptr, count, RADIUS: tl.constexpr, COMPUTE: tl.constexpr,
    BLOCK_POINTS: tl.constexpr, BLOCK_SEGMENTS: tl.constexpr,
):  # fmt: skip
    """Find the first shortest segment that claims a point.

    Returns, each (points,), its length and number, and the length of the shortest beside it; infinity, -1 and infinity
    where there is none, and where the point is not ``usable``.
    """
    shortest = tl.full((BLOCK_POINTS,), float("inf"), COMPUTE)
    second = shortest
    chosen = tl.full((BLOCK_POINTS,), -1, tl.int32)
    usable = usable & (low <= high) & (time == time)
    begin, stop, least, greatest = widest(usable, time, low, high)
    here = tl.arange(0, BLOCK_SEGMENTS)
    coming_start, coming_end = load_segments(segments_ptr, here, count, COMPUTE)
    for g in range(0, count, BLOCK_SEGMENTS):
        start, end = coming_start, coming_end
        # On their way meanwhile.
        coming_start, coming_end = load_segments(segments_ptr, g + BLOCK_SEGMENTS + here, count, COMPUTE)
        if some_may_claim(start, end, begin, stop, least, greatest):
            length = claimed_lengths(time, low, high, reach, segments_ptr, g + here, count, RADIUS, COMPUTE)
            best, at = tl.min(length, 0, return_indices=True)  # the first of equal ones
            others = tl.arange(0, BLOCK_SEGMENTS)[:, None] != at[None, :]
            rest = tl.min(tl.where(others, length, float("inf")), 0)
            better = best < shortest  # the first of equal ones stays
            second = tl.minimum(tl.minimum(second, rest), tl.where(better, shortest, best))
            chosen = tl.where(better, g + at, chosen)
            shortest = tl.where(better, best, shortest)
    chosen = tl.where(usable, chosen, -1)
    return tl.where(usable, shortest, float("inf")), chosen, tl.where(usable, second, float("inf"))


@triton.jit(do_not_specialize=["num_points", "num_classes"])
def assign_points_kernel(
    points_ptr,
    segments_ptr,
    labels_ptr,
    video_offsets_ptr,
    class_targets_ptr,
    offsets_ptr,
    instance_ptr,
    distance_ptr,
    num_points,
    num_classes,
    RADIUS: tl.constexpr,
    TOLERANCE: tl.constexpr,
    FILL: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_POINTS: tl.constexpr,
    BLOCK_SEGMENTS: tl.constexpr,
    BLOCK_ZEROS: tl.constexpr,
):
    """Assign BLOCK_POINTS points of one video in each program."""
    blocks = tl.cdiv(num_points, BLOCK_POINTS)
    video = (tl.program_id(0) // blocks).to(tl.int64)
    start_point = (tl.program_id(0) % blocks) * BLOCK_POINTS
    point = start_point + tl.arange(0, BLOCK_POINTS).to(tl.int64)
    inside = point < num_points
    out = video * num_points + point
    if FILL:
        base = (video * num_points + start_point) * num_classes
        size = tl.minimum(num_points - start_point, BLOCK_POINTS) * num_classes
        zeros = tl.zeros((BLOCK_ZEROS,), COMPUTE)
        for at in range(0, size, BLOCK_ZEROS):
            lane = at + tl.arange(0, BLOCK_ZEROS)
            tl.store(class_targets_ptr + base + lane, zeros, mask=lane < size)

    time = tl.load(points_ptr + point * 4, mask=inside, other=0.0).to(COMPUTE)
    low = tl.load(points_ptr + point * 4 + 1, mask=inside, other=1.0).to(COMPUTE)
    high = tl.load(points_ptr + point * 4 + 2, mask=inside, other=0.0).to(COMPUTE)
    stride = tl.load(points_ptr + point * 4 + 3, mask=inside, other=1.0).to(COMPUTE)
    first = tl.load(video_offsets_ptr + video)
    count = (tl.load(video_offsets_ptr + video + 1) - first).to(tl.int32)
    segments_ptr += first * 2
    labels_ptr += first

    reach = reach_of(stride, RADIUS)
    shortest, chosen, second = shortest_claim(
        time, low, high, reach, inside, segments_ptr, count, RADIUS, COMPUTE, BLOCK_POINTS, BLOCK_SEGMENTS
    )
    positive = chosen >= 0
    own = tl.where(positive, chosen, 0)
    start = tl.load(segments_ptr + own * 2, mask=positive, other=0.0).to(COMPUTE)
    end = tl.load(segments_ptr + own * 2 + 1, mask=positive, other=1.0).to(COMPUTE)
    tl.store(instance_ptr + out, tl.where(positive, first + chosen, -1), mask=inside)
    tl.store(distance_ptr + out, tl.where(positive, (time - 0.5 * (start + end)) / (end - start), 0.0), mask=inside)
    tl.store(offsets_ptr + out * 2, tl.where(positive, (time - start) / stride, 0.0), mask=inside)
    tl.store(offsets_ptr + out * 2 + 1, tl.where(positive, (end - time) / stride, 0.0), mask=inside)

    if FILL:
        tl.debug_barrier()
    own_label = tl.load(labels_ptr + own, mask=positive, other=-1)
    known = (own_label >= 0) & (own_label < num_classes)  # labels are not checked on a GPU
    tl.store(class_targets_ptr + out * num_classes + own_label, tl.full((BLOCK_POINTS,), 1.0, COMPUTE), mask=known)

    # Others that tie with the chosen one; mostly there are none, and no second walk.
    limit = tl.where(positive, shortest + TOLERANCE, -float("inf"))
    tie = (second <= limit) & (second < float("inf"))
    begin, stop, least, greatest = widest(tie, time, low, high)
    one = tl.full((BLOCK_SEGMENTS, BLOCK_POINTS), 1.0, COMPUTE)
    for g in range(0, tl.where(tl.max(tie.to(tl.int32), 0) > 0, count, 0), BLOCK_SEGMENTS):
        index = g + tl.arange(0, BLOCK_SEGMENTS)
        starts, ends = load_segments(segments_ptr, index, count, COMPUTE)
        if some_may_claim(starts, ends, begin, stop, least, greatest):
            length = claimed_lengths(time, low, high, reach, segments_ptr, index, count, RADIUS, COMPUTE)
            tied = (length <= limit[None, :]) & (length < float("inf"))
            label = tl.load(labels_ptr + index, mask=index < count, other=-1)
            of_a_class = ((label >= 0) & (label < num_classes))[:, None]
            tl.store(class_targets_ptr + out[None, :] * num_classes + label[:, None], one, mask=tied & of_a_class)


def assign_points(given: Operands) -> Outputs:
    """Assign in one launch; on AMD after a fill."""
    found = given.outputs()
    dtype, num_points, fill = found.distance.dtype, given.num_points, not _launch.is_hip()
    if not found.instance.numel():
        return found
    if not fill:
        found.class_targets.zero_()
    radius = given.center_sampling_radius
    with _launch.on_device_of(given.points):
        _launch.launch(
            assign_points_kernel,
            (_launch.cdiv(num_points, BLOCK_POINTS) * given.num_videos,),
            given.points.contiguous(),
            given.segments.contiguous(),
            given.labels.contiguous(),
            given.video_offsets.contiguous(),
            found.class_targets,
            found.offsets,
            found.instance,
            found.distance,
            num_points,
            given.num_classes,
            RADIUS=None if radius is None else float(radius),
            TOLERANCE=float(given.tie_tolerance),
            FILL=fill,
            COMPUTE=_launch.triton_type(dtype),
            BLOCK_POINTS=BLOCK_POINTS,
            BLOCK_SEGMENTS=BLOCK_SEGMENTS,
            BLOCK_ZEROS=BLOCK_ZEROS,
            num_warps=8 if dtype == torch.float64 else 4,  # 4 would spill
            enable_fp_fusion=False,
        )
    return found
