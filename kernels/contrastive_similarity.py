# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss, forward: pooling of every instance's frames, then InfoNCE without its matrix.

A program pools one instance, whole vectors at a time, so that their lengths need no second pass. Then a program owns
BLOCK_M anchors and walks over the keys with running maxima and sums (Milakov and Gimelshein, 2018); the one that comes
last takes the mean. Two launches. Tested under Triton's interpreter and compiled for sm_80, sm_90 and gfx942; no GPU
has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from . import _launch
from ._contrastive_similarity_frames import frame_weights, instance_frames
from .launch_counter import counter

if TYPE_CHECKING:
    from asl_fast.reference.contrastive_similarity import Operands, Outputs


@triton.jit(do_not_specialize=["count", "batch", "frames"])
def pool_kernel(
    features_ptr,
    mask_ptr,
    segments_ptr,
    labels_ptr,
    video_offsets_ptr,
    mu_ptr,
    sigma_ptr,
    vectors_ptr,
    stats_ptr,
    ranges_ptr,
    count,
    batch,
    frames,
    channels,
    DELTA: tl.constexpr,
    TINY: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_MASK: tl.constexpr,
):
    """Write ranges, three unit vectors, and one over their lengths, of one instance."""
    g = tl.program_id(0)
    b = tl.arange(0, BLOCK_B)
    before = tl.load(video_offsets_ptr + 1 + b, mask=b < batch, other=2147483647) <= g
    video = tl.minimum(tl.sum(before.to(tl.int32), 0), batch - 1).to(tl.int64)
    valid_frames = tl.zeros((BLOCK_MASK,), tl.int32)
    for first in range(0, frames, BLOCK_MASK):
        at = first + tl.arange(0, BLOCK_MASK)
        valid_frames += tl.load(mask_ptr + video * frames + at, mask=at < frames, other=0).to(tl.int32)
    last_frame = tl.sum(valid_frames, 0) - 1
    hull_first, hull_last = instance_frames(
        segments_ptr, labels_ptr, mu_ptr, ranges_ptr, g, video, last_frame, DELTA, COMPUTE
    )
    tl.debug_barrier()  # all threads read what one has stored
    d = tl.arange(0, BLOCK_D)
    f_cls = tl.zeros((BLOCK_D,), COMPUTE)
    f_loc = tl.zeros((BLOCK_D,), COMPUTE)
    f_bg = tl.zeros((BLOCK_D,), COMPUTE)
    for first in range(hull_first, hull_last + 1, BLOCK_T):
        t = first + tl.arange(0, BLOCK_T)
        w_cls, w_loc, w_bg = frame_weights(segments_ptr, labels_ptr, mu_ptr, sigma_ptr, ranges_ptr, g, t, COMPUTE)
        at = video * frames + t
        within = (t <= hull_last) & (tl.load(mask_ptr + at, mask=t <= hull_last, other=0) != 0)
        place = features_ptr + at[:, None] * channels + d[None, :]
        x = tl.load(place, mask=within[:, None] & (d < channels)[None, :], other=0.0).to(COMPUTE)
        f_cls += tl.sum(w_cls[:, None] * x, 0)
        f_loc += tl.sum(w_loc[:, None] * x, 0)
        f_bg += tl.sum(w_bg[:, None] * x, 0)
    for kind in tl.static_range(3):
        vector = f_cls if kind == 0 else (f_loc if kind == 1 else f_bg)
        squared = tl.sum(vector * vector, 0)
        inverse = tl.where(squared > TINY, 1.0 / tl.sqrt(tl.where(squared > TINY, squared, 1.0)), 0.0)
        inverse = tl.where(squared == squared, inverse, squared)
        row = kind * count + g
        tl.store(vectors_ptr + row.to(tl.int64) * channels + d, vector * inverse, mask=d < channels)
        tl.store(stats_ptr + row, inverse)


