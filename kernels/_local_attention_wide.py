# SPDX-License-Identifier: Apache-2.0
"""Windowed attention for windows that no tile holds.

A program owns BLOCK_M positions of one head and walks over the tiles within its window, with running maximum and sum as
FlashAttention has them (Dao et al., NeurIPS 2022). The backward recomputes the scores, once with programs that own
queries and once with programs that own keys, so nothing is added atomically.
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


@triton.jit
def window_scores(q, k, query, key, valid_key, bias_ptr, head, scale, radius, PRECISION: tl.constexpr):
    """Return (queries, keys) scores to the base 2, minus infinity where a key does not count."""
    shift = key[None, :] - query[:, None] + radius
    scores = tl.zeros(shift.shape, tl.float32)
    if bias_ptr is not None:
        scores += load_bias(bias_ptr, head, query, key, radius) / scale
    scores = tl.dot(q, tl.trans(k), scores, input_precision=PRECISION) * (scale * LOG2_E)
    return tl.where(in_window(shift, valid_key, radius), scores, -float("inf"))


@triton.jit(do_not_specialize=SIZES)
def local_attention_fwd_wide_kernel(
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
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Attend with BLOCK_M queries of one head; lse (B, H, T) is the log of the sum that normalises each query."""
    first, batch, head, row = place(heads, length, BLOCK_M)
    base = start(batch, head, first, stride_b, stride_h, stride_t, VECTOR)
    out_ptr += start(batch, head, first, out_stride_b, out_stride_h, out_stride_t, VECTOR)
    dim, stride_t, out_stride_t = dim * VECTOR, stride_t * VECTOR, out_stride_t * VECTOR
    mask_ptr += batch * length
    m, channel = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    valid = load_valid(mask_ptr, first + m, length)
    q = load_rows(q_ptr + base, m, stride_t, channel, dim, valid, UPCAST)
    highest = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for step in range(-radius, BLOCK_M + radius, BLOCK_N):
        n = step + tl.arange(0, BLOCK_N)
        valid_n = load_valid(mask_ptr, first + n, length)
        k = load_rows(k_ptr + base, n, stride_t, channel, dim, valid_n, UPCAST)
        v = load_rows(v_ptr + base, n, stride_t, channel, dim, valid_n, UPCAST)
        scores = window_scores(q, k, m, n, valid_n, bias_ptr, head, scale, radius, PRECISION)
        higher = tl.maximum(highest, tl.max(scores, 1))
        origin = tl.where(higher == -float("inf"), 0.0, higher)  # no key so far
        p = tl.exp2(scores - origin[:, None])
        shrink = tl.exp2(highest - origin)
        total = total * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None] + tl.dot(as_operand(p, v_ptr, UPCAST), v, input_precision=PRECISION)
        highest = higher
    some = valid & (total > 0)
    acc = tl.where(some[:, None], acc / tl.where(some, total, 1.0)[:, None], 0.0)
    inside = first + m < length
    store_rows(out_ptr, m, out_stride_t, channel, dim, acc, inside)
    lse = tl.where(some, (highest + tl.log2(tl.where(some, total, 1.0))) * LN_2, 0.0)
    tl.store(lse_ptr + row * length + first + m, lse, mask=inside)


