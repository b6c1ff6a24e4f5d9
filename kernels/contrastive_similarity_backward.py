# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss, backward: similarities once more in tiles, then back to frames and Gaussians.

The similarity is symmetric: what a vector receives as an anchor and as a key comes from one row of tiles, so a program
owns its vectors and nothing is added atomically. Each tile is computed once, for all channels: gradients of 64 vectors
do not fit into registers, so they wait in memory, a slice of channels at a time, while the next tile of similarities is
computed. Where few vectors leave processors idle, the keys are divided among programs, and whoever reads a gradient
sums its parts. Where the forward pass has kept the similarities, _contrastive_similarity_kept.py does all that.

What the frames and Gaussians receive is in _contrastive_similarity_inputs.py. Two launches. Tested under Triton's
interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from . import _launch
from ._contrastive_similarity_frames import frames_of_instance
from ._contrastive_similarity_inputs import input_gradient_kernel
from ._contrastive_similarity_kept import kept_gradient_kernel, kept_options, kept_tiles
from ._contrastive_similarity_tiles import (
    add_product,
    class_of,
    clear_gaussians,
    count_of,
    keys_of,
    log_sums_of,
    loss_factor,
    parts_of,
    parts_of_factor,
    place_of,
    programs,
    similarity_tile,
    slopes,
    tile_options,
    vector_labels,
)

if TYPE_CHECKING:
    from asl_fast.reference.contrastive_similarity import BackwardOperands, BackwardOutputs


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
        clear_gaussians(counters_ptr, grad_mu_ptr, grad_sigma_ptr, classes, COMPUTE)
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
    factor = loss_factor(grad_total_ptr, grad_loss_ptr, anchors_ptr, WEIGHT, SCALE, COMPUTE)
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
        key_all, key_both = log_sums_of(stats_ptr, n_place, n < total, room, BOUNDED)
        slope = slopes(tile, label[None, :] == own[:, None], own_all, own_both, key_all, key_both, BOUNDED)
        slope = tl.where(usable, slope, 0.0)
        along += tl.sum(slope * tile, 1)
        slope_high, slope_low = parts_of_factor(slope, SPLIT)
        is_first, is_last = key_tile == part, key_tile + parts >= tiles
        for first in tl.range(0, channels, BLOCK_D, num_stages=1):
            d = first + tl.arange(0, BLOCK_D)
            inside = (m < total)[:, None] & (d < channels)[None, :]
            out = out_ptr + ((part.to(tl.int64) * total + m) * channels)[:, None] + d[None, :]
            gradient = tl.load(out, mask=inside & ~is_first, other=0.0)
            place = vectors_ptr + (n_place.to(tl.int64) * channels)[:, None] + d[None, :]
            key = tl.load(place, mask=(n < total)[:, None] & (d < channels)[None, :], other=0.0)
            gradient = add_product(gradient, slope_high, slope_low, key, SPLIT)
            place = vectors_ptr + (m_place.to(tl.int64) * channels)[:, None] + d[None, :]
            unit = tl.load(place, mask=inside & is_last, other=0.0)
            whole = through_length[:, None] * (gradient - (along / SCALE)[:, None] * unit)
            tl.store(out, tl.where(is_last, whole, gradient), mask=inside)
        tl.debug_barrier()  # the next tile finds what is stored, whichever threads did it


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
    options = tile_options(compute, channels, given.temperature, keys=64, stages=2, at_once=2)
    slots = int(str(options["SLOTS"]))
    kept = kept_tiles(compute, channels, slots) if given.similarities.numel() else None
    if kept is None:
        block_m, block_n, slices = int(str(options["BLOCK_M"])), int(str(options["BLOCK_N"])), 1
    else:
        block_m, block_n, slots, slices = kept.block_m, kept.block_n, kept.slots, _launch.cdiv(channels, kept.block_d)
    grid = programs(_launch.cdiv(3 * room, block_m), _launch.cdiv(3 * room, block_n), slots)
    classes, of_gaussians = given.mu.shape[0], room if given.need_gaussians else 0
    numbers = block_m * grid * channels
    scratch = _launch.empty((numbers + 6 * of_gaussians,), dtype, device)
    counters = _launch.empty((classes,), torch.int32, device) if given.need_gaussians else None
    labels, offsets, ranges = given.labels.contiguous(), given.video_offsets.contiguous(), given.ranges.contiguous()
    grad_mu, grad_sigma = _launch.or_none(found.grad_mu), _launch.or_none(found.grad_sigma)
    frame_block = {"FRAMES": 32, "SLICE": 64}
    of_video = _launch.cdiv(frames, frame_block["FRAMES"]) * _launch.cdiv(channels, frame_block["SLICE"])
    tiles = batch * of_video if given.need_features else 0
    # By default the compiler makes room for more programs at a time and spills a few registers for that.
    registers = _launch.register_limit(128 if compute == tl.float32 else 255)
    with _launch.on_device_of(features):
        if kept is not None:
            _launch.launch(
                kept_gradient_kernel, (grid * slices,),
                given.grad_total, given.grad_loss, given.vectors.contiguous(), given.similarities.contiguous(), offsets,
                given.stats.contiguous(), given.anchors, scratch, counters, grad_mu, grad_sigma,
                room, batch, channels, classes,
                WEIGHT=float(given.weight), **kept_options(options, kept),
            )  # fmt: skip
        else:
            _launch.launch(
                vector_gradient_kernel, (grid,),
                given.grad_total, given.grad_loss, given.vectors.contiguous(), labels, ranges, offsets,
                given.stats.contiguous(), given.anchors, scratch, counters, grad_mu, grad_sigma,
                room, batch, channels, classes,
                WEIGHT=float(given.weight), BLOCK_D=options["BLOCK_K"], **options, **_launch.FUSED,
            )  # fmt: skip
        if of_gaussians + tiles:
            _launch.launch(
                input_gradient_kernel, (of_gaussians + tiles,),
                scratch, features.contiguous(), given.mask.contiguous().view(torch.uint8), given.segments.contiguous(),
                labels, offsets, given.mu.contiguous(), given.sigma.contiguous(), ranges, counters, scratch[numbers:],
                _launch.or_none(found.grad_features), grad_mu, grad_sigma, of_gaussians, batch, frames, channels,
                SLOTS=slots, COMPUTE=compute, SPLIT=options["SPLIT"], BLOCK_M=block_m, BLOCK_N=block_n,
                num_warps=8, num_stages=1, enable_fp_fusion=True, **registers, **frame_block,
                **frames_of_instance(features),
            )  # fmt: skip
    return found
