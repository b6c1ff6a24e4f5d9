# SPDX-License-Identifier: Apache-2.0
"""Assignment of pyramid points to ground truth: a whole ragged batch in one launch.

A program owns some points of one video and walks over the video's segments twice: first for the shortest that claims
each point, then for the classes of all that tie with it. Contraction to fused multiply-adds is off, so that points that
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
def claimed_lengths(
    time, low, high, stride, segments_ptr, index, last, RADIUS: tl.constexpr, COMPUTE: tl.constexpr
):  # fmt: skip
    """Return (points, segments), the length of the segment where it claims the point, infinity elsewhere."""
    there = index < last
    start = tl.load(segments_ptr + index * 2, mask=there, other=0.0).to(COMPUTE)[None, :]
    end = tl.load(segments_ptr + index * 2 + 1, mask=there, other=0.0).to(COMPUTE)[None, :]
    left = time[:, None] - start
    right = end - time[:, None]
    if RADIUS is None:
        inside = (left > 0) & (right > 0)
    else:
        centre = 0.5 * (start + end)
        reach = stride[:, None] * RADIUS
        inside = (time[:, None] - tl.maximum(centre - reach, start) > 0) & (
            tl.minimum(centre + reach, end) - time[:, None] > 0
        )
    far = tl.maximum(left, right)
    claims = inside & (far >= low[:, None]) & (far <= high[:, None]) & there[None, :]
    return tl.where(claims, end - start, float("inf"))


@triton.jit
def shortest_claim(
    time, low, high, stride, segments_ptr, first, last, RADIUS: tl.constexpr, COMPUTE: tl.constexpr,
    BLOCK_POINTS: tl.constexpr, BLOCK_SEGMENTS: tl.constexpr,
):  # fmt: skip
    """Return length and row (points,) of the first shortest segment that claims a point; infinity and -1 if none."""
    shortest = tl.full((BLOCK_POINTS,), float("inf"), COMPUTE)
    chosen = tl.full((BLOCK_POINTS,), -1, tl.int64)
    for g in range(first, last, BLOCK_SEGMENTS):
        index = g + tl.arange(0, BLOCK_SEGMENTS)
        length = claimed_lengths(time, low, high, stride, segments_ptr, index, last, RADIUS, COMPUTE)
        best = tl.min(length, 1)
        earliest = tl.min(tl.where(length == best[:, None], index[None, :], last), 1)
        better = best < shortest  # the first of equal ones stays
        chosen = tl.where(better, earliest, chosen)
        shortest = tl.where(better, best, shortest)
    return shortest, chosen


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
    last = tl.load(video_offsets_ptr + video + 1)

    shortest, chosen = shortest_claim(
        time, low, high, stride, segments_ptr, first, last, RADIUS, COMPUTE, BLOCK_POINTS, BLOCK_SEGMENTS
    )
    positive = chosen >= 0
    own = tl.where(positive, chosen, 0)
    start = tl.load(segments_ptr + own * 2, mask=positive, other=0.0).to(COMPUTE)
    end = tl.load(segments_ptr + own * 2 + 1, mask=positive, other=1.0).to(COMPUTE)
    tl.store(instance_ptr + out, chosen, mask=inside)
    tl.store(distance_ptr + out, tl.where(positive, (time - 0.5 * (start + end)) / (end - start), 0.0), mask=inside)
    tl.store(offsets_ptr + out * 2, tl.where(positive, (time - start) / stride, 0.0), mask=inside)
    tl.store(offsets_ptr + out * 2 + 1, tl.where(positive, (end - time) / stride, 0.0), mask=inside)

    if FILL:
        tl.debug_barrier()
    limit = tl.where(positive, shortest + TOLERANCE, -float("inf"))
    one = tl.full((BLOCK_POINTS, BLOCK_SEGMENTS), 1.0, COMPUTE)
    for g in range(first, last, BLOCK_SEGMENTS):
        index = g + tl.arange(0, BLOCK_SEGMENTS)
        length = claimed_lengths(time, low, high, stride, segments_ptr, index, last, RADIUS, COMPUTE)
        tied = (length <= limit[:, None]) & (length < float("inf"))
        label = tl.load(labels_ptr + index, mask=index < last, other=0)
        known = ((label >= 0) & (label < num_classes))[None, :]  # labels are not checked on a GPU
        tl.store(class_targets_ptr + out[:, None] * num_classes + label[None, :], one, mask=tied & known)


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
            (triton.cdiv(num_points, BLOCK_POINTS) * given.num_videos,),
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
