# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss, forward: pooling of every instance's frames, then InfoNCE without its matrix.

A program pools one instance, whole vectors at a time, so that their lengths need no second pass; each of its warps has
every eighth frame, and their sums are added in order at the end. Then a program owns
BLOCK_M anchors and walks over keys with running maxima and sums (Milakov and Gimelshein, 2018), or over a part of them;
the one that comes last to its anchors joins their parts, and the one that comes last of all takes the mean. Where the
backward pass will want the similarities and there are few, they are stored. Two launches. Tested under Triton's
interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from . import _launch
from ._contrastive_similarity_frames import (
    frame_weights,
    frames_of_instance,
    instance_frames,
    inverses,
    last_valid_frame,
    load_frames,
    load_gaussians,
    store_row,
    video_of,
    whole_hull,
)
from ._contrastive_similarity_tiles import (
    KEY_ALL,
    KEY_BOTH,
    KEY_CLASS,
    class_of,
    columns_of,
    count_of,
    keep_tile,
    kept_row,
    parts_of,
    parts_of_slopes,
    place_of,
    programs,
    similarity_tile,
    tile_options,
    vector_labels,
)

if TYPE_CHECKING:
    from asl_fast.reference.contrastive_similarity import Operands, Outputs


@triton.jit(do_not_specialize=["room", "batch", "frames", "counters"])
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
    counters_ptr,
    similarities_ptr,
    room,
    batch,
    frames,
    channels,
    counters,
    DELTA: tl.constexpr,
    TINY: tl.constexpr,
    BOUNDED: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNKS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write ranges, three unit vectors, and one over their lengths, of one instance; set the counters to zero."""
    g = tl.program_id(0)
    counter = g + room * tl.arange(0, 2)
    tl.store(counters_ptr + counter, tl.zeros((2,), tl.int32), mask=counter < counters)
    # All that depends on nothing else is on its way together.
    start = tl.load(segments_ptr + 2 * g).to(COMPUTE)
    end = tl.load(segments_ptr + 2 * g + 1).to(COMPUTE)
    written = tl.load(labels_ptr + g)
    count = count_of(video_offsets_ptr, batch)
    takes_part = g < count
    video = video_of(video_offsets_ptr, g, batch)
    label = tl.where(takes_part, written, 0)
    mu = load_gaussians(mu_ptr, label, COMPUTE)
    inverse_sigma = inverses(load_gaussians(sigma_ptr, label, COMPUTE))
    last_frame = last_valid_frame(mask_ptr, video, frames, 4096)
    if similarities_ptr is not None:
        begin_similarities(similarities_ptr, g, label, count, room, BOUNDED)
    row = instance_frames(start, end, mu, video, last_frame, takes_part, DELTA, COMPUTE)
    store_row(ranges_ptr + g * 12, row)
    hull_first, hull_last = whole_hull(row)
    t = hull_first + tl.arange(0, ROWS)[None, :, None]
    features_ptr += (video.to(tl.int64) * frames + hull_first) * channels
    f_cls = tl.zeros((CHUNKS, ROWS, WIDTH), COMPUTE)
    f_loc, f_bg = f_cls, f_cls
    for begin in range(hull_first, hull_last + 1, BLOCK_T):
        for step in tl.static_range(BLOCK_T // ROWS):
            first = begin + step * ROWS
            x = load_frames(features_ptr, hull_last + 1 - first, channels, COMPUTE, ROWS, CHUNKS, WIDTH)
            w_cls, w_loc, w_bg = frame_weights(start, end, mu, inverse_sigma, row, t, COMPUTE)
            f_cls = tl.fma(w_cls, x, f_cls)
            f_loc = tl.fma(w_loc, x, f_loc)
            f_bg = tl.fma(w_bg, x, f_bg)
            t += ROWS
            features_ptr += ROWS * channels
    f_cls, f_loc, f_bg = tl.sum(f_cls, 1), tl.sum(f_loc, 1), tl.sum(f_bg, 1)
    # All three together, so that lanes and warps meet once: (chunks, channels, [cls, bg], [_, loc]), one too many.
    pooled = tl.join(tl.join(f_cls, f_bg), tl.join(f_loc, f_loc))
    squared = tl.sum(tl.sum(pooled * pooled, 0), 0)
    inverse = tl.where(squared > TINY, 1.0 / tl.sqrt(tl.where(squared > TINY, squared, 1.0)), 0.0)
    inverse = tl.where(squared == squared, inverse, squared)
    which = 2 * tl.arange(0, 2)[:, None] + tl.arange(0, 2)[None, :]
    place = which * room + g
    d = tl.arange(0, CHUNKS)[:, None, None, None] * WIDTH + tl.arange(0, WIDTH)[None, :, None, None]
    vectors_ptr += place.to(tl.int64)[None, None, :, :] * channels
    tl.store(vectors_ptr + d, pooled * inverse[None, None, :, :], mask=(d < channels) & (which < 3)[None, None, :, :])
    tl.store(stats_ptr + place, inverse, mask=which < 3)
    # What the next launch leaves as it is: the background and padding.
    kind = tl.arange(0, 4)
    tl.store(stats_ptr + (3 + kind) * room + g, float("inf"), mask=kind < 3)
    tl.store(stats_ptr + (6 + kind) * room + g, float("inf"), mask=kind < 3)


@triton.jit
def begin_similarities(similarities_ptr, g, label, count, room, BOUNDED: tl.constexpr):
    """Write what the next launch leaves out: of an instance its class, else of padding.

    There is no similarity of two backgrounds or of padding, and neither is an anchor. Nobody reads the values of what
    takes no part, but a result has no room that holds just anything.
    """
    BLOCK: tl.constexpr = 1024
    columns, takes_part = columns_of(room), g < count
    for kind in tl.static_range(3):
        row = tl.where(takes_part, kind * count + g, 3 * g + kind)
        kept = tl.where(takes_part, (2 if kind == 2 else 3) * count, 0)
        for first in range(kept, columns, BLOCK):
            at = first + tl.arange(0, BLOCK)
            tl.store(similarities_ptr + row * columns + at, 0.0, mask=at < columns)
        tl.store(kept_row(similarities_ptr, KEY_CLASS, room) + row, label if kind < 2 else -1.0)
        if kind == 2 or not takes_part:
            tl.store(kept_row(similarities_ptr, KEY_ALL, room) + row, 0.0 if BOUNDED else float("inf"))
            tl.store(kept_row(similarities_ptr, KEY_BOTH, room) + row, 0.0 if BOUNDED else float("inf"))
    if g == 0:
        at = 3 * room + tl.arange(0, 32)
        for which in tl.static_range(3):
            tl.store(kept_row(similarities_ptr, which, room) + at, 0.0, mask=at < columns)


@triton.jit
def add_to_log_sum(highest, total, tile, counts):
    """Continue a running maximum and sum of exp(x - maximum) over another tile."""
    among = tl.where(counts, tile, -float("inf"))
    higher = tl.maximum(highest, tl.max(among, 1))
    origin = tl.where(higher == -float("inf"), 0.0, higher)  # no key so far
    total = total * tl.exp(highest - origin) + tl.sum(tl.exp(among - origin[:, None]), 1)
    return higher, total


@triton.jit
def join_log_sums(parts_ptr, stride, parts, m, inside, BOUNDED: tl.constexpr, COMPUTE: tl.constexpr):
    """Return maximum and sum over ``parts`` pairs of them, in order; each pair lies 4 * ``stride`` after the former.

    Sixteen parts are on their way at once. If BOUNDED, all maxima are 0 and not read.
    """
    highest = tl.where(inside, 0.0 if BOUNDED else -float("inf"), 0.0).to(COMPUTE)
    total = tl.zeros_like(highest)
    for first in range(0, parts, 16):
        part = first + tl.arange(0, 16)[:, None]
        at = parts_ptr + (4 * part).to(tl.int64) * stride + m[None, :]
        within = (part < parts) & inside[None, :]
        sums = tl.load(at + stride, mask=within, other=0.0, cache_modifier=".cg")
        if BOUNDED:
            total += tl.sum(sums, 0)
        else:
            maxima = tl.load(at, mask=within, other=-float("inf"), cache_modifier=".cg")
            higher = tl.maximum(highest, tl.max(maxima, 0))
            origin = tl.where(higher == -float("inf"), 0.0, higher)
            total = total * tl.exp(highest - origin) + tl.sum(sums * tl.exp(maxima - origin[None, :]), 0)
            highest = higher
    return highest, total


@triton.jit(do_not_specialize=["room", "batch"])
def log_sums_kernel(
    vectors_ptr,
    labels_ptr,
    ranges_ptr,
    video_offsets_ptr,
    stats_ptr,
    base_ptr,
    counters_ptr,
    parts_ptr,
    means_ptr,
    total_ptr,
    loss_ptr,
    anchors_ptr,
    similarities_ptr,
    room,
    batch,
    channels,
    WEIGHT: tl.constexpr,
    SCALE: tl.constexpr,
    BOUNDED: tl.constexpr,
    SLOTS: tl.constexpr,
    COMPUTE: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Write both log-sum-exps of BLOCK_M anchors, infinite without a positive, and the mean.

    ``parts_ptr`` is (parts, 4, anchors): maximum and sum over all keys, then over the positives; ``means_ptr``
    (blocks, 2): loss and number of anchors. The counters are of each block, and of the blocks that are done.
    """
    count = count_of(video_offsets_ptr, batch)
    rows, total = 2 * count, 3 * count
    blocks, tiles = tl.cdiv(rows, BLOCK_M), tl.cdiv(total, BLOCK_N)
    parts = parts_of(blocks, tiles, SLOTS)
    block, part = tl.program_id(0) // tl.maximum(parts, 1), tl.program_id(0) % tl.maximum(parts, 1)
    m = block * BLOCK_M + tl.arange(0, BLOCK_M)
    if block < blocks:
        own = class_of(vector_labels(labels_ptr, ranges_ptr, m, count))
        high_all = tl.full((BLOCK_M,), 0.0 if BOUNDED else -float("inf"), COMPUTE)
        high_positive = high_all
        sum_all = tl.zeros((BLOCK_M,), COMPUTE)
        sum_positive = tl.zeros((BLOCK_M,), COMPUTE)
        for key in range(part, tiles, parts):
            n = key * BLOCK_N + tl.arange(0, BLOCK_N)
            tile = similarity_tile(
                vectors_ptr, m, n, count, room, channels, SCALE, COMPUTE, SPLIT, BLOCK_M, BLOCK_N, BLOCK_K
            )
            if similarities_ptr is not None:
                keep_tile(similarities_ptr, tile, m, n, count, room)
            label = vector_labels(labels_ptr, ranges_ptr, n, count)
            usable = (label > -2)[None, :] & (m[:, None] != n[None, :])
            positive = usable & (label[None, :] == own[:, None])
            if BOUNDED:
                among = tl.exp(tile)
                sum_all += tl.sum(tl.where(usable, among, 0.0), 1)
                sum_positive += tl.sum(tl.where(positive, among, 0.0), 1)
            else:
                high_all, sum_all = add_to_log_sum(high_all, sum_all, tile, usable)
                high_positive, sum_positive = add_to_log_sum(high_positive, sum_positive, tile, positive)
        at = parts_ptr + (4 * part).to(tl.int64) * rows + m
        tl.store(at, high_all, mask=m < rows)
        tl.store(at + rows, sum_all, mask=m < rows)
        tl.store(at + 2 * rows, high_positive, mask=m < rows)
        tl.store(at + 3 * rows, sum_positive, mask=m < rows)
        tl.debug_barrier()  # the whole program has written before it counts as finished
        if tl.atomic_add(counters_ptr + block, 1) == parts - 1:
            high_all, sum_all = join_log_sums(parts_ptr, rows, parts, m, m < rows, BOUNDED, COMPUTE)
            high_positive, sum_positive = join_log_sums(
                parts_ptr + 2 * rows, rows, parts, m, m < rows, BOUNDED, COMPUTE
            )
            counted = (m < rows) & (sum_positive != 0)
            log_all = tl.where(counted, high_all + tl.log(tl.where(counted, sum_all, 1.0)), float("inf"))
            log_positive = high_positive + tl.log(tl.where(counted, sum_positive, 1.0))
            log_positive = tl.where(counted, log_positive, float("inf"))
            log_sums = stats_ptr + 3 * room + place_of(m, count, room)
            tl.store(log_sums, log_all, mask=m < rows)
            tl.store(log_sums + 3 * room, log_positive, mask=m < rows)
            if similarities_ptr is not None:
                own_all, own_both = parts_of_slopes(log_all, log_positive, BOUNDED)
                tl.store(kept_row(similarities_ptr, KEY_ALL, room) + m, own_all, mask=m < rows)
                tl.store(kept_row(similarities_ptr, KEY_BOTH, room) + m, own_both, mask=m < rows)
            loss = tl.where(counted, log_all - log_positive, 0.0)
            tl.store(means_ptr + 2 * block, tl.sum(loss, 0))
            tl.store(means_ptr + 2 * block + 1, tl.sum(counted.to(COMPUTE), 0))
            tl.debug_barrier()
            if tl.atomic_add(counters_ptr + blocks, 1) == blocks - 1:
                store_mean(means_ptr, base_ptr, total_ptr, loss_ptr, anchors_ptr, blocks, WEIGHT, COMPUTE)
    elif (count == 0) & (tl.program_id(0) == 0):
        store_mean(means_ptr, base_ptr, total_ptr, loss_ptr, anchors_ptr, 0, WEIGHT, COMPUTE)


