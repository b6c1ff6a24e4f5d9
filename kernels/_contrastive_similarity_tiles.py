# SPDX-License-Identifier: Apache-2.0
"""Tiles of cosines between pooled vectors, for both passes: which vectors there are, and who computes which tile.

The vectors f_cls, f_loc and f_bg of the ``count`` instances that take part are numbered one after the other, anchors
first. They lie in tensors with room for more: what padding adds lies between the kinds and is never looked at, and
nothing below depends on how much room there is. So a padded call gives the bits of the call without padding.

A program owns a block of vectors and, where there are few blocks, only every ``parts``-th tile of their keys.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import _launch

# Programs of 4 warps that an H100 holds at a time, two on each of its 132 processors.
SLOTS = 264


def programs(blocks: int, tiles: int, slots: int) -> int:
    """Return how many programs :func:`parts_of` needs at most, for so many blocks and tiles of keys or for fewer."""
    return max(blocks, min(slots, blocks * tiles))


@triton.jit
def parts_of(blocks, tiles, SLOTS: tl.constexpr):
    """Return among how many programs the keys of a block are divided."""
    return tl.minimum(tiles, tl.maximum(SLOTS // tl.maximum(blocks, 1), 1))


@triton.jit
def keys_of(first_row, count):
    """Return how many keys a block of vectors meets: background has a slope only as the key of anchors."""
    return tl.where(first_row < 2 * count, 3 * count, 2 * count)


@triton.jit
def count_of(video_offsets_ptr, batch):
    """Return the number of instances that take part; what lies behind them is padding."""
    return tl.load(video_offsets_ptr + batch).to(tl.int32)


@triton.jit
def kind_of(row, count):
    """Return 0 for f_cls, 1 for f_loc, 2 for f_bg."""
    return (row >= count).to(tl.int32) + (row >= 2 * count).to(tl.int32)


@triton.jit
def place_of(row, count, room):
    """Return where a vector lies in a tensor with room for so many instances."""
    return row + kind_of(row, count) * (room - count)


# Rows of a matrix of kept similarities behind those of the vectors: what a key's slopes are made of.
KEY_ALL, KEY_BOTH, KEY_CLASS = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def columns_of(room):
    """Return the length of a row of kept similarities."""
    return tl.cdiv(3 * room, 32) * 32


@triton.jit
def kept_row(similarities_ptr, which, room):
    """Return where one of the rows behind those of the vectors begins."""
    return similarities_ptr + (3 * room + which) * columns_of(room)


@triton.jit
def keep_tile(similarities_ptr, tile, m, n, count, room):
    """Keep the similarities of anchors m with keys n, and of backgrounds with the anchors, which are the same."""
    columns = columns_of(room)
    # A vector has no slope with itself: the exponential of this is 0, as it is times this.
    tile = tl.where(m[:, None] == n[None, :], -1e37, tile)
    inside = (m < 2 * count)[:, None] & (n < 3 * count)[None, :]
    tl.store(similarities_ptr + m[:, None] * columns + n[None, :], tile, mask=inside)
    inside = inside & (n >= 2 * count)[None, :]
    tl.store(similarities_ptr + n[None, :] * columns + m[:, None], tile, mask=inside)


@triton.jit
def vector_labels(labels_ptr, ranges_ptr, row, count):
    """Return the class of f_cls and f_loc, -1 of f_bg, -2 of what takes no part."""
    kind = kind_of(row, count)
    g = row - kind * count
    inside = row < 3 * count
    label = tl.load(labels_ptr + g, mask=inside, other=-2).to(tl.int32)
    state = tl.load(ranges_ptr + g * 12 + 11, mask=inside, other=0)
    return tl.where(kind < 2, tl.where(state > 0, label, -2), tl.where(state == 2, -1, -2))


@triton.jit
def class_of(label):
    """Return the class of an anchor; -3, which no key has, of what is none."""
    return tl.where(label < 0, -3, label)


@triton.jit
def split(x):
    """Return the nearest float32 of 11 bits, which TF32 holds, and what is left: 12 bits, of which TF32 drops one."""
    high = ((x.to(tl.int32, bitcast=True) + 4096) & -8192).to(tl.float32, bitcast=True)
    return high, x - high


@triton.jit
def add_product(sums, a_high, a_low, b, SPLIT: tl.constexpr):
    """Return ``sums + a @ b``, a split before."""
    if SPLIT:
        b_high, b_low = split(b)
        sums = tl.dot(a_low, b_high, sums, input_precision="tf32")
        sums = tl.dot(a_high, b_low, sums, input_precision="tf32")
        return tl.dot(a_high, b_high, sums, input_precision="tf32")
    else:
        return tl.dot(a_high, b, sums, input_precision="ieee", out_dtype=sums.dtype)


@triton.jit
def parts_of_factor(a, SPLIT: tl.constexpr):
    """Return what :func:`add_product` takes for a factor."""
    if SPLIT:
        return split(a)
    else:
        return a, a


@triton.jit
def add_weighted(sums, weights, vectors, SPLIT: tl.constexpr):
    """Return ``sums + weights @ vectors``, both split here."""
    high, low = parts_of_factor(weights, SPLIT)
    return add_product(sums, high, low, vectors, SPLIT)


@triton.jit
def similarity_tile(
    vectors_ptr,
    m,
    n,
    count,
    room,
    channels,
    SCALE: tl.constexpr,
    COMPUTE: tl.constexpr,
    SPLIT: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Return cosines over temperature of vectors m with vectors n, channels in blocks."""
    total = 3 * count
    left = vectors_ptr + (place_of(m, count, room).to(tl.int64) * channels)[:, None]
    right = vectors_ptr + (place_of(n, count, room).to(tl.int64) * channels)[None, :]
    tile = tl.zeros((BLOCK_M, BLOCK_N), COMPUTE)
    for first in range(0, channels, BLOCK_K):
        d = first + tl.arange(0, BLOCK_K)
        a = tl.load(left + d[None, :], mask=(m < total)[:, None] & (d < channels)[None, :], other=0.0)
        b = tl.load(right + d[:, None], mask=(n < total)[None, :] & (d < channels)[:, None], other=0.0)
        a_high, a_low = parts_of_factor(a, SPLIT)
        tile = add_product(tile, a_high, a_low, b, SPLIT)
    return tile * SCALE


