# SPDX-License-Identifier: Apache-2.0
"""Frames an instance looks at, and how they enter its vectors; also in csrc/common/contrastive_similarity.h.

A row of ``ranges`` (G, 12) holds first and last frame (both included; 0 and -1 for none) of the ranges around the
argmax of p_cls, p_start, p_end and of the background before and after, then video and state: 0 takes no part, 1 has
no background, 2 has one.
"""

import triton
import triton.language as tl


@triton.jit
def store_range(ptr, first, last, valid):
    """Return both ends of a range; 0 and -1 where it is empty or of no valid instance."""
    some = valid & (first <= last)
    first = tl.where(some, first, 0.0).to(tl.int32)
    last = tl.where(some, last, -1.0).to(tl.int32)
    tl.store(ptr, first)
    tl.store(ptr + 1, last)
    return first, last


@triton.jit
def instance_frames(
    segments_ptr, labels_ptr, mu_ptr, ranges_ptr, g, video, last_frame, DELTA: tl.constexpr, COMPUTE: tl.constexpr
):
    """Store the row of instance ``g`` and return first and last frame of all its ranges.

    A Gaussian over the frames of an instance is largest at the frame nearest to its mean; the earlier one on a tie.
    """
    start = tl.load(segments_ptr + 2 * g).to(COMPUTE)
    end = tl.load(segments_ptr + 2 * g + 1).to(COMPUTE)
    label = tl.load(labels_ptr + g)
    row = ranges_ptr + g * 12
    last = last_frame.to(COMPUTE)
    bound = tl.maximum(last, 0.0)
    centre = (start + end) / 2
    length = end - start
    reach = length * DELTA
    valid = (end > -0.5) & (start < last + 0.5) & (length > 0) & (last >= 0)
    inside_first = tl.ceil(start)
    inside_last = tl.floor(end)
    between = inside_first > inside_last
    nearest = tl.ceil(centre - 0.5)
    inside_first = tl.minimum(tl.maximum(tl.where(between, nearest, inside_first), 0.0), bound)
    inside_last = tl.minimum(tl.maximum(tl.where(between, nearest, inside_last), 0.0), bound)
    hull_first = (bound + 1).to(tl.int32)
    hull_last = tl.full((), -1, tl.int32)
    for kind in tl.static_range(3):
        peak = tl.ceil((centre + tl.load(mu_ptr + label * 3 + kind).to(COMPUTE) * length) - 0.5)
        peak = tl.minimum(tl.maximum(peak, inside_first), inside_last)
        first = tl.maximum(tl.ceil(peak - reach), inside_first)
        first, final = store_range(row + 2 * kind, first, tl.minimum(tl.floor(peak + reach), inside_last), valid)
        hull_first = tl.where(first <= final, tl.minimum(hull_first, first), hull_first)
        hull_last = tl.maximum(hull_last, final)
    first = tl.maximum(tl.ceil(start - reach), 0.0)
    first, final = store_range(row + 6, first, tl.minimum(tl.floor(start), last), valid)
    some = first <= final
    hull_first = tl.where(some, tl.minimum(hull_first, first), hull_first)
    hull_last = tl.maximum(hull_last, final)
    first, final = store_range(row + 8, tl.maximum(tl.ceil(end), 0.0), tl.minimum(tl.floor(end + reach), last), valid)
    some = some | (first <= final)
    hull_first = tl.where(first <= final, tl.minimum(hull_first, first), hull_first)
    hull_last = tl.maximum(hull_last, final)
    tl.store(row + 10, video.to(tl.int32))
    tl.store(row + 11, tl.where(valid, 1 + some.to(tl.int32), 0))
    return hull_first, hull_last


@triton.jit
def load_range(row):
    """Return both ends, and how many frames."""
    first = tl.load(row)
    last = tl.load(row + 1)
    return first, last, tl.maximum(last - first + 1, 0)


@triton.jit
def share_of(within, size, COMPUTE: tl.constexpr):
    """Return 1 / size where ``within``, else 0."""
    return tl.where(within, 1.0 / tl.maximum(size, 1).to(COMPUTE), 0.0)


@triton.jit
def union_of(row, t):
    """Return whether ``t`` lies in one of two ranges, and how many frames do."""
    first_a, last_a, size_a = load_range(row)
    first_b, last_b, size_b = load_range(row + 2)
    both = tl.maximum(tl.minimum(last_a, last_b) - tl.maximum(first_a, first_b) + 1, 0)
    within = ((t >= first_a) & (t <= last_a)) | ((t >= first_b) & (t <= last_b))
    return within, size_a + size_b - tl.where((size_a > 0) & (size_b > 0), both, 0)


@triton.jit
def frame_shares(ranges_ptr, g, t, COMPUTE: tl.constexpr):
    """Return 1 / (number of frames) on the frames of R_cls, R_loc and the background, else 0; g, t of any shapes."""
    row = ranges_ptr + g * 12
    first, last, size = load_range(row)
    in_cls = (t >= first) & (t <= last)
    in_loc, size_loc = union_of(row + 2, t)
    in_bg, size_bg = union_of(row + 6, t)
    return share_of(in_cls, size, COMPUTE), share_of(in_loc, size_loc, COMPUTE), share_of(in_bg, size_bg, COMPUTE)


@triton.jit
def gaussian(segments_ptr, labels_ptr, mu_ptr, sigma_ptr, g, t, kind, COMPUTE: tl.constexpr):
    """Return p and z = (d - mu) / sigma; frames outside of an instance shorter than a step are its boundary."""
    SMALLEST: tl.constexpr = 2.220446049250313e-16 if COMPUTE.primitive_bitwidth == 64 else 1.1920929e-7
    start = tl.load(segments_ptr + 2 * g).to(COMPUTE)
    end = tl.load(segments_ptr + 2 * g + 1).to(COMPUTE)
    at = tl.load(labels_ptr + g) * 3 + kind
    distance = (t.to(COMPUTE) - (start + end) / 2) / tl.maximum(end - start, SMALLEST)
    distance = tl.minimum(tl.maximum(distance, -0.5), 0.5)
    z = (distance - tl.load(mu_ptr + at).to(COMPUTE)) / tl.load(sigma_ptr + at).to(COMPUTE)
    return tl.exp(-0.5 * z * z), z


@triton.jit
def frame_weights(
    segments_ptr, labels_ptr, mu_ptr, sigma_ptr, ranges_ptr, g, t, COMPUTE: tl.constexpr
):  # fmt: skip
    """Return what frame t weighs in f_cls, f_loc and f_bg of instance g."""
    share_cls, share_loc, share_bg = frame_shares(ranges_ptr, g, t, COMPUTE)
    p_cls, _ = gaussian(segments_ptr, labels_ptr, mu_ptr, sigma_ptr, g, t, 0, COMPUTE)
    p_start, _ = gaussian(segments_ptr, labels_ptr, mu_ptr, sigma_ptr, g, t, 1, COMPUTE)
    p_end, _ = gaussian(segments_ptr, labels_ptr, mu_ptr, sigma_ptr, g, t, 2, COMPUTE)
    return p_cls * share_cls, (p_start + p_end) * share_loc, share_bg
