# SPDX-License-Identifier: Apache-2.0
"""Windowed attention where a tile of BLOCK positions holds the window: forward and backward in one pass each.

A program owns the inner BLOCK - 2 * radius positions of a tile, so all scores of its queries and of its keys lie within
the tile: no running maximum, no second walk for the gradients of keys and values, nothing added atomically. Channels
go by in chunks, so registers and shared memory suffice for four programs on a multiprocessor of an H100.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ._local_attention_rows import (
    LN_2,
    LOG2_E,
    SIZES,
    as_operand,
    in_window,
    load_bias,
    load_rows,
    load_valid,
    place,
    start,
    store_rows,
    store_slope,
)


@triton.jit(do_not_specialize=SIZES)
def local_attention_fwd_tile_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    mask_ptr,
    bias_ptr,
    out_ptr,
    lse_ptr,
    heads,
    length,
    dim,
    stride_b,
    stride_h,
    stride_t,
    out_stride_b,
    out_stride_h,
    out_stride_t,
    radius,
    scale,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    VECTOR: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Attend with the queries that the program owns; lse (B, H, T) is the log of the sum that normalises each."""
    first, batch, head, row = place(heads, length, BLOCK - 2 * radius)
    first -= radius
    base = start(batch, head, first, stride_b, stride_h, stride_t, VECTOR)
    out_ptr += start(batch, head, first, out_stride_b, out_stride_h, out_stride_t, VECTOR)
    dim, stride_t, out_stride_t = dim * VECTOR, stride_t * VECTOR, out_stride_t * VECTOR
    t = tl.arange(0, BLOCK)
    valid = load_valid(mask_ptr + batch * length, first + t, length)
    mine = (t >= radius) & (t < tl.minimum(BLOCK - radius, length - first))
    scores = tl.zeros((BLOCK, BLOCK), tl.float32)
    if bias_ptr is not None:
        scores += load_bias(bias_ptr, head, t, t, radius) / scale
    for c in range(0, dim, CHUNK):
        channel = c + tl.arange(0, CHUNK)
        q = load_rows(q_ptr + base, t, stride_t, channel, dim, valid & mine, UPCAST)
        k = load_rows(k_ptr + base, t, stride_t, channel, dim, valid, UPCAST)
        scores = tl.dot(q, tl.trans(k), scores, input_precision=PRECISION)
    scores *= scale * LOG2_E
    shift = t[None, :] - t[:, None] + radius
    counts = in_window(shift, valid, radius)
    scores = tl.where(counts, scores, -float("inf"))
    highest = tl.max(scores, 1)
    highest = tl.where(highest == -float("inf"), 0.0, highest)  # no key
    p = tl.exp2(scores - highest[:, None])
    total = tl.sum(p, 1)
    some = valid & (total > 0)
    lse = tl.where(some, (highest + tl.log2(tl.where(some, total, 1.0))) * LN_2, 0.0)
    tl.store(lse_ptr + row * length + first + t, lse, mask=mine)
    p = as_operand(p, v_ptr, UPCAST)
    share = tl.where(some, 1.0 / tl.where(some, total, 1.0), 0.0)
    for c in range(0, dim, CHUNK):
        channel = c + tl.arange(0, CHUNK)
        v = load_rows(v_ptr + base, t, stride_t, channel, dim, valid, UPCAST)
        out = tl.dot(p, v, input_precision=PRECISION) * share[:, None]
        store_rows(out_ptr, t, out_stride_t, channel, dim, out, mine)