@triton.jit(do_not_specialize=SIZES)
def local_attention_bwd_query_kernel(
    grad_ptr,
    q_ptr,
    k_ptr,
    v_ptr,
    mask_ptr,
    bias_ptr,
    out_ptr,
    lse_ptr,
    delta_ptr,
    grad_q_ptr,
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
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Write the gradient of BLOCK_M queries, delta = sum(grad * out) for the other kernel, slopes for the bias."""
    first, batch, head, row = place(heads, length, BLOCK_M)
    base = start(batch, head, first, stride_b, stride_h, stride_t, VECTOR)
    of_out = start(batch, head, first, out_stride_b, out_stride_h, out_stride_t, VECTOR)
    grad_q_ptr += start(batch, head, first, grad_stride_b, grad_stride_h, grad_stride_t, VECTOR)
    dim, stride_t = dim * VECTOR, stride_t * VECTOR
    out_stride_t, grad_stride_t = out_stride_t * VECTOR, grad_stride_t * VECTOR
    mask_ptr += batch * length
    m, channel = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    valid = load_valid(mask_ptr, first + m, length)
    inside = first + m < length
    q = load_rows(q_ptr + base, m, stride_t, channel, dim, valid, UPCAST)
    grad = load_rows(grad_ptr + of_out, m, out_stride_t, channel, dim, valid, UPCAST)
    out = load_rows(out_ptr + of_out, m, out_stride_t, channel, dim, valid, UPCAST)
    delta = tl.sum(grad.to(tl.float32) * out.to(tl.float32), 1)
    at = row * length + first + m
    tl.store(delta_ptr + at, delta, mask=inside)
    # What is not valid has no probability: exp(-inf).
    lse = tl.load(lse_ptr + at, mask=valid, other=float("inf"))
    grad_q = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for step in range(-radius, BLOCK_M + radius, BLOCK_N):
        n = step + tl.arange(0, BLOCK_N)
        valid_n = load_valid(mask_ptr, first + n, length)
        k = load_rows(k_ptr + base, n, stride_t, channel, dim, valid_n, UPCAST)
        v = load_rows(v_ptr + base, n, stride_t, channel, dim, valid_n, UPCAST)
        scores = window_scores(q, k, m, n, valid_n, bias_ptr, head, scale, radius, PRECISION)
        p = tl.exp2(scores - (lse * LOG2_E)[:, None])
        slope = p * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        grad_q += tl.dot(as_operand(slope, k_ptr, UPCAST), k, input_precision=PRECISION)
        if bias_ptr is not None:
            store_slope(slope_ptr, row, first, m, n, length, slope, inside, radius)
    store_rows(grad_q_ptr, m, grad_stride_t, channel, dim, grad_q * scale, inside)


@triton.jit(do_not_specialize=SIZES)
def local_attention_bwd_key_kernel(
    grad_ptr,
    q_ptr,
    k_ptr,
    v_ptr,
    mask_ptr,
    bias_ptr,
    lse_ptr,
    delta_ptr,
    grad_k_ptr,
    grad_v_ptr,
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
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute the gradients of BLOCK_M keys and values, from tiles of BLOCK_N queries."""
    first, batch, head, row = place(heads, length, BLOCK_M)
    base = start(batch, head, first, stride_b, stride_h, stride_t, VECTOR)
    grad_ptr += start(batch, head, first, out_stride_b, out_stride_h, out_stride_t, VECTOR)
    of_grad = start(batch, head, first, grad_stride_b, grad_stride_h, grad_stride_t, VECTOR)
    dim, stride_t = dim * VECTOR, stride_t * VECTOR
    out_stride_t, grad_stride_t = out_stride_t * VECTOR, grad_stride_t * VECTOR
    mask_ptr += batch * length
    n, channel = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_D)
    valid = load_valid(mask_ptr, first + n, length)
    k = load_rows(k_ptr + base, n, stride_t, channel, dim, valid, UPCAST)
    v = load_rows(v_ptr + base, n, stride_t, channel, dim, valid, UPCAST)
    grad_k = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    grad_v = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for step in range(-radius, BLOCK_M + radius, BLOCK_N):
        m = step + tl.arange(0, BLOCK_N)
        valid_m = load_valid(mask_ptr, first + m, length)
        q = load_rows(q_ptr + base, m, stride_t, channel, dim, valid_m, UPCAST)
        grad = load_rows(grad_ptr, m, out_stride_t, channel, dim, valid_m, UPCAST)
        at = row * length + first + m
        lse = tl.load(lse_ptr + at, mask=valid_m, other=float("inf"))
        delta = tl.load(delta_ptr + at, mask=valid_m, other=0.0)
        scores = window_scores(q, k, m, n, valid, bias_ptr, head, scale, radius, PRECISION)
        p = tl.exp2(scores - (lse * LOG2_E)[:, None])
        slope = p * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        grad_v += tl.dot(tl.trans(as_operand(p, grad_ptr, UPCAST)), grad, input_precision=PRECISION)
        grad_k += tl.dot(tl.trans(as_operand(slope, q_ptr, UPCAST)), q, input_precision=PRECISION)
    inside = first + n < length
    store_rows(grad_k_ptr + of_grad, n, grad_stride_t, channel, dim, grad_k * scale, inside)
    store_rows(grad_v_ptr + of_grad, n, grad_stride_t, channel, dim, grad_v, inside)