@triton.jit
def vector_labels(labels_ptr, ranges_ptr, row, count):
    """Return the class of f_cls (rows below count) and f_loc (below 2 count), -1 of f_bg, -2 for no part."""
    g = row % count
    inside = row < 3 * count
    label = tl.load(labels_ptr + g, mask=inside, other=-2).to(tl.int32)
    state = tl.load(ranges_ptr + g * 12 + 11, mask=inside, other=0)
    return tl.where(row < 2 * count, tl.where(state > 0, label, -2), tl.where(state == 2, -1, -2))


@triton.jit
def similarity_tile(
    vectors_ptr,
    m,
    n,
    total,
    channels,
    SCALE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Return (m, n) cosines over temperature, channels in blocks."""
    tile = tl.zeros((BLOCK_M, BLOCK_N), COMPUTE)
    for first in range(0, channels, BLOCK_K):
        d = first + tl.arange(0, BLOCK_K)
        left = vectors_ptr + m.to(tl.int64)[:, None] * channels + d[None, :]
        right = vectors_ptr + n.to(tl.int64)[None, :] * channels + d[:, None]
        a = tl.load(left, mask=(m < total)[:, None] & (d < channels)[None, :], other=0.0)
        b = tl.load(right, mask=(n < total)[None, :] & (d < channels)[:, None], other=0.0)
        tile = tl.dot(a, b, tile, input_precision="ieee", out_dtype=COMPUTE)
    return tile * SCALE


@triton.jit
def add_to_log_sum(highest, total, tile, counts):
    """Continue a running maximum and sum of exp(x - maximum) over another tile."""
    among = tl.where(counts, tile, -float("inf"))
    higher = tl.maximum(highest, tl.max(among, 1))
    origin = tl.where(higher == -float("inf"), 0.0, higher)  # no key so far
    total = total * tl.exp(highest - origin) + tl.sum(tl.exp(among - origin[:, None]), 1)
    return higher, total


@triton.jit(do_not_specialize=["count"])
def log_sums_kernel(
    vectors_ptr,
    labels_ptr,
    ranges_ptr,
    stats_ptr,
    base_ptr,
    counter_ptr,
    parts_ptr,
    total_ptr,
    loss_ptr,
    anchors_ptr,
    count,
    channels,
    WEIGHT: tl.constexpr,
    SCALE: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Write both log-sum-exps of BLOCK_M vectors, infinite without a positive; the last program sums up."""
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    own = vector_labels(labels_ptr, ranges_ptr, m, count)
    high_all = tl.full((BLOCK_M,), -float("inf"), COMPUTE)
    high_positive = tl.full((BLOCK_M,), -float("inf"), COMPUTE)
    sum_all = tl.zeros((BLOCK_M,), COMPUTE)
    sum_positive = tl.zeros((BLOCK_M,), COMPUTE)
    # A block of background vectors alone has no anchor.
    keys = tl.where(tl.program_id(0) * BLOCK_M < 2 * count, 3 * count, 0)
    for first in range(0, keys, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        tile = similarity_tile(vectors_ptr, m, n, 3 * count, channels, SCALE, COMPUTE, BLOCK_M, BLOCK_N, BLOCK_K)
        label = vector_labels(labels_ptr, ranges_ptr, n, count)
        usable = (label > -2)[None, :] & (m[:, None] != n[None, :])
        positive = usable & (label[None, :] == own[:, None]) & (own >= 0)[:, None]
        high_all, sum_all = add_to_log_sum(high_all, sum_all, tile, usable)
        high_positive, sum_positive = add_to_log_sum(high_positive, sum_positive, tile, positive)
    counted = sum_positive != 0
    log_all = tl.where(counted, high_all + tl.log(tl.where(counted, sum_all, 1.0)), float("inf"))
    log_positive = tl.where(counted, high_positive + tl.log(tl.where(counted, sum_positive, 1.0)), float("inf"))
    tl.store(stats_ptr + 3 * count + m, log_all, mask=m < 3 * count)
    tl.store(stats_ptr + 6 * count + m, log_positive, mask=m < 3 * count)
    loss = tl.where(counted, log_all - log_positive, 0.0)
    tl.store(parts_ptr + 2 * tl.program_id(0), tl.sum(loss, 0))
    tl.store(parts_ptr + 2 * tl.program_id(0) + 1, tl.sum(counted.to(COMPUTE), 0))
    programs = tl.num_programs(0)
    tl.debug_barrier()  # the sums of the whole program are written before it counts as finished
    if tl.atomic_add(counter_ptr, 1) == programs - 1:
        store_mean(parts_ptr, base_ptr, total_ptr, loss_ptr, anchors_ptr, programs, WEIGHT, COMPUTE)
        tl.store(counter_ptr, 0)


@triton.jit
def store_mean(
    parts_ptr, base_ptr, total_ptr, loss_ptr, anchors_ptr, parts, WEIGHT: tl.constexpr, COMPUTE: tl.constexpr
):
    """Write the loss over the number of anchors, at least 1, and the total; read past this processor's cache."""
    BLOCK: tl.constexpr = 128
    loss = tl.zeros((BLOCK,), COMPUTE)
    anchors = tl.zeros((BLOCK,), COMPUTE)
    for first in range(0, parts, BLOCK):
        at = first + tl.arange(0, BLOCK)
        loss += tl.load(parts_ptr + 2 * at, mask=at < parts, other=0.0, cache_modifier=".cg")
        anchors += tl.load(parts_ptr + 2 * at + 1, mask=at < parts, other=0.0, cache_modifier=".cg")
    number = tl.maximum(tl.sum(anchors, 0), 1.0)
    mean = tl.sum(loss, 0) / number
    total = mean * WEIGHT
    if base_ptr is not None:
        total += tl.load(base_ptr)
    tl.store(anchors_ptr, number)
    tl.store(loss_ptr, mean)
    tl.store(total_ptr, total)


def tile_options(compute: tl.dtype) -> dict[str, object]:
    """Choose tiles of 16 rows: 32 do not fit in the registers of sm_90, and few instances give more programs."""
    return {"BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_K": 32, "COMPUTE": compute, **_launch.FUSED}


def contrastive_similarity_loss(given: Operands) -> Outputs:
    """Compute in two launches."""
    found = given.outputs()
    features, dtype, device = given.features, found.loss.dtype, found.loss.device
    (batch, frames, channels), count = features.shape, given.segments.shape[0]
    if count == 0:
        found.loss.zero_()
        found.anchors.fill_(1)
        if given.base is None:
            found.total.zero_()
        else:
            found.total.copy_(given.base)
        return found
    compute = _launch.triton_type(dtype)
    block_d = max(16, triton.next_power_of_2(channels))
    options = tile_options(compute)
    blocks = triton.cdiv(3 * count, int(str(options["BLOCK_M"])))
    parts = _launch.empty((blocks, 2), dtype, device)
    labels = given.labels.contiguous()
    with _launch.on_device_of(features):
        _launch.launch(
            pool_kernel, (count,),
            features.contiguous(), given.mask.contiguous().view(torch.uint8), given.segments.contiguous(), labels,
            given.video_offsets.contiguous(), given.mu.contiguous(), given.sigma.contiguous(),
            found.vectors, found.stats, found.ranges, count, batch, frames, channels,
            DELTA=float(given.delta), TINY=torch.finfo(dtype).tiny, COMPUTE=compute,
            BLOCK_T=max(1, 4096 // block_d) if compute == tl.float32 else max(1, 2048 // block_d), BLOCK_D=block_d,
            BLOCK_B=triton.next_power_of_2(batch), BLOCK_MASK=1024, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        _launch.launch(
            log_sums_kernel, (blocks,),
            found.vectors, labels, found.ranges, found.stats, given.base, counter(features), parts,
            found.total, found.loss, found.anchors, count, channels,
            WEIGHT=float(given.weight), SCALE=1.0 / given.temperature, **options,
        )  # fmt: skip
    return found