@triton.jit
def store_mean(
    means_ptr, base_ptr, total_ptr, loss_ptr, anchors_ptr, blocks, WEIGHT: tl.constexpr, COMPUTE: tl.constexpr
):
    """Write the loss over the number of anchors, at least 1, and the total; read past this processor's cache."""
    BLOCK: tl.constexpr = 128
    loss = tl.zeros((BLOCK,), COMPUTE)
    anchors = tl.zeros((BLOCK,), COMPUTE)
    for first in range(0, blocks, BLOCK):
        at = first + tl.arange(0, BLOCK)
        loss += tl.load(means_ptr + 2 * at, mask=at < blocks, other=0.0, cache_modifier=".cg")
        anchors += tl.load(means_ptr + 2 * at + 1, mask=at < blocks, other=0.0, cache_modifier=".cg")
    number = tl.maximum(tl.sum(anchors, 0), 1.0)
    mean = tl.sum(loss, 0) / number
    total = mean * WEIGHT
    if base_ptr is not None:
        total += tl.load(base_ptr)
    tl.store(anchors_ptr, number)
    tl.store(loss_ptr, mean)
    tl.store(total_ptr, total)


def contrastive_similarity_loss(given: Operands) -> Outputs:
    """Compute in two launches."""
    found = given.outputs()
    features, dtype, device = given.features, found.loss.dtype, found.loss.device
    (batch, frames, channels), room = features.shape, given.segments.shape[0]
    if room == 0:
        found.loss.zero_()
        found.anchors.fill_(1)
        if given.base is None:
            found.total.zero_()
        else:
            found.total.copy_(given.base)
        return found
    compute = _launch.triton_type(dtype)
    options = tile_options(compute, channels, given.temperature, keys=32, stages=3, at_once=3)
    block_m, block_n = int(str(options["BLOCK_M"])), int(str(options["BLOCK_N"]))
    blocks = _launch.cdiv(2 * room, block_m)
    grid = programs(blocks, _launch.cdiv(3 * room, block_n), int(str(options["SLOTS"])))
    numbers = 4 * block_m * max(grid, 8)  # of one size for small calls, which the allocator then has at hand
    scratch = _launch.empty((numbers + 2 * blocks,), dtype, device)
    counters = _launch.empty((blocks + 1,), torch.int32, device)
    labels, offsets = given.labels.contiguous(), given.video_offsets.contiguous()
    similarities = _launch.or_none(found.similarities)
    # By default the compiler makes room for more programs at a time and spills a few registers for that.
    registers = _launch.register_limit(128 if compute == tl.float32 else 255)
    with _launch.on_device_of(features):
        _launch.launch(
            pool_kernel, (room,),
            features.contiguous(), given.mask.contiguous().view(torch.uint8), given.segments.contiguous(), labels,
            offsets, given.mu.contiguous(), given.sigma.contiguous(),
            found.vectors, found.stats, found.ranges, counters, similarities, room, batch, frames, channels, blocks + 1,
            DELTA=float(given.delta), TINY=torch.finfo(dtype).tiny, COMPUTE=compute, BOUNDED=options["BOUNDED"],
            num_warps=8, num_stages=1, enable_fp_fusion=False, **frames_of_instance(features), **registers,
        )  # fmt: skip
        _launch.launch(
            log_sums_kernel, (grid,),
            found.vectors, labels, found.ranges, offsets, found.stats, given.base, counters, scratch,
            scratch[numbers:], found.total, found.loss, found.anchors, similarities, room, batch, channels,
            WEIGHT=float(given.weight), **options, **_launch.FUSED,
        )  # fmt: skip
    return found