@triton.jit
def log_sums_of(stats_ptr, place, inside, room, BOUNDED: tl.constexpr):
    """Return what :func:`parts_of_slopes` makes of the log-sum-exps of vectors."""
    log_all = tl.load(stats_ptr + 3 * room + place, mask=inside, other=float("inf"))
    log_positive = tl.load(stats_ptr + 6 * room + place, mask=inside, other=float("inf"))
    return parts_of_slopes(log_all, log_positive, BOUNDED)


@triton.jit
def parts_of_slopes(log_all, log_positive, BOUNDED: tl.constexpr):
    """Return both log-sum-exps of vectors, infinite where they are no anchor with a positive.

    If bounded, what to multiply exp(similarity) with: 1 / sum for another class, less 1 / sum of the positives for the
    own; 0 where there is no sum.
    """
    if BOUNDED:
        return tl.exp(-log_all), tl.exp(-log_all) - tl.exp(-log_positive)
    else:
        return log_all, log_positive


@triton.jit
def slopes(tile, positive, own_all, own_both, key_all, key_both, BOUNDED: tl.constexpr):
    """Return the derivatives of the sum over anchors with respect to similarities of different vectors.

    What follows ``positive`` is from :func:`parts_of_slopes`, of the rows and of the columns of the tile.
    """
    if BOUNDED:
        share = tl.where(positive, own_both[:, None] + key_both[None, :], own_all[:, None] + key_all[None, :])
        return tl.exp(tile) * share
    else:
        slope = tl.exp(tile - own_all[:, None]) + tl.exp(tile - key_all[None, :])
        among_positive = tl.exp(tile - own_both[:, None]) + tl.exp(tile - key_both[None, :])
        return slope - tl.where(positive, among_positive, 0.0)


@triton.jit
def loss_factor(
    grad_total_ptr, grad_loss_ptr, anchors_ptr, WEIGHT: tl.constexpr, SCALE: tl.constexpr, COMPUTE: tl.constexpr
):
    """Return what a slope is multiplied with: the gradient that arrives, over temperature and number of anchors."""
    factor = tl.zeros((), COMPUTE)
    if grad_total_ptr is not None:
        factor += tl.load(grad_total_ptr).to(COMPUTE) * WEIGHT
    if grad_loss_ptr is not None:
        factor += tl.load(grad_loss_ptr).to(COMPUTE)
    return factor * SCALE / tl.load(anchors_ptr)


@triton.jit
def clear_gaussians(counters_ptr, grad_mu_ptr, grad_sigma_ptr, classes, COMPUTE: tl.constexpr):
    """Set to zero the counters and the gradients of the Gaussians, which classes without an instance keep."""
    for first in range(tl.program_id(0) * 128, classes, tl.num_programs(0) * 128):
        at = first + tl.arange(0, 128)
        zero = tl.zeros((128,), tl.int32)
        tl.store(counters_ptr + at, zero, mask=at < classes)
        for kind in tl.static_range(3):
            tl.store(grad_mu_ptr + at * 3 + kind, zero.to(COMPUTE), mask=at < classes)
            tl.store(grad_sigma_ptr + at * 3 + kind, zero.to(COMPUTE), mask=at < classes)


def tile_options(
    compute: tl.dtype, channels: int, temperature: float, *, keys: int, stages: int, at_once: int
) -> dict[str, object]:
    """Choose tiles, the arithmetic of their products, and how exponentials are kept from overflowing.

    In float32 tensor cores multiply a factor as the sum of two TF32 numbers, without the product of both remainders:
    about 22 bits of each factor, so that a cosine is right to 4e-7. AMD multiplies float32 by itself. Tiles of float64
    are the largest whose registers hold out.

    A cosine over a temperature of 1/40 or more has an exponential between 1e-18 and 1e18, and so have sums and shares
    of them in float32: they need no maximum, and a share of two sums one exponential.

    A tile of float32 has so many ``keys``; ``stages`` of its channels are on their way to a product at a time. A
    processor holds ``at_once`` programs, two in float64.
    """
    scale = 1.0 / temperature
    slots = SLOTS if compute == tl.float64 else SLOTS // 2 * at_once
    common = {"SCALE": scale, "BOUNDED": scale <= 40, "SLOTS": slots, "COMPUTE": compute}
    if compute == tl.float64:
        return {"BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_K": 32, "SPLIT": False, **common}
    # Channels that are no multiple of 16 are read one by one, which leaves no registers for reading ahead.
    sizes = {"BLOCK_K": 32, "num_stages": stages} if channels % 16 == 0 else {"BLOCK_K": 16, "num_stages": 1}
    return {"BLOCK_M": 64, "BLOCK_N": keys, "SPLIT": not _launch.is_hip(), **sizes, **common}
