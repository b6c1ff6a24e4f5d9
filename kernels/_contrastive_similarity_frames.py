# SPDX-License-Identifier: Apache-2.0
"""Frames an instance looks at, and how they enter its vectors; also in csrc/common/contrastive_similarity.h.

Twelve numbers of an instance, in registers and as a row of ``ranges`` (G, 12): first and last frame (both included; 0
and -1 for none) of the ranges around the argmax of p_cls, p_start, p_end and of the background before and after, then
video and state: 0 takes no part, 1 has no background, 2 has one. All functions are of one instance; every thread
computes the twelve for itself, so nobody waits for what another thread stores.
"""

import triton
import triton.language as tl
from torch import Tensor

from . import _launch


@triton.jit
def video_of(video_offsets_ptr, g, batch):
    """Return the video of instance ``g``; the last one for padding."""
    BLOCK: tl.constexpr = 32
    before = tl.zeros((BLOCK,), tl.int32)
    for first in range(0, batch, BLOCK):
        b = first + tl.arange(0, BLOCK)
        before += (tl.load(video_offsets_ptr + 1 + b, mask=b < batch, other=2147483647) <= g).to(tl.int32)
    return tl.minimum(tl.sum(before, 0), batch - 1)


@triton.jit
def last_valid_frame(mask_ptr, video, frames, BLOCK: tl.constexpr):
    """Return the number of valid frames of a video, less one."""
    valid = tl.zeros((BLOCK,), tl.int32)
    for first in range(0, frames, BLOCK):
        at = first + tl.arange(0, BLOCK)
        valid += tl.load(mask_ptr + video.to(tl.int64) * frames + at, mask=at < frames, other=0).to(tl.int32)
    return tl.sum(valid, 0) - 1


@triton.jit
def range_of(first, last, valid):
    """Return both ends of a range as integers; 0 and -1 where it is empty or of no valid instance."""
    some = valid & (first <= last)
    return tl.where(some, first, 0.0).to(tl.int32), tl.where(some, last, -1.0).to(tl.int32)


@triton.jit
def range_around(nearest, reach, inside_first, inside_last, valid):
    """Return the range around the frame of an instance that is nearest to a mean."""
    peak = tl.minimum(tl.maximum(nearest, inside_first), inside_last)
    first = tl.maximum(tl.ceil(peak - reach), inside_first)
    return range_of(first, tl.minimum(tl.floor(peak + reach), inside_last), valid)


@triton.jit
def instance_frames(start, end, mu, video, last_frame, takes_part, DELTA: tl.constexpr, COMPUTE: tl.constexpr):
    """Return the twelve numbers of an instance.

    A Gaussian over the frames of an instance is largest at the frame nearest to its mean; the earlier one on a tie.
    """
    last = last_frame.to(COMPUTE)
    bound = tl.maximum(last, 0.0)
    centre = (start + end) / 2
    length = end - start
    reach = length * DELTA
    valid = takes_part & (end > -0.5) & (start < last + 0.5) & (length > 0) & (last >= 0)
    inside_first = tl.ceil(start)
    inside_last = tl.floor(end)
    between = inside_first > inside_last
    nearest = tl.ceil(centre - 0.5)
    inside_first = tl.minimum(tl.maximum(tl.where(between, nearest, inside_first), 0.0), bound)
    inside_last = tl.minimum(tl.maximum(tl.where(between, nearest, inside_last), 0.0), bound)
    first_cls, last_cls = range_around(
        tl.ceil((centre + mu[0] * length) - 0.5), reach, inside_first, inside_last, valid
    )
    first_start, last_start = range_around(
        tl.ceil((centre + mu[1] * length) - 0.5), reach, inside_first, inside_last, valid
    )
    first_end, last_end = range_around(
        tl.ceil((centre + mu[2] * length) - 0.5), reach, inside_first, inside_last, valid
    )
    before = tl.maximum(tl.ceil(start - reach), 0.0)
    first_before, last_before = range_of(before, tl.minimum(tl.floor(start), last), valid)
    after = tl.maximum(tl.ceil(end), 0.0)
    first_after, last_after = range_of(after, tl.minimum(tl.floor(end + reach), last), valid)
    background = (first_before <= last_before) | (first_after <= last_after)
    state = tl.where(valid, 1 + background.to(tl.int32), 0)
    return (
        first_cls, last_cls, first_start, last_start, first_end, last_end, first_before, last_before, first_after,
        last_after, video.to(tl.int32), state,
    )  # fmt: skip


@triton.jit
def store_row(ptr, row):
    """Store the twelve numbers of an instance."""
    for i in tl.static_range(12):
        tl.store(ptr + i, row[i])


@triton.jit
def load_row(ptr):
    """Return the twelve numbers of an instance."""
    return (
        tl.load(ptr), tl.load(ptr + 1), tl.load(ptr + 2), tl.load(ptr + 3), tl.load(ptr + 4), tl.load(ptr + 5),
        tl.load(ptr + 6), tl.load(ptr + 7), tl.load(ptr + 8), tl.load(ptr + 9), tl.load(ptr + 10), tl.load(ptr + 11),
    )  # fmt: skip


@triton.jit
def load_gaussians(ptr, label, COMPUTE: tl.constexpr):
    """Return what p_cls, p_start and p_end of a class have in a (C, 3) tensor."""
    at = ptr + label * 3
    return tl.load(at).to(COMPUTE), tl.load(at + 1).to(COMPUTE), tl.load(at + 2).to(COMPUTE)


@triton.jit
def widen(hull_first, hull_last, first, last):
    """Return the smallest range that holds two, of which either may be empty."""
    some = first <= last
    hull_first = tl.where(some, tl.minimum(hull_first, first), hull_first)
    return hull_first, tl.where(some, tl.maximum(hull_last, last), hull_last)