@triton.jit(do_not_specialize=SIZES)
def local_attention_bwd_tile_kernel(
    grad_ptr,
    q_ptr,
    k_ptr,
    v_ptr,
    mask_ptr,
    bias_ptr,
    out_ptr,
    lse_ptr,
    grad_q_ptr,
    grad_k_ptr,
    grad_v_ptr,
    slope_ptr,
    heads,
    length,
    dim,
    stride_b,
    stride_h,
    stride_t,
    out_stride_b,
    out_stride_h,
    out_stride_t,
    grad_stride_b,
    grad_stride_h,
    grad_stride_t,
    radius,
    scale,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    VECTOR: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Write the gradients of the queries, keys and values that the program owns, and the slopes for the bias."""
    first, batch, head, row = place(heads, length, BLOCK - 2 * radius)
    first -= radius
    base = start(batch, head, first, stride_b, stride_h, stride_t, VECTOR)
    of_out = start(batch, head, first, out_stride_b, out_stride_h, out_stride_t, VECTOR)
    of_grad = start(batch, head, first, grad_stride_b, grad_stride_h, grad_stride_t, VECTOR)
    dim, stride_t = dim * VECTOR, stride_t * VECTOR
    out_stride_t, grad_stride_t = out_stride_t * VECTOR, grad_stride_t * VECTOR
    t = tl.arange(0, BLOCK)
    valid = load_valid(mask_ptr + batch * length, first + t, length)
    # What is not valid has no probability: exp(-inf).
    lse = tl.load(lse_ptr + row * length + first + t, mask=valid, other=float("inf"))
    delta = tl.zeros((BLOCK,), tl.float32)
    scores = tl.zeros((BLOCK, BLOCK), tl.float32)
    if bias_ptr is not None:
        scores += load_bias(bias_ptr, head, t, t, radius) / scale
    slope = tl.zeros((BLOCK, BLOCK), tl.float32)
    for c in range(0, dim, CHUNK):
        channel = c + tl.arange(0, CHUNK)
        grad = load_rows(grad_ptr + of_out, t, out_stride_t, channel, dim, valid, UPCAST)
        out = load_rows(out_ptr + of_out, t, out_stride_t, channel, dim, valid, UPCAST)
        delta += tl.sum(grad.to(tl.float32) * out.to(tl.float32), 1)
        v = load_rows(v_ptr + base, t, stride_t, channel, dim, valid, UPCAST)
        slope = tl.dot(grad, tl.trans(v), slope, input_precision=PRECISION)
        q = load_rows(q_ptr + base, t, stride_t, channel, dim, valid, UPCAST)
        k = load_rows(k_ptr + base, t, stride_t, channel, dim, valid, UPCAST)
        scores = tl.dot(q, tl.trans(k), scores, input_precision=PRECISION)
    scores *= scale * LOG2_E
    shift = t[None, :] - t[:, None] + radius
    counts = in_window(shift, valid, radius)
    p = tl.exp2(tl.where(counts, scores - (lse * LOG2_E)[:, None], -float("inf")))
    slope = p * (slope - delta[:, None])
    mine = (t >= radius) & (t < tl.minimum(BLOCK - radius, length - first))
    if bias_ptr is not None:
        store_slope(slope_ptr, row, first, t, t, length, slope, mine, radius)
    p = as_operand(p, grad_ptr, UPCAST)
    slope = as_operand(slope * scale, q_ptr, UPCAST)
    for c in range(0, dim, CHUNK):
        channel = c + tl.arange(0, CHUNK)
        grad = load_rows(grad_ptr + of_out, t, out_stride_t, channel, dim, valid, UPCAST)
        q = load_rows(q_ptr + base, t, stride_t, channel, dim, valid, UPCAST)
        k = load_rows(k_ptr + base, t, stride_t, channel, dim, valid, UPCAST)
        grad_v = tl.dot(tl.trans(p), grad, input_precision=PRECISION)
        grad_k = tl.dot(tl.trans(slope), q, input_precision=PRECISION)
        grad_q = tl.dot(slope, k, input_precision=PRECISION)
        store_rows(grad_v_ptr + of_grad, t, grad_stride_t, channel, dim, grad_v, mine)
        store_rows(grad_k_ptr + of_grad, t, grad_stride_t, channel, dim, grad_k, mine)
        store_rows(grad_q_ptr + of_grad, t, grad_stride_t, channel, dim, grad_q, mine)
