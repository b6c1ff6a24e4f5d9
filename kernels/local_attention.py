# SPDX-License-Identifier: Apache-2.0
"""Windowed self-attention, forward and backward, without storing scores.

A program owns BLOCK positions of one head and walks over the tiles within its window, with running maximum and sum as
FlashAttention has them (Dao et al., NeurIPS 2022). The backward recomputes the scores, once with programs that own
queries and once with programs that own keys, so nothing is added atomically. q, k and v are read in place where they
share strides, as views of one projection do. Tested under Triton's interpreter and compiled for sm_80, sm_90 and
gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import _launch

if TYPE_CHECKING:
    from asl_fast.reference.local_attention import BackwardOperands, BackwardOutputs, Operands, Outputs

MAX_DIM = 256


@triton.jit
def load_tile(ptr, base, position, stride, dim, valid, UPCAST: tl.constexpr, BLOCK_D: tl.constexpr):
    """Load (positions, BLOCK_D) rows, zero where not valid: NaN in the padding does no harm."""
    d = tl.arange(0, BLOCK_D)
    at = base + position.to(tl.int64)[:, None] * stride + d[None, :]
    tile = tl.load(ptr + at, mask=valid[:, None] & (d < dim)[None, :], other=0.0)
    if UPCAST:
        tile = tile.to(tl.float32)  # the interpreter has no bfloat16 product
    return tile


@triton.jit
def store_tile(ptr, base, position, dim, tile, inside, BLOCK_D: tl.constexpr):
    """Store rows of a contiguous output."""
    d = tl.arange(0, BLOCK_D)
    at = base + position.to(tl.int64)[:, None] * dim + d[None, :]
    tl.store(ptr + at, tile, mask=inside[:, None] & (d < dim)[None, :])


@triton.jit
def load_valid(mask_ptr, position, length):
    """Return whether positions exist and are valid."""
    inside = (position >= 0) & (position < length)
    return inside & (tl.load(mask_ptr + position, mask=inside, other=0) != 0)


@triton.jit
def window_scores(
    q, k, m, n, valid_m, valid_n, bias_ptr, scale, RADIUS: tl.constexpr, PRECISION: tl.constexpr
):  # fmt: skip
    """Return (m, n) scores, and where they count."""
    shift = n[None, :] - m[:, None] + RADIUS
    allowed = valid_m[:, None] & valid_n[None, :] & (shift >= 0) & (shift <= 2 * RADIUS)
    scores = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale
    if bias_ptr is not None:
        scores += tl.load(bias_ptr + shift, mask=allowed, other=0.0).to(tl.float32)
    return scores, allowed, shift


@triton.jit(do_not_specialize=["heads", "length"])
def local_attention_fwd_kernel(
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
    scale,
    RADIUS: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Attend with BLOCK_M queries of one head; lse (B, H, T) is the log of the sum that normalises each query."""
    blocks = tl.cdiv(length, BLOCK_M)
    first, row = (tl.program_id(0) % blocks) * BLOCK_M, (tl.program_id(0) // blocks).to(tl.int64)
    batch, head = row // heads, row % heads
    base = batch * stride_b + head * stride_h
    mask_ptr += batch * length
    if bias_ptr is not None:
        bias_ptr += head * (2 * RADIUS + 1)
    m = first + tl.arange(0, BLOCK_M)
    valid_m = load_valid(mask_ptr, m, length)
    q = load_tile(q_ptr, base, m, stride_t, dim, valid_m, UPCAST, BLOCK_D)
    highest = tl.full((BLOCK_M,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK_M,), tl.float32)
    acc = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for step in range(0, BLOCK_M + 2 * RADIUS, BLOCK_N):
        n = first - RADIUS + step + tl.arange(0, BLOCK_N)
        valid_n = load_valid(mask_ptr, n, length)
        k = load_tile(k_ptr, base, n, stride_t, dim, valid_n, UPCAST, BLOCK_D)
        v = load_tile(v_ptr, base, n, stride_t, dim, valid_n, UPCAST, BLOCK_D)
        scores, allowed, _ = window_scores(q, k, m, n, valid_m, valid_n, bias_ptr, scale, RADIUS, PRECISION)
        scores = tl.where(allowed, scores, -float("inf"))
        higher = tl.maximum(highest, tl.max(scores, 1))
        origin = tl.where(higher == -float("inf"), 0.0, higher)  # no key so far
        p = tl.exp(scores - origin[:, None])
        shrink = tl.exp(highest - origin)
        total = total * shrink + tl.sum(p, 1)
        acc = acc * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision=PRECISION)
        highest = higher
    some = total > 0
    acc = tl.where(some[:, None], acc / tl.where(some, total, 1.0)[:, None], 0.0)
    store_tile(out_ptr, row * length * dim, m, dim, acc, m < length, BLOCK_D)
    lse = tl.where(some, highest + tl.log(tl.where(some, total, 1.0)), 0.0)
    tl.store(lse_ptr + row * length + m, lse, mask=m < length)


