# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss, backward: similarities once more in tiles, then back to frames and Gaussians.

The similarity is symmetric: what a vector receives as an anchor and as a key comes from one row of tiles, so a program
owns its vectors and nothing is added atomically. Each tile is computed once, for all channels: gradients of 64 vectors
do not fit into registers, so they wait in memory, a slice of channels at a time, while the next tile of similarities is
computed. Where few vectors leave processors idle, the keys are divided among programs, and whoever reads a gradient
sums its parts.

Then a program per instance finds what its Gaussians receive, and the one that comes last to a class sums its instances
in order; the other programs own frames and gather from the instances of their video, in order, too. Two launches.
Tested under Triton's interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from . import _launch
from ._contrastive_similarity_frames import (
    frame_shares,
    frame_weights,
    gaussian,
    inverses,
    load_gaussians,
    load_row,
    sensitive_hull,
    whole_hull,
)
from ._contrastive_similarity_tiles import (
    SLOTS,
    add_product,
    class_of,
    count_of,
    frame_tile,
    parts_of,
    parts_of_factor,
    place_of,
    programs,
    similarity_tile,
    tile_options,
    vector_labels,
)

if TYPE_CHECKING:
    from asl_fast.reference.contrastive_similarity import BackwardOperands, BackwardOutputs


@triton.jit
def keys_of(first_row, count):
    """Return how many keys a block of vectors meets: background has a slope only as the key of anchors."""
    return tl.where(first_row < 2 * count, 3 * count, 2 * count)


@triton.jit
def log_sums_of(stats_ptr, place, inside, room, BOUNDED: tl.constexpr):
    """Return both log-sum-exps of vectors, infinite where they are no anchor with a positive.

    If bounded, what to multiply exp(similarity) with: 1 / sum for another class, less 1 / sum of the positives for the
    own; 0 where there is no sum.
    """
    log_all = tl.load(stats_ptr + 3 * room + place, mask=inside, other=float("inf"))
    log_positive = tl.load(stats_ptr + 6 * room + place, mask=inside, other=float("inf"))
    if BOUNDED:
        return tl.exp(-log_all), tl.exp(-log_all) - tl.exp(-log_positive)
    else:
        return log_all, log_positive


