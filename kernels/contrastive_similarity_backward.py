# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss, backward: similarities once more in tiles, then back to frames and Gaussians.

The similarity is symmetric: what a vector receives as an anchor and as a key comes from one row of tiles, so a program
owns its vectors and nothing is added atomically. A frame then gathers from the instances of its video, a class from its
instances, both in order and in one launch. Two launches. Tested under Triton's interpreter and compiled for sm_80,
sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from . import _launch
from ._contrastive_similarity_frames import frame_shares, frame_weights, gaussian
from .contrastive_similarity import similarity_tile, tile_options, vector_labels

if TYPE_CHECKING:
    from asl_fast.reference.contrastive_similarity import BackwardOperands, BackwardOutputs


@triton.jit(do_not_specialize=["count"])
def vector_gradient_kernel(
    grad_total_ptr,
    grad_loss_ptr,
    vectors_ptr,
    labels_ptr,
    ranges_ptr,
    stats_ptr,
    anchors_ptr,
    out_ptr,
    count,
    channels,
    WEIGHT: tl.constexpr,
    SCALE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute BLOCK_D channels of the gradient of BLOCK_M pooled vectors, through their lengths."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    total = 3 * count
    own = vector_labels(labels_ptr, ranges_ptr, m, count)
    own_all = tl.load(stats_ptr + total + m, mask=m < total, other=float("inf"))
    own_positive = tl.load(stats_ptr + 2 * total + m, mask=m < total, other=float("inf"))
    gradient = tl.zeros((BLOCK_M, BLOCK_D), COMPUTE)
    along = tl.zeros((BLOCK_M,), COMPUTE)
    # Background vectors have a slope only as the keys of anchors.
    keys = tl.where(tl.program_id(0) * BLOCK_M < 2 * count, total, 2 * count)
    for first in range(0, keys, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        tile = similarity_tile(vectors_ptr, m, n, total, channels, SCALE, COMPUTE, BLOCK_M, BLOCK_N, BLOCK_K)
        label = vector_labels(labels_ptr, ranges_ptr, n, count)
        usable = (label > -2)[None, :] & (own > -2)[:, None] & (m[:, None] != n[None, :])
        positive = usable & (label[None, :] == own[:, None]) & (own >= 0)[:, None]
        key_all = tl.load(stats_ptr + total + n, mask=n < total, other=float("inf"))
        key_positive = tl.load(stats_ptr + 2 * total + n, mask=n < total, other=float("inf"))
        # An infinite log-sum-exp belongs to no anchor.
        slope = tl.where(usable, tl.exp(tile - own_all[:, None]) + tl.exp(tile - key_all[None, :]), 0.0)
        among_positive = tl.exp(tile - own_positive[:, None]) + tl.exp(tile - key_positive[None, :])
        slope -= tl.where(positive, among_positive, 0.0)
        along += tl.sum(slope * tile, 1)
        place = vectors_ptr + n.to(tl.int64)[:, None] * channels + d[None, :]
        key = tl.load(place, mask=(n < total)[:, None] & (d < channels)[None, :], other=0.0)
        gradient = tl.dot(slope, key, gradient, input_precision="ieee", out_dtype=COMPUTE)
    at = m.to(tl.int64)[:, None] * channels + d[None, :]
    inside = (m < total)[:, None] & (d < channels)[None, :]
    unit = tl.load(vectors_ptr + at, mask=inside, other=0.0)
    factor = tl.zeros((), COMPUTE)
    if grad_total_ptr is not None:
        factor += tl.load(grad_total_ptr).to(COMPUTE) * WEIGHT
    if grad_loss_ptr is not None:
        factor += tl.load(grad_loss_ptr).to(COMPUTE)
    factor = factor * SCALE / tl.load(anchors_ptr)
    factor = tl.load(stats_ptr + m, mask=m < total, other=0.0) * factor
    tl.store(out_ptr + at, factor[:, None] * (gradient - (along / SCALE)[:, None] * unit), mask=inside)


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
    COMPUTE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute BLOCK_D channels of the gradient of BLOCK_T frames of a video, from its instances in order."""
    slices, blocks = tl.cdiv(channels, BLOCK_D), tl.cdiv(frames, BLOCK_T)
    d = (tile % slices) * BLOCK_D + tl.arange(0, BLOCK_D)
    video = (tile // slices // blocks).to(tl.int64)
    t = (tile // slices % blocks) * BLOCK_T + tl.arange(0, BLOCK_T)
    gradient = tl.zeros((BLOCK_T, BLOCK_D), COMPUTE)
    begin = tl.load(video_offsets_ptr + video).to(tl.int32)
    end = tl.load(video_offsets_ptr + video + 1).to(tl.int32)
    for first in range(begin, end, BLOCK_G):
        drawn = first + tl.arange(0, BLOCK_G)
        g = tl.minimum(drawn, end - 1)
        w_cls, w_loc, w_bg = frame_weights(
            segments_ptr, labels_ptr, mu_ptr, sigma_ptr, ranges_ptr, g[None, :], t[:, None], COMPUTE
        )
        inside = (drawn < end)[:, None] & (d < channels)[None, :]
        for kind in tl.static_range(3):
            weight = w_cls if kind == 0 else (w_loc if kind == 1 else w_bg)
            place = vectors_ptr + (kind * count + g).to(tl.int64)[:, None] * channels + d[None, :]
            vector = tl.load(place, mask=inside, other=0.0)
            gradient = tl.dot(weight, vector, gradient, input_precision="ieee", out_dtype=COMPUTE)
    at = video * frames + t
    valid = tl.load(mask_ptr + at, mask=t < frames, other=0) != 0
    place = out_ptr + at[:, None] * channels + d[None, :]
    tl.store(place, tl.where(valid[:, None], gradient, 0.0), mask=(t < frames)[:, None] & (d < channels)[None, :])


@triton.jit
def instance_slopes(
    g,
    kind,
    vectors_ptr,
    features_ptr,
    mask_ptr,
    segments_ptr,
    labels_ptr,
    mu_ptr,
    sigma_ptr,
    ranges_ptr,
    count,
    frames,
    channels,
    COMPUTE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Sum d loss / d p times p z, and the same times z, over the frames of instance g in BLOCK_T lanes."""
    vector_kind = tl.minimum(kind, 1)
    row = ranges_ptr + g * 12
    video = tl.load(row + 10).to(tl.int64)
    # Of R_cls, or of both ranges of R_loc.
    first_frame = tl.minimum(tl.load(row + 2 * vector_kind), tl.load(row + 4 * vector_kind))
    last_frame = tl.maximum(tl.load(row + 2 * vector_kind + 1), tl.load(row + 4 * vector_kind + 1))
    base = vectors_ptr + (vector_kind * count + g).to(tl.int64) * channels
    slope_mu = tl.zeros((BLOCK_T,), COMPUTE)
    slope_sigma = tl.zeros((BLOCK_T,), COMPUTE)
    for first in range(first_frame, last_frame + 1, BLOCK_T):
        t = first + tl.arange(0, BLOCK_T)
        share_cls, share_loc, _ = frame_shares(ranges_ptr, g, t, COMPUTE)
        share = tl.where(kind == 0, share_cls, share_loc)
        at = video * frames + t
        within = (share > 0) & (tl.load(mask_ptr + at, mask=t <= last_frame, other=0) != 0)
        along = tl.zeros((BLOCK_T,), COMPUTE)
        for channel in range(0, channels, BLOCK_D):
            d = channel + tl.arange(0, BLOCK_D)
            place = features_ptr + at[:, None] * channels + d[None, :]
            x = tl.load(place, mask=within[:, None] & (d < channels)[None, :], other=0.0).to(COMPUTE)
            along += tl.sum(x * tl.load(base + d, mask=d < channels, other=0.0)[None, :], 1)
        p, z = gaussian(segments_ptr, labels_ptr, mu_ptr, sigma_ptr, g, t, kind, COMPUTE)
        slope = tl.where(within, along * share * p * z, 0.0)
        slope_mu += slope
        slope_sigma += slope * z
    return slope_mu, slope_sigma


@triton.jit
def class_gradient(
    label,
    kind,
    vectors_ptr,
    features_ptr,
    mask_ptr,
    segments_ptr,
    labels_ptr,
    mu_ptr,
    sigma_ptr,
    ranges_ptr,
    grad_mu_ptr,
    grad_sigma_ptr,
    count,
    frames,
    channels,
    COMPUTE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute the gradient of one Gaussian, kind 0 to 2 of a class, from the class's instances in order."""
    grad_mu = tl.zeros((BLOCK_T,), COMPUTE)
    grad_sigma = tl.zeros((BLOCK_T,), COMPUTE)
    for at in range(0, count, BLOCK_G):
        drawn = at + tl.arange(0, BLOCK_G)
        own = tl.load(labels_ptr + drawn, mask=drawn < count, other=-1) == label
        # The next instance of the class, one after the other; most blocks have none or a few.
        g = tl.min(tl.where(own, drawn, count), 0)
        while g < count:
            slope_mu, slope_sigma = instance_slopes(
                g, kind, vectors_ptr, features_ptr, mask_ptr, segments_ptr, labels_ptr, mu_ptr, sigma_ptr, ranges_ptr,
                count, frames, channels, COMPUTE, BLOCK_T, BLOCK_D,
            )  # fmt: skip
            grad_mu += slope_mu
            grad_sigma += slope_sigma
            g = tl.min(tl.where(own & (drawn > g), drawn, count), 0)
    inverse = 1.0 / tl.load(sigma_ptr + label * 3 + kind).to(COMPUTE)
    tl.store(grad_mu_ptr + label * 3 + kind, tl.sum(grad_mu, 0) * inverse)
    tl.store(grad_sigma_ptr + label * 3 + kind, tl.sum(grad_sigma, 0) * inverse)


@triton.jit(do_not_specialize=["tiles", "count", "frames"])
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
    grad_features_ptr,
    grad_mu_ptr,
    grad_sigma_ptr,
    tiles,
    count,
    frames,
    channels,
    COMPUTE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_G: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Give the first ``tiles`` programs a tile of frames each and the others a Gaussian."""
    program = tl.program_id(0)
    if program < tiles:
        if grad_features_ptr is not None:
            frame_gradient(
                program, vectors_ptr, mask_ptr, segments_ptr, labels_ptr, video_offsets_ptr, mu_ptr, sigma_ptr,
                ranges_ptr, grad_features_ptr, count, frames, channels, COMPUTE, 2 * BLOCK_T, 16, BLOCK_D,
            )  # fmt: skip
    elif grad_mu_ptr is not None:
        class_gradient(
            (program - tiles) // 3, (program - tiles) % 3, vectors_ptr, features_ptr, mask_ptr, segments_ptr,
            labels_ptr, mu_ptr, sigma_ptr, ranges_ptr, grad_mu_ptr, grad_sigma_ptr, count, frames, channels, COMPUTE,
            BLOCK_T, BLOCK_G, BLOCK_D,
        )  # fmt: skip


def contrastive_similarity_loss_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute in two launches, or in one where no input needs a gradient."""
    found = given.outputs()
    features, dtype = given.features, given.vectors.dtype
    (batch, frames, channels), count = features.shape, given.segments.shape[0]
    if count == 0:
        for gradient in found:
            gradient.zero_()
        return found
    compute = _launch.triton_type(dtype)
    valid, segments = given.mask.contiguous().view(torch.uint8), given.segments.contiguous()
    labels, mu, sigma = given.labels.contiguous(), given.mu.contiguous(), given.sigma.contiguous()
    vectors, ranges = given.vectors.contiguous(), given.ranges.contiguous()
    options = tile_options(compute)
    grad_vectors = _launch.empty(vectors.shape, dtype, features.device)
    block_d = min(64, max(16, triton.next_power_of_2(channels)))
    tiles = (triton.cdiv(3 * count, int(str(options["BLOCK_M"]))), triton.cdiv(channels, block_d))
    block_t = 16
    of_video = triton.cdiv(frames, 2 * block_t) * triton.cdiv(channels, block_d)
    frame_tiles = batch * of_video if given.need_features else 0
    programs = frame_tiles + (3 * mu.shape[0] if given.need_gaussians else 0)
    # By default the compiler makes room for more programs at a time and spills a few registers for that.
    registers = _launch.register_limit(128 if compute == tl.float32 else 255)
    with _launch.on_device_of(features):
        _launch.launch(
            vector_gradient_kernel, tiles,
            given.grad_total, given.grad_loss, vectors, labels, ranges, given.stats.contiguous(), given.anchors,
            grad_vectors, count, channels,
            WEIGHT=float(given.weight), SCALE=1.0 / given.temperature, BLOCK_D=block_d, **options,
        )  # fmt: skip
        if programs:
            _launch.launch(
                input_gradient_kernel, (programs,),
                grad_vectors, features.contiguous(), valid, segments, labels, given.video_offsets.contiguous(), mu,
                sigma, ranges, _launch.or_none(found.grad_features), _launch.or_none(found.grad_mu),
                _launch.or_none(found.grad_sigma), frame_tiles, count, frames, channels,
                COMPUTE=compute, BLOCK_T=block_t, BLOCK_G=128, BLOCK_D=block_d, **_launch.FUSED, **registers,
            )  # fmt: skip
    return found