@triton.jit(do_not_specialize=["heads", "length"])
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
    grad_bias_ptr,
    heads,
    length,
    dim,
    stride_b,
    stride_h,
    stride_t,
    scale,
    RADIUS: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
    BLOCK_W: tl.constexpr,
):
    """Write the gradient of BLOCK_M queries, delta = sum(grad * out) for the other kernel, a row of bias gradients."""
    blocks = tl.cdiv(length, BLOCK_M)
    first, row = (tl.program_id(0) % blocks) * BLOCK_M, (tl.program_id(0) // blocks).to(tl.int64)
    batch, head = row // heads, row % heads
    base, own = batch * stride_b + head * stride_h, row * length * dim
    mask_ptr += batch * length
    if bias_ptr is not None:
        bias_ptr += head * (2 * RADIUS + 1)
    m = first + tl.arange(0, BLOCK_M)
    valid_m = load_valid(mask_ptr, m, length)
    q = load_tile(q_ptr, base, m, stride_t, dim, valid_m, UPCAST, BLOCK_D)
    grad = load_tile(grad_ptr, own, m, dim, dim, valid_m, UPCAST, BLOCK_D)
    out = load_tile(out_ptr, own, m, dim, dim, valid_m, UPCAST, BLOCK_D)
    lse = tl.load(lse_ptr + row * length + m, mask=valid_m, other=0.0)
    delta = tl.sum(grad.to(tl.float32) * out.to(tl.float32), 1)
    tl.store(delta_ptr + row * length + m, delta, mask=m < length)
    grad_q = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    grad_bias = tl.zeros((BLOCK_W,), tl.float32)
    for step in range(0, BLOCK_M + 2 * RADIUS, BLOCK_N):
        n = first - RADIUS + step + tl.arange(0, BLOCK_N)
        valid_n = load_valid(mask_ptr, n, length)
        k = load_tile(k_ptr, base, n, stride_t, dim, valid_n, UPCAST, BLOCK_D)
        v = load_tile(v_ptr, base, n, stride_t, dim, valid_n, UPCAST, BLOCK_D)
        scores, allowed, shift = window_scores(q, k, m, n, valid_m, valid_n, bias_ptr, scale, RADIUS, PRECISION)
        p = tl.where(allowed, tl.exp(tl.where(allowed, scores - lse[:, None], 0.0)), 0.0)
        slope = p * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        grad_q += tl.dot(slope.to(k.dtype), k, input_precision=PRECISION)
        if bias_ptr is not None:
            for w in range(0, 2 * RADIUS + 1):
                on_diagonal = tl.sum(tl.sum(tl.where(shift == w, slope, 0.0), 1), 0)
                grad_bias += tl.where(tl.arange(0, BLOCK_W) == w, on_diagonal, 0.0)
    store_tile(grad_q_ptr, own, m, dim, grad_q * scale, m < length, BLOCK_D)
    if bias_ptr is not None:
        w = tl.arange(0, BLOCK_W)
        at = tl.program_id(0).to(tl.int64) * (2 * RADIUS + 1) + w
        tl.store(grad_bias_ptr + at, grad_bias, mask=w < 2 * RADIUS + 1)


@triton.jit(do_not_specialize=["heads", "length"])
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
    scale,
    RADIUS: tl.constexpr,
    PRECISION: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Compute the gradients of BLOCK_M keys and values, from tiles of BLOCK_N queries."""
    blocks = tl.cdiv(length, BLOCK_M)
    first, row = (tl.program_id(0) % blocks) * BLOCK_M, (tl.program_id(0) // blocks).to(tl.int64)
    batch, head = row // heads, row % heads
    base, own = batch * stride_b + head * stride_h, row * length * dim
    mask_ptr += batch * length
    if bias_ptr is not None:
        bias_ptr += head * (2 * RADIUS + 1)
    n = first + tl.arange(0, BLOCK_M)
    valid_n = load_valid(mask_ptr, n, length)
    k = load_tile(k_ptr, base, n, stride_t, dim, valid_n, UPCAST, BLOCK_D)
    v = load_tile(v_ptr, base, n, stride_t, dim, valid_n, UPCAST, BLOCK_D)
    grad_k = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    grad_v = tl.zeros((BLOCK_M, BLOCK_D), tl.float32)
    for step in range(0, BLOCK_M + 2 * RADIUS, BLOCK_N):
        m = first - RADIUS + step + tl.arange(0, BLOCK_N)
        valid_m = load_valid(mask_ptr, m, length)
        q = load_tile(q_ptr, base, m, stride_t, dim, valid_m, UPCAST, BLOCK_D)
        grad = load_tile(grad_ptr, own, m, dim, dim, valid_m, UPCAST, BLOCK_D)
        lse = tl.load(lse_ptr + row * length + m, mask=valid_m, other=0.0)
        delta = tl.load(delta_ptr + row * length + m, mask=valid_m, other=0.0)
        scores, allowed, _ = window_scores(q, k, m, n, valid_m, valid_n, bias_ptr, scale, RADIUS, PRECISION)
        p = tl.where(allowed, tl.exp(tl.where(allowed, scores - lse[:, None], 0.0)), 0.0)
        slope = p * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        grad_v += tl.dot(tl.trans(p.to(grad.dtype)), grad, input_precision=PRECISION)
        grad_k += tl.dot(tl.trans(slope.to(q.dtype)), q, input_precision=PRECISION)
    store_tile(grad_k_ptr, own, n, dim, grad_k * scale, n < length, BLOCK_D)
    store_tile(grad_v_ptr, own, n, dim, grad_v, n < length, BLOCK_D)


def _alike(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the three equal strides and contiguous channels."""
    if q.stride(-1) == 1 and q.stride() == k.stride() == v.stride():
        return q, k, v
    return q.contiguous(), k.contiguous(), v.contiguous()


def _inputs(given: Operands) -> dict[str, object]:
    """Return what every kernel reads of the operands."""
    _, heads, length, dim = given.q.shape
    q, k, v = _alike(given.q, given.k, given.v)
    stride_b, stride_h, stride_t, _ = q.stride()
    return {
        "q_ptr": q,
        "k_ptr": k,
        "v_ptr": v,
        "mask_ptr": given.mask.contiguous().view(torch.uint8),
        "bias_ptr": None if given.bias is None else given.bias.contiguous(),
        "heads": heads,
        "length": length,
        "dim": dim,
        "stride_b": stride_b,
        "stride_h": stride_h,
        "stride_t": stride_t,
        "scale": dim**-0.5,
    }


def _options(q: Tensor, window: int, owned: int) -> dict[str, object]:
    """Choose tiles of 32 or 16 positions to walk over; 8 warps for float32 or from 128 channels on."""
    block_d = max(16, triton.next_power_of_2(q.shape[-1]))
    precision = "ieee"
    if q.dtype == torch.float32 and not _launch.is_hip():
        # Three products of 10 bits each come within a few units of float32 and run on the matrix units.
        precision = "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"
    return {
        "RADIUS": window // 2,
        "PRECISION": precision,
        "UPCAST": _launch.INTERPRETED and q.dtype == torch.bfloat16,
        "BLOCK_M": owned,
        "BLOCK_N": 16 if q.dtype == torch.float32 and block_d > 64 else 32,
        "BLOCK_D": block_d,
        "num_warps": 8 if q.dtype == torch.float32 or block_d >= 128 else 4,
        "num_stages": 1 if q.dtype == torch.float32 else 2,
        "enable_fp_fusion": True,
    }


def _owned(q: Tensor, *, backward: bool = False) -> int:
    """Choose a program's positions: fewer where its operands and accumulators would not fit in registers."""
    if q.dtype == torch.float32:
        return 16 if backward and q.shape[-1] > 64 else 32
    return 32 if q.shape[-1] > 128 else 64


def local_attention(given: Operands) -> Outputs:
    """Attend in one launch; float16, bfloat16 or float32."""
    batch, heads, length, dim = given.q.shape
    if given.q.dtype == torch.float64 or dim > MAX_DIM:
        raise ValueError(f"the Triton kernel takes up to {MAX_DIM} channels of 32 bits, got {dim} of {given.q.dtype}")
    found = given.outputs()
    if found.out.numel() == 0:
        found.lse.zero_()
        return found
    inputs = _inputs(given)
    owned = _owned(given.q)
    with _launch.on_device_of(given.q):
        _launch.launch(
            local_attention_fwd_kernel,
            (triton.cdiv(length, owned) * batch * heads,),
            out_ptr=found.out,
            lse_ptr=found.lse,
            **inputs,
            **_options(given.q, given.window, owned),
        )
    return found


def local_attention_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute the gradients in two launches and the sum of those of the bias."""
    found, q, bias = given.outputs(), given.q, given.bias
    batch, heads, length, _ = q.shape
    if q.numel() == 0:
        found.grad_bias.zero_()
        return found
    owned = _owned(q, backward=True)
    programs = triton.cdiv(length, owned)
    parts = _launch.empty((batch, heads, programs, 0 if bias is None else given.window), torch.float32, q.device)
    delta = _launch.empty((batch, heads, length), torch.float32, q.device)
    both = {
        "grad_ptr": given.grad.to(q.dtype).contiguous(),
        "lse_ptr": given.lse.contiguous(),
        "delta_ptr": delta,
        **_inputs(given.forward),
        **_options(q, given.window, owned),
    }
    with _launch.on_device_of(q):
        _launch.launch(
            local_attention_bwd_query_kernel,
            (programs * batch * heads,),
            out_ptr=given.out.contiguous(),
            grad_q_ptr=found.grad_q,
            grad_bias_ptr=None if bias is None else parts,
            BLOCK_W=triton.next_power_of_2(given.window),
            **both,
        )
        _launch.launch(
            local_attention_bwd_key_kernel,
            (programs * batch * heads,),
            grad_k_ptr=found.grad_k,
            grad_v_ptr=found.grad_v,
            **both,
        )
    return found if bias is None else found._replace(grad_bias=parts.sum((0, 2)).to(bias.dtype))