@triton.jit(do_not_specialize=["room", "batch", "classes"])
def vector_gradient_kernel(
    grad_total_ptr,
    grad_loss_ptr,
    vectors_ptr,
    labels_ptr,
    ranges_ptr,
    video_offsets_ptr,
    stats_ptr,
    anchors_ptr,
    out_ptr,
    counters_ptr,
    grad_mu_ptr,
    grad_sigma_ptr,
    room,
    batch,
    channels,
    classes,
    WEIGHT: tl.constexpr,
    SCALE: tl.constexpr,
    BOUNDED: tl.constexpr,
    SLOTS: tl.constexpr,
    COMPUTE: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute a part of the gradient of BLOCK_M pooled vectors, through their lengths, to (parts, vectors, channels).

    Also sets to zero the counters and the gradients of the Gaussians, which classes without an instance keep.
    """
    if counters_ptr is not None:
        for first in range(tl.program_id(0) * 128, classes, tl.num_programs(0) * 128):
            at = first + tl.arange(0, 128)
            zero = tl.zeros((128,), tl.int32)
            tl.store(counters_ptr + at, zero, mask=at < classes)
            for kind in tl.static_range(3):
                tl.store(grad_mu_ptr + at * 3 + kind, zero.to(COMPUTE), mask=at < classes)
                tl.store(grad_sigma_ptr + at * 3 + kind, zero.to(COMPUTE), mask=at < classes)
    count = count_of(video_offsets_ptr, batch)
    total = 3 * count
    blocks, tiles = tl.cdiv(total, BLOCK_M), tl.cdiv(total, BLOCK_N)
    parts = tl.maximum(parts_of(blocks, tiles, SLOTS), 1)
    block, part = tl.program_id(0) // parts, tl.program_id(0) % parts
    first_row = block * BLOCK_M
    tiles = tl.where(block < blocks, tl.cdiv(keys_of(first_row, count), BLOCK_N), 0)
    m = first_row + tl.arange(0, BLOCK_M)
    m_place = place_of(m, count, room)
    own = class_of(vector_labels(labels_ptr, ranges_ptr, m, count))
    own_all, own_both = log_sums_of(stats_ptr, m_place, m < total, room, BOUNDED)
    factor = tl.zeros((), COMPUTE)
    if grad_total_ptr is not None:
        factor += tl.load(grad_total_ptr).to(COMPUTE) * WEIGHT
    if grad_loss_ptr is not None:
        factor += tl.load(grad_loss_ptr).to(COMPUTE)
    factor = factor * SCALE / tl.load(anchors_ptr)
    through_length = tl.load(stats_ptr + m_place, mask=m < total, other=0.0) * factor
    along = tl.zeros((BLOCK_M,), COMPUTE)
    for key_tile in range(part, tiles, parts):
        n = key_tile * BLOCK_N + tl.arange(0, BLOCK_N)
        n_place = place_of(n, count, room)
        tile = similarity_tile(
            vectors_ptr, m, n, count, room, channels, SCALE, COMPUTE, SPLIT, BLOCK_M, BLOCK_N, BLOCK_K
        )
        label = vector_labels(labels_ptr, ranges_ptr, n, count)
        # Rows that take no part have a slope here, which their length of 0 makes 0 below.
        usable = (label > -2)[None, :] & (m[:, None] != n[None, :])
        positive = label[None, :] == own[:, None]
        key_all, key_both = log_sums_of(stats_ptr, n_place, n < total, room, BOUNDED)
        if BOUNDED:
            share = tl.where(
                positive, own_both[:, None] + key_both[None, :], own_all[:, None] + key_all[None, :]
            )
            slope = tl.where(usable, tl.exp(tile) * share, 0.0)
        else:
            slope = tl.exp(tile - own_all[:, None]) + tl.exp(tile - key_all[None, :])
            among_positive = tl.exp(tile - own_both[:, None]) + tl.exp(tile - key_both[None, :])
            slope = tl.where(usable, slope - tl.where(positive, among_positive, 0.0), 0.0)
        along += tl.sum(slope * tile, 1)
        slope_high, slope_low = parts_of_factor(slope, SPLIT)
        is_first, is_last = key_tile == part, key_tile + parts >= tiles
        for first in tl.range(0, channels, BLOCK_D, num_stages=1):
            d = first + tl.arange(0, BLOCK_D)
            inside = (m < total)[:, None] & (d < channels)[None, :]
            # A thread finds what itself has stored.
            out = out_ptr + ((part.to(tl.int64) * total + m) * channels)[:, None] + d[None, :]
            gradient = tl.load(out, mask=inside & ~is_first, other=0.0)
            place = vectors_ptr + (n_place.to(tl.int64) * channels)[:, None] + d[None, :]
            key = tl.load(place, mask=(n < total)[:, None] & (d < channels)[None, :], other=0.0)
            gradient = add_product(gradient, slope_high, slope_low, key, SPLIT)
            place = vectors_ptr + (m_place.to(tl.int64) * channels)[:, None] + d[None, :]
            unit = tl.load(place, mask=inside & is_last, other=0.0)
            whole = through_length[:, None] * (gradient - (along / SCALE)[:, None] * unit)
            tl.store(out, tl.where(is_last, whole, gradient), mask=inside)


@triton.jit
def sum_of_parts(vectors_ptr, row, d, count, channels, SLOTS: tl.constexpr, COMPUTE: tl.constexpr,
                 BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr):  # fmt: skip
    """Return channels ``d`` of the gradient of a vector: of what the programs of its block have found."""
    total = 3 * count
    parts = parts_of(tl.cdiv(total, BLOCK_M), tl.cdiv(total, BLOCK_N), SLOTS)
    parts = tl.minimum(parts, tl.cdiv(keys_of(row // BLOCK_M * BLOCK_M, count), BLOCK_N))
    vector = tl.zeros((BLOCK_D,), COMPUTE)
    place = vectors_ptr + row.to(tl.int64) * channels + d
    for _ in range(0, parts):
        vector += tl.load(place, mask=d < channels, other=0.0)
        place += total.to(tl.int64) * channels
    return vector


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
    count,
    frames,
    channels,
    SLOTS: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute BLOCK_D channels of the gradient of BLOCK_T frames of a video, from its instances in order."""
    slices, blocks = tl.cdiv(channels, BLOCK_D), tl.cdiv(frames, BLOCK_T)
    d = (tile % slices) * BLOCK_D + tl.arange(0, BLOCK_D)
    video = (tile // slices // blocks).to(tl.int64)
    first_frame = (tile // slices % blocks) * BLOCK_T
    t = first_frame + tl.arange(0, BLOCK_T)
    gradient = tl.zeros((BLOCK_T, BLOCK_D), COMPUTE)
    begin = tl.load(video_offsets_ptr + video).to(tl.int32)
    end = tl.load(video_offsets_ptr + video + 1).to(tl.int32)
    for first in range(begin, end, BLOCK_G):
        drawn = first + tl.arange(0, BLOCK_G)
        hull_first, hull_last = whole_hull(load_row(ranges_ptr + tl.minimum(drawn, end - 1) * 12))
        looks = (drawn < end) & (hull_first < first_frame + BLOCK_T) & (hull_last >= first_frame)
        # The next instance that looks at the frames, one after the other; most blocks have a few.
        g = tl.min(tl.where(looks, drawn, end), 0)
        while g < end:
            row = load_row(ranges_ptr + g * 12)
            label = tl.load(labels_ptr + g)
            start = tl.load(segments_ptr + 2 * g).to(COMPUTE)
            finish = tl.load(segments_ptr + 2 * g + 1).to(COMPUTE)
            mu = load_gaussians(mu_ptr, label, COMPUTE)
            inverse_sigma = inverses(load_gaussians(sigma_ptr, label, COMPUTE))
            w_cls, w_loc, w_bg = frame_weights(start, finish, mu, inverse_sigma, row, t, COMPUTE)
            for kind in tl.static_range(3):
                weight = w_cls if kind == 0 else (w_loc if kind == 1 else w_bg)
                vector = sum_of_parts(
                    vectors_ptr, kind * count + g, d, count, channels, SLOTS, COMPUTE, BLOCK_M, BLOCK_N, BLOCK_D
                )
                gradient += weight[:, None] * vector[None, :]
            g = tl.min(tl.where(looks & (drawn > g), drawn, end), 0)
    at = video * frames + t
    valid = tl.load(mask_ptr + at, mask=t < frames, other=0) != 0
    place = out_ptr + at[:, None] * channels + d[None, :]
    tl.store(place, tl.where(valid[:, None], gradient, 0.0), mask=(t < frames)[:, None] & (d < channels)[None, :])


@triton.jit
def instance_gradient(
    g,
    vectors_ptr,
    features_ptr,
    mask_ptr,
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
    BLOCK_D: tl.constexpr,
):
    """Store what an instance adds to d mu and d sigma of its class: three numbers each."""
    row = load_row(ranges_ptr + g * 12)
    label = tl.load(labels_ptr + g)
    start, end = tl.load(segments_ptr + 2 * g).to(COMPUTE), tl.load(segments_ptr + 2 * g + 1).to(COMPUTE)
    mu = load_gaussians(mu_ptr, label, COMPUTE)
    inverse_sigma = inverses(load_gaussians(sigma_ptr, label, COMPUTE))
    d = tl.arange(0, BLOCK_D)
    f_cls = sum_of_parts(vectors_ptr, g, d, count, channels, SLOTS, COMPUTE, BLOCK_M, BLOCK_N, BLOCK_D)
    f_loc = sum_of_parts(vectors_ptr, count + g, d, count, channels, SLOTS, COMPUTE, BLOCK_M, BLOCK_N, BLOCK_D)
    first_frame, last_frame = sensitive_hull(row)
    mu_cls = tl.zeros((BLOCK_T,), COMPUTE)
    mu_start, mu_end, sigma_cls, sigma_start, sigma_end = mu_cls, mu_cls, mu_cls, mu_cls, mu_cls
    for first in range(first_frame, last_frame + 1, BLOCK_T):
        t = first + tl.arange(0, BLOCK_T)
        share_cls, share_loc, _ = frame_shares(row, t, COMPUTE)
        at = row[10].to(tl.int64) * frames + t
        within = (share_cls + share_loc > 0) & (tl.load(mask_ptr + at, mask=t <= last_frame, other=0) != 0)
        place = features_ptr + at[:, None] * channels + d[None, :]
        x = tl.load(place, mask=within[:, None] & (d < channels)[None, :], other=0.0).to(COMPUTE)
        along_cls = tl.where(within, tl.sum(x * f_cls[None, :], 1) * share_cls, 0.0)
        along_loc = tl.where(within, tl.sum(x * f_loc[None, :], 1) * share_loc, 0.0)
        p, z = gaussian(start, end, mu[0], inverse_sigma[0], t, COMPUTE)
        mu_cls += along_cls * p * z
        sigma_cls += along_cls * p * z * z
        p, z = gaussian(start, end, mu[1], inverse_sigma[1], t, COMPUTE)
        mu_start += along_loc * p * z
        sigma_start += along_loc * p * z * z
        p, z = gaussian(start, end, mu[2], inverse_sigma[2], t, COMPUTE)
        mu_end += along_loc * p * z
        sigma_end += along_loc * p * z * z
    tl.store(each_ptr + g * 6, tl.sum(mu_cls, 0) * inverse_sigma[0])
    tl.store(each_ptr + g * 6 + 1, tl.sum(mu_start, 0) * inverse_sigma[1])
    tl.store(each_ptr + g * 6 + 2, tl.sum(mu_end, 0) * inverse_sigma[2])
    tl.store(each_ptr + g * 6 + 3, tl.sum(sigma_cls, 0) * inverse_sigma[0])
    tl.store(each_ptr + g * 6 + 4, tl.sum(sigma_start, 0) * inverse_sigma[1])
    tl.store(each_ptr + g * 6 + 5, tl.sum(sigma_end, 0) * inverse_sigma[2])


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
        for kind in tl.static_range(3):
            grad_mu = tl.zeros((BLOCK_G,), COMPUTE)
            grad_sigma = tl.zeros((BLOCK_G,), COMPUTE)
            for first in range(0, count, BLOCK_G):
                g = first + tl.arange(0, BLOCK_G)
                own = tl.load(labels_ptr + g, mask=g < count, other=-1) == label
                at = each_ptr + g.to(tl.int64) * 6 + kind
                grad_mu += tl.load(at, mask=own, other=0.0, cache_modifier=".cg")
                grad_sigma += tl.load(at + 3, mask=own, other=0.0, cache_modifier=".cg")
            tl.store(grad_mu_ptr + label * 3 + kind, tl.sum(grad_mu, 0))
            tl.store(grad_sigma_ptr + label * 3 + kind, tl.sum(grad_sigma, 0))


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
    BLOCK_D: tl.constexpr,
    FRAMES: tl.constexpr,
    SLICE: tl.constexpr,
):
    """Give the first ``instances`` programs, which may have long to do, an instance each and the others a tile."""
    program = tl.program_id(0)
    count = count_of(video_offsets_ptr, batch)
    if program >= instances:
        if grad_features_ptr is not None:
            frame_gradient(
                program - instances, vectors_ptr, mask_ptr, segments_ptr, labels_ptr, video_offsets_ptr, mu_ptr,
                sigma_ptr, ranges_ptr, grad_features_ptr, count, frames, channels, SLOTS, COMPUTE, BLOCK_M, BLOCK_N,
                FRAMES, 128, SLICE,
            )  # fmt: skip
    elif grad_mu_ptr is not None:
        if program < count:
            instance_gradient(
                program, vectors_ptr, features_ptr, mask_ptr, segments_ptr, labels_ptr, mu_ptr, sigma_ptr, ranges_ptr,
                each_ptr, count, frames, channels, SLOTS, COMPUTE, BLOCK_M, BLOCK_N, BLOCK_T, BLOCK_D,
            )  # fmt: skip
            class_gradient(
                tl.load(labels_ptr + program), labels_ptr, counters_ptr, each_ptr, grad_mu_ptr, grad_sigma_ptr, count,
                COMPUTE, 1024,
            )  # fmt: skip


def contrastive_similarity_loss_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute in two launches, or in one where no input needs a gradient."""
    found = given.outputs()
    features, dtype, device = given.features, given.vectors.dtype, given.vectors.device
    (batch, frames, channels), room = features.shape, given.segments.shape[0]
    if room == 0:
        for gradient in found:
            gradient.zero_()
        return found
    compute = _launch.triton_type(dtype)
    options = tile_options(compute, channels, given.temperature)
    block_m, block_n = int(str(options["BLOCK_M"])), int(str(options["BLOCK_N"]))
    grid = programs(triton.cdiv(3 * room, block_m), triton.cdiv(3 * room, block_n))
    classes, of_gaussians = given.mu.shape[0], room if given.need_gaussians else 0
    numbers = block_m * grid * channels
    scratch = _launch.empty((numbers + 6 * of_gaussians,), dtype, device)
    counters = _launch.empty((classes,), torch.int32, device) if given.need_gaussians else None
    labels, offsets, ranges = given.labels.contiguous(), given.video_offsets.contiguous(), given.ranges.contiguous()
    grad_mu, grad_sigma = _launch.or_none(found.grad_mu), _launch.or_none(found.grad_sigma)
    frame_block = {"FRAMES": 32, "SLICE": 64}
    of_video = triton.cdiv(frames, frame_block["FRAMES"]) * triton.cdiv(channels, frame_block["SLICE"])
    tiles = batch * of_video if given.need_features else 0
    with _launch.on_device_of(features):
        _launch.launch(
            vector_gradient_kernel, (grid,),
            given.grad_total, given.grad_loss, given.vectors.contiguous(), labels, ranges, offsets,
            given.stats.contiguous(), given.anchors, scratch, counters, grad_mu, grad_sigma,
            room, batch, channels, classes,
            WEIGHT=float(given.weight), BLOCK_D=options["BLOCK_K"], num_stages=2, **options, **_launch.FUSED,
        )  # fmt: skip
        if of_gaussians + tiles:
            _launch.launch(
                input_gradient_kernel, (of_gaussians + tiles,),
                scratch, features.contiguous(), given.mask.contiguous().view(torch.uint8), given.segments.contiguous(),
                labels, offsets, given.mu.contiguous(), given.sigma.contiguous(), ranges, counters, scratch[numbers:],
                _launch.or_none(found.grad_features), grad_mu, grad_sigma, of_gaussians, batch, frames, channels,
                SLOTS=SLOTS, COMPUTE=compute, BLOCK_M=block_m, BLOCK_N=block_n,
                num_warps=8, enable_fp_fusion=True, **frame_block, **frame_tile(compute, channels),
            )  # fmt: skip
    return found
