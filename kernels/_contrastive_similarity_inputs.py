# SPDX-License-Identifier: Apache-2.0
"""From the gradients of the pooled vectors to the frames and to the Gaussians, in one launch.

A program per instance finds what its Gaussians receive, and the one that comes last to a class sums its instances in
order. The other programs own frames and gather from the instances of their video, in order, too, so that nothing is
added atomically. The gradients of the vectors come in parts, of which the first launch has left (parts, vectors,
channels): whoever reads a vector sums them.
"""

import triton
import triton.language as tl

from ._contrastive_similarity_frames import (
    channels_of_chunks,
    frame_shares,
    frame_weights,
    gaussian,
    inverses,
    load_frames,
    load_gaussians,
    load_row,
    sensitive_hull,
    whole_hull,
)
from ._contrastive_similarity_tiles import add_weighted, count_of, keys_of, parts_of


@triton.jit
def parts_of_vectors(count, SLOTS: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Return in how many parts the gradient of a vector is."""
    return parts_of(tl.cdiv(3 * count, BLOCK_M), tl.cdiv(3 * count, BLOCK_N), SLOTS)


@triton.jit
def parts_of_background(g, count, parts, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr):
    """Return how many of the parts f_bg has: a block of background alone has fewer keys."""
    first_row = (2 * count + g) // BLOCK_M * BLOCK_M
    return tl.minimum(parts, tl.cdiv(keys_of(first_row, count), BLOCK_N))


@triton.jit
def two_parts(vectors, stride, inside, again):
    """Load the first two parts of some vectors, of the second where ``again``; a part lies 3 * ``stride`` behind."""
    first = tl.load(vectors, mask=inside, other=0.0)
    return first, tl.load(vectors + 3 * stride, mask=again, other=0.0)


@triton.jit
def frame_gradient(
    tile,
    vectors_ptr,
    mask_ptr,
    segments_ptr,
    labels_ptr,
    video_offsets_ptr,
    mu_ptr,
    sigma_ptr,
    ranges_ptr,
    out_ptr,
    batch,
    frames,
    channels,
    SLOTS: tl.constexpr,
    COMPUTE: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_G: tl.constexpr,
    AT_ONCE: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute BLOCK_D channels of the gradient of BLOCK_T frames of a video, from its instances in order.

    Of BLOCK_G instances those that look at any of the frames, mostly a few, are taken AT_ONCE: what frames weigh in
    them, times their vectors' gradients, is a product of two small matrices.
    """
    slices, blocks = tl.cdiv(channels, BLOCK_D), tl.cdiv(frames, BLOCK_T)
    d = (tile % slices) * BLOCK_D + tl.arange(0, BLOCK_D)
    video = (tile // slices // blocks).to(tl.int64)
    first_frame = (tile // slices % blocks) * BLOCK_T
    t = first_frame + tl.arange(0, BLOCK_T)
    gradient = tl.zeros((BLOCK_T, BLOCK_D), COMPUTE)
    # What depends on nothing else is on its way together.
    begin = tl.load(video_offsets_ptr + video).to(tl.int32)
    end = tl.load(video_offsets_ptr + video + 1).to(tl.int32)
    count = count_of(video_offsets_ptr, batch)
    valid = tl.load(mask_ptr + video * frames + t, mask=t < frames, other=0)
    parts, stride = parts_of_vectors(count, SLOTS, BLOCK_M, BLOCK_N), count.to(tl.int64) * channels
    for first in range(begin, end, BLOCK_G):
        drawn = first + tl.arange(0, BLOCK_G)
        hull_first, hull_last = whole_hull(load_row(ranges_ptr + tl.minimum(drawn, end - 1) * 12))
        looks = (drawn < end) & (hull_first < first_frame + BLOCK_T) & (hull_last >= first_frame)
        number = tl.sum(looks.to(tl.int32), 0)
        place = tl.where(looks, tl.cumsum(looks.to(tl.int32), 0) - 1, -1)
        for done in range(0, number, AT_ONCE):
            here = done + tl.arange(0, AT_ONCE)
            g = first + tl.sum(tl.where(place[:, None] == here[None, :], tl.arange(0, BLOCK_G)[:, None], 0), 0)
            inside = (here < number)[:, None] & (d < channels)[None, :]
            inside_bg = inside & (parts_of_background(g, count, parts, BLOCK_M, BLOCK_N) > 1)[:, None]
            vectors = vectors_ptr + g.to(tl.int64)[:, None] * channels + d[None, :]
            # The first two parts are on their way while frames are weighed; mostly there are no more.
            f_cls, more_cls = two_parts(vectors, stride, inside, inside & (parts > 1))
            f_loc, more_loc = two_parts(vectors + stride, stride, inside, inside & (parts > 1))
            f_bg, more_bg = two_parts(vectors + 2 * stride, stride, inside, inside_bg)
            row = load_row(ranges_ptr + g[None, :] * 12)
            label = tl.load(labels_ptr + g[None, :])
            start = tl.load(segments_ptr + 2 * g[None, :]).to(COMPUTE)
            finish = tl.load(segments_ptr + 2 * g[None, :] + 1).to(COMPUTE)
            mu = load_gaussians(mu_ptr, label, COMPUTE)
            inverse_sigma = inverses(load_gaussians(sigma_ptr, label, COMPUTE))
            w_cls, w_loc, w_bg = frame_weights(start, finish, mu, inverse_sigma, row, t[:, None], COMPUTE)
            f_cls += more_cls
            f_loc += more_loc
            f_bg += more_bg
            for part in range(2, parts):
                vectors = vectors_ptr + part * 3 * stride + g.to(tl.int64)[:, None] * channels + d[None, :]
                inside_bg = inside & (part < parts_of_background(g, count, parts, BLOCK_M, BLOCK_N))[:, None]
                f_cls += tl.load(vectors, mask=inside, other=0.0)
                f_loc += tl.load(vectors + stride, mask=inside, other=0.0)
                f_bg += tl.load(vectors + 2 * stride, mask=inside_bg, other=0.0)
            gradient = add_weighted(gradient, w_cls, f_cls, SPLIT)
            gradient = add_weighted(gradient, w_loc, f_loc, SPLIT)
            gradient = add_weighted(gradient, w_bg, f_bg, SPLIT)
    place = out_ptr + video * frames * channels + (t.to(tl.int64) * channels)[:, None] + d[None, :]
    inside = (t < frames)[:, None] & (d < channels)[None, :]
    tl.store(place, tl.where((valid != 0)[:, None], gradient, 0.0), mask=inside)


@triton.jit
def instance_gradient(
    g,
    vectors_ptr,
    features_ptr,
    segments_ptr,
    labels_ptr,
    mu_ptr,
    sigma_ptr,
    ranges_ptr,
    each_ptr,
    count,
    frames,
    channels,
    SLOTS: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_T: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNKS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Store what an instance adds to d mu and d sigma of its class: three numbers each."""
    d = channels_of_chunks(CHUNKS, WIDTH)
    stride = count.to(tl.int64) * channels
    vectors = vectors_ptr + g.to(tl.int64) * channels + d
    parts = parts_of_vectors(count, SLOTS, BLOCK_M, BLOCK_N)
    f_cls, more_cls = two_parts(vectors, stride, d < channels, (d < channels) & (parts > 1))
    f_loc, more_loc = two_parts(vectors + stride, stride, d < channels, (d < channels) & (parts > 1))
    row = load_row(ranges_ptr + g * 12)
    label = tl.load(labels_ptr + g)
    start, end = tl.load(segments_ptr + 2 * g).to(COMPUTE), tl.load(segments_ptr + 2 * g + 1).to(COMPUTE)
    mu = load_gaussians(mu_ptr, label, COMPUTE)
    inverse_sigma = inverses(load_gaussians(sigma_ptr, label, COMPUTE))
    f_cls += more_cls
    f_loc += more_loc
    for part in range(2, parts):
        f_cls += tl.load(vectors + part * 3 * stride, mask=d < channels, other=0.0)
        f_loc += tl.load(vectors + (part * 3 + 1) * stride, mask=d < channels, other=0.0)
    first_frame, last_frame = sensitive_hull(row)
    t = first_frame + tl.arange(0, ROWS)[None, :, None]
    features_ptr += (row[10].to(tl.int64) * frames + first_frame) * channels
    mu_cls = tl.zeros((1, ROWS, WIDTH), COMPUTE)
    mu_start, mu_end, sigma_cls, sigma_start, sigma_end = mu_cls, mu_cls, mu_cls, mu_cls, mu_cls
    for begin in range(first_frame, last_frame + 1, BLOCK_T):
        for step in tl.static_range(BLOCK_T // ROWS):
            share_cls, share_loc, _ = frame_shares(row, t, COMPUTE)
            within = last_frame + 1 - begin - step * ROWS
            x = load_frames(features_ptr, within, channels, COMPUTE, ROWS, CHUNKS, WIDTH)
            # A frame between the ranges may hold anything.
            along_cls = tl.where(share_cls > 0, tl.sum(x * f_cls, 0, keep_dims=True) * share_cls, 0.0)
            along_loc = tl.where(share_loc > 0, tl.sum(x * f_loc, 0, keep_dims=True) * share_loc, 0.0)
            p, z = gaussian(start, end, mu[0], inverse_sigma[0], t, COMPUTE)
            mu_cls += along_cls * (p * z)
            sigma_cls += along_cls * (p * z * z)
            p, z = gaussian(start, end, mu[1], inverse_sigma[1], t, COMPUTE)
            mu_start += along_loc * (p * z)
            sigma_start += along_loc * (p * z * z)
            p, z = gaussian(start, end, mu[2], inverse_sigma[2], t, COMPUTE)
            mu_end += along_loc * (p * z)
            sigma_end += along_loc * (p * z * z)
            t += ROWS
            features_ptr += ROWS * channels
    # One sum for all: (rows, channels, [cls, end], [that, start], [mu, sigma]), and of end one too many.
    of_mu = tl.join(tl.join(mu_cls, mu_end), tl.join(mu_start, mu_end))
    of_sigma = tl.join(tl.join(sigma_cls, sigma_end), tl.join(sigma_start, sigma_end))
    sums = tl.sum(tl.sum(tl.sum(tl.join(of_mu, of_sigma), 0), 1), 0)
    column = 2 * tl.arange(0, 2)[:, None, None] + tl.arange(0, 2)[None, :, None]
    narrow = tl.where(column == 0, inverse_sigma[0], tl.where(column == 1, inverse_sigma[1], inverse_sigma[2]))
    at = each_ptr + g * 6 + 3 * tl.arange(0, 2)[None, None, :] + column
    tl.store(at, sums * narrow, mask=column < 3)


@triton.jit
def class_gradient(
    label,
    labels_ptr,
    counters_ptr,
    each_ptr,
    grad_mu_ptr,
    grad_sigma_ptr,
    count,
    COMPUTE: tl.constexpr,
    BLOCK_G: tl.constexpr,
):
    """Sum the instances of a class in order, by the program of the last of them; read past this processor's cache."""
    number = tl.zeros((BLOCK_G,), tl.int32)
    for first in range(0, count, BLOCK_G):
        g = first + tl.arange(0, BLOCK_G)
        number += (tl.load(labels_ptr + g, mask=g < count, other=-1) == label).to(tl.int32)
    tl.debug_barrier()  # the whole program has written before it counts as finished
    if tl.atomic_add(counters_ptr + label, 1) == tl.sum(number, 0) - 1:
        which = tl.arange(0, 8)  # three means, three deviations and, to a power of two, nothing
        grads = tl.zeros((BLOCK_G, 8), COMPUTE)
        for first in range(0, count, BLOCK_G):
            g = first + tl.arange(0, BLOCK_G)
            own = tl.load(labels_ptr + g, mask=g < count, other=-1) == label
            at = each_ptr + g.to(tl.int64)[:, None] * 6 + which[None, :]
            grads += tl.load(at, mask=own[:, None] & (which < 6)[None, :], other=0.0, cache_modifier=".cg")
        total = tl.sum(grads, 0)
        tl.store(grad_mu_ptr + label * 3 + which, total, mask=which < 3)
        tl.store(grad_sigma_ptr + label * 3 + which - 3, total, mask=(which >= 3) & (which < 6))


@triton.jit(do_not_specialize=["instances", "batch", "frames"])
def input_gradient_kernel(
    vectors_ptr,
    features_ptr,
    mask_ptr,
    segments_ptr,
    labels_ptr,
    video_offsets_ptr,
    mu_ptr,
    sigma_ptr,
    ranges_ptr,
    counters_ptr,
    each_ptr,
    grad_features_ptr,
    grad_mu_ptr,
    grad_sigma_ptr,
    instances,
    batch,
    frames,
    channels,
    SLOTS: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_T: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNKS: tl.constexpr,
    WIDTH: tl.constexpr,
    SPLIT: tl.constexpr,
    FRAMES: tl.constexpr,
    SLICE: tl.constexpr,
):
    """Give the first ``instances`` programs, which may have long to do, an instance each and the others a tile."""
    program = tl.program_id(0)
    if program >= instances:
        if grad_features_ptr is not None:
            frame_gradient(
                program - instances, vectors_ptr, mask_ptr, segments_ptr, labels_ptr, video_offsets_ptr, mu_ptr,
                sigma_ptr, ranges_ptr, grad_features_ptr, batch, frames, channels, SLOTS, COMPUTE, SPLIT, BLOCK_M,
                BLOCK_N, FRAMES, 256, 16, SLICE,
            )  # fmt: skip
    elif grad_mu_ptr is not None:
        count = count_of(video_offsets_ptr, batch)
        if program < count:
            instance_gradient(
                program, vectors_ptr, features_ptr, segments_ptr, labels_ptr, mu_ptr, sigma_ptr, ranges_ptr,
                each_ptr, count, frames, channels, SLOTS, COMPUTE, BLOCK_M, BLOCK_N, BLOCK_T, ROWS, CHUNKS, WIDTH,
            )  # fmt: skip
            class_gradient(
                tl.load(labels_ptr + program), labels_ptr, counters_ptr, each_ptr, grad_mu_ptr, grad_sigma_ptr, count,
                COMPUTE, 512,
            )  # fmt: skip
