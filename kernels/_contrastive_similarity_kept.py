# SPDX-License-Identifier: Apache-2.0
"""The gradient of few pooled vectors, whose similarities the forward pass has kept.

A program owns 32 vectors and 128 of their channels and meets all keys, or every second one: what it needs of a key is
a column of similarities, of which a few operations make slopes, and its 128 channels. What the programs of the same
vectors all compute is small beside the product.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from . import _launch
from ._contrastive_similarity_tiles import (
    KEY_ALL,
    KEY_BOTH,
    KEY_CLASS,
    add_product,
    clear_gaussians,
    columns_of,
    count_of,
    kept_row,
    keys_of,
    loss_factor,
    parts_of,
    parts_of_factor,
    place_of,
    slopes,
)


@triton.jit(do_not_specialize=["room", "batch", "classes"])
def kept_gradient_kernel(
    grad_total_ptr,
    grad_loss_ptr,
    vectors_ptr,
    similarities_ptr,
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
    BLOCK_D: tl.constexpr,
):
    """Compute BLOCK_D channels of the gradient of BLOCK_M pooled vectors, through their lengths: (vectors, channels).

    The product is computed transposed: tensor cores take the slopes from shared memory in the order of the keys.
    """
    if counters_ptr is not None:
        clear_gaussians(counters_ptr, grad_mu_ptr, grad_sigma_ptr, classes, COMPUTE)
    count = count_of(video_offsets_ptr, batch)
    total, columns = 3 * count, columns_of(room)
    slices, blocks = tl.cdiv(channels, BLOCK_D), tl.cdiv(total, BLOCK_M)
    parts = tl.maximum(parts_of(blocks, tl.cdiv(total, BLOCK_N), SLOTS), 1)
    part, block = tl.program_id(0) // slices % parts, tl.program_id(0) // slices // parts
    first_row = block * BLOCK_M
    m = first_row + tl.arange(0, BLOCK_M)
    d = tl.program_id(0) % slices * BLOCK_D + tl.arange(0, BLOCK_D)
    m_place = place_of(m, count, room)
    all_ptr, both_ptr = kept_row(similarities_ptr, KEY_ALL, room), kept_row(similarities_ptr, KEY_BOTH, room)
    class_ptr = kept_row(similarities_ptr, KEY_CLASS, room)
    own_all = tl.load(all_ptr + m, mask=m < total, other=0.0)
    own_both = tl.load(both_ptr + m, mask=m < total, other=0.0)
    own = tl.load(class_ptr + m, mask=m < 2 * count, other=-3.0)
    factor = loss_factor(grad_total_ptr, grad_loss_ptr, anchors_ptr, WEIGHT, SCALE, COMPUTE)
    keys = tl.where(block < blocks, keys_of(first_row, count), 0)
    sums = tl.zeros((BLOCK_D, BLOCK_M), COMPUTE)
    along = tl.zeros((BLOCK_M,), COMPUTE)
    for first in range(part * BLOCK_N, keys, parts * BLOCK_N):
        n = first + tl.arange(0, BLOCK_N)
        n_place = place_of(n, count, room)
        # Similarities of keys that are none are 0, or meet a key of 0.
        tile = tl.load(similarities_ptr + m[:, None] * columns + n[None, :], mask=(m < total)[:, None], other=0.0)
        place = vectors_ptr + (n_place * channels)[None, :] + d[:, None]
        key = tl.load(place, mask=(n < keys)[None, :] & (d < channels)[:, None], other=0.0)
        positive = tl.load(class_ptr + n)[None, :] == own[:, None]
        key_all, key_both = tl.load(all_ptr + n), tl.load(both_ptr + n)
        slope = slopes(tile, positive, own_all, own_both, key_all, key_both, BOUNDED)
        along += tl.sum(slope * tile, 1)
        key_high, key_low = parts_of_factor(key, SPLIT)
        sums = add_product(sums, key_high, key_low, tl.trans(slope), SPLIT)
    inside = (m < total)[None, :] & (d < channels)[:, None]
    unit = tl.load(vectors_ptr + (m_place * channels)[None, :] + d[:, None], mask=inside, other=0.0)
    through_length = tl.load(stats_ptr + m_place, mask=m < total, other=0.0) * factor
    whole = through_length[None, :] * (sums - (along / SCALE)[None, :] * unit)
    tl.store(out_ptr + ((part * total + m) * channels)[None, :] + d[:, None], whole, mask=inside)


class KeptTiles(NamedTuple):
    """Sizes of a program's tile.

    Attributes:
        block_m: Vectors.
        block_n: Keys of a step.
        block_d: Channels.
        slots: Programs of the same channels among which vectors and keys are divided.
    """

    block_m: int
    block_n: int
    block_d: int
    slots: int


def kept_tiles(compute: tl.dtype, channels: int, slots: int) -> KeptTiles:
    """Choose for a device that holds ``slots`` programs."""
    m, n, d = (16, 32, 32) if compute == tl.float64 else (32, 32, 128)
    return KeptTiles(m, n, d, max(slots // _launch.cdiv(channels, d), 1))


def kept_options(options: dict[str, object], tiles: KeptTiles) -> dict[str, object]:
    """Return the constants and options of a launch, of which ``options`` holds those of any tile of similarities.

    Eight warps of at most 128 registers fill a multiprocessor twice.
    """
    chosen = {name: options[name] for name in ("SCALE", "BOUNDED", "COMPUTE", "SPLIT")}
    sizes = {"BLOCK_M": tiles.block_m, "BLOCK_N": tiles.block_n, "BLOCK_D": tiles.block_d, "SLOTS": tiles.slots}
    if options["COMPUTE"] == tl.float64:
        return {**chosen, **sizes, **_launch.FUSED}
    warps = {"num_warps": 8, "num_stages": 3, "enable_fp_fusion": True}
    return {**chosen, **sizes, **warps, **_launch.register_limit(128)}