@triton.jit
def sensitive_hull(row):
    """Return first and last frame of the three ranges around an argmax, which are empty together."""
    first, last = widen(row[0], row[1], row[2], row[3])
    return widen(first, last, row[4], row[5])


@triton.jit
def whole_hull(row):
    """Return first and last frame of all five ranges; only an instance that takes no part has none."""
    first, last = sensitive_hull(row)
    first, last = widen(first, last, row[6], row[7])
    return widen(first, last, row[8], row[9])


@triton.jit
def share_of(within, size, COMPUTE: tl.constexpr):
    """Return 1 / size where ``within``, else 0."""
    return tl.where(within, 1.0 / tl.maximum(size, 1).to(COMPUTE), 0.0)


@triton.jit
def size_of(first, last):
    """Return the number of frames of a range."""
    return tl.maximum(last - first + 1, 0)


@triton.jit
def union_of(first_a, last_a, first_b, last_b, t):
    """Return whether ``t`` lies in one of two ranges, and how many frames do."""
    size_a = size_of(first_a, last_a)
    size_b = size_of(first_b, last_b)
    both = size_of(tl.maximum(first_a, first_b), tl.minimum(last_a, last_b))
    within = ((t >= first_a) & (t <= last_a)) | ((t >= first_b) & (t <= last_b))
    return within, size_a + size_b - tl.where((size_a > 0) & (size_b > 0), both, 0)


@triton.jit
def frame_shares(row, t, COMPUTE: tl.constexpr):
    """Return 1 / (number of frames) on the frames of R_cls, R_loc and the background, else 0."""
    in_cls = (t >= row[0]) & (t <= row[1])
    in_loc, size_loc = union_of(row[2], row[3], row[4], row[5], t)
    in_bg, size_bg = union_of(row[6], row[7], row[8], row[9], t)
    share_cls = share_of(in_cls, size_of(row[0], row[1]), COMPUTE)
    return share_cls, share_of(in_loc, size_loc, COMPUTE), share_of(in_bg, size_bg, COMPUTE)


@triton.jit
def inverses(sigma):
    """Return one over each of three numbers: a frame then takes products, which are cheaper than quotients."""
    return 1.0 / sigma[0], 1.0 / sigma[1], 1.0 / sigma[2]


@triton.jit
def gaussian(start, end, mu, inverse_sigma, t, COMPUTE: tl.constexpr):
    """Return p and z = (d - mu) / sigma; frames outside of an instance shorter than a step are its boundary."""
    SMALLEST: tl.constexpr = 2.220446049250313e-16 if COMPUTE.primitive_bitwidth == 64 else 1.1920929e-7
    inverse_length = 1.0 / tl.maximum(end - start, SMALLEST)
    distance = (t.to(COMPUTE) - (start + end) / 2) * inverse_length
    distance = tl.minimum(tl.maximum(distance, -0.5), 0.5)
    z = (distance - mu) * inverse_sigma
    return tl.exp(-0.5 * z * z), z


@triton.jit
def frame_weights(start, end, mu, inverse_sigma, row, t, COMPUTE: tl.constexpr):
    """Return what frames t weigh in f_cls, f_loc and f_bg of an instance."""
    share_cls, share_loc, share_bg = frame_shares(row, t, COMPUTE)
    p_cls, _ = gaussian(start, end, mu[0], inverse_sigma[0], t, COMPUTE)
    p_start, _ = gaussian(start, end, mu[1], inverse_sigma[1], t, COMPUTE)
    p_end, _ = gaussian(start, end, mu[2], inverse_sigma[2], t, COMPUTE)
    return p_cls * share_cls, (p_start + p_end) * share_loc, share_bg


@triton.jit
def channels_of_chunks(CHUNKS: tl.constexpr, WIDTH: tl.constexpr):
    """Return the numbers of channels (chunks, 1, channels of a chunk)."""
    return tl.arange(0, CHUNKS)[:, None, None] * WIDTH + tl.arange(0, WIDTH)[None, None, :]


@triton.jit
def load_frames(
    features_ptr, number, channels, COMPUTE: tl.constexpr, ROWS: tl.constexpr, CHUNKS: tl.constexpr, WIDTH: tl.constexpr
):  # fmt: skip
    """Load the first ``number`` of ROWS frames, as (chunks, frames, channels of a chunk); 0 for the others.

    Lines of a matrix, of which the compiler gives every eighth to a warp: so a warp has all chunks of its frame.
    """
    line = tl.arange(0, CHUNKS * ROWS)[:, None]
    d = line // ROWS * WIDTH + tl.arange(0, WIDTH)[None, :]
    at = features_ptr + (line % ROWS) * channels + d
    x = tl.load(at, mask=(line % ROWS < number) & (d < channels), other=0.0)
    return tl.reshape(x.to(COMPUTE), (CHUNKS, ROWS, WIDTH))


def frames_of_instance(features: Tensor) -> dict[str, int]:
    """Choose how the eight warps of a program go over the frames of an instance: a warp has whole frames of its own.

    So each warp computes what its own frames weigh, and no other does; BLOCK_T frames take a round. Channels lie in
    chunks that the lanes of a warp read at once, 16 bytes each: the compiler gives the last axis of a tile to lanes,
    and the one before to warps.
    """
    channels, size = features.shape[2], features.element_size()
    width = min(512 // size, max(32, _launch.next_power_of_2(channels)))
    chunks = _launch.next_power_of_2(_launch.cdiv(channels, width))
    return {"BLOCK_T": 8 if size == 8 else 16, "ROWS": 8, "CHUNKS": chunks, "WIDTH": width}
