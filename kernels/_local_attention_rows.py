# SPDX-License-Identifier: Apache-2.0
"""What the kernels of windowed attention share: where a program is, and its rows of queries, keys and values.

No size is compiled in. A compiler that does not know a stride cannot load 16 bytes at a time, though, so strides and
channels come divided by VECTOR, which is 16 bytes of elements where all are multiples of that, else 1.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Arguments that no kernel is compiled anew for.
SIZES = ["heads", "length", "dim", "stride_b", "stride_h", "stride_t", "out_stride_b", "out_stride_h", "out_stride_t",
         "grad_stride_b", "grad_stride_h", "grad_stride_t", "radius"]  # fmt: skip
LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


@triton.jit
def place(heads, length, owned):
    """Return the first position that the program owns, and the batch, head and (batch, head) that it is of."""
    blocks = tl.cdiv(length, owned)
    row = tl.program_id(0) // blocks
    first = (tl.program_id(0) % blocks) * owned
    return first, (row // heads).to(tl.int64), (row % heads).to(tl.int64), row.to(tl.int64)


@triton.jit
def start(batch, head, position, stride_b, stride_h, stride_t, VECTOR: tl.constexpr):
    """Return the offset of a position's first channel."""
    return (batch * stride_b + head * stride_h + position.to(tl.int64) * stride_t) * VECTOR


@triton.jit
def load_rows(ptr, row, stride, channel, dim, wanted, UPCAST: tl.constexpr):
    """Load (rows, channels), zero where not wanted: NaN in the padding does no harm."""
    at = row[:, None] * stride + channel[None, :]
    tile = tl.load(ptr + at, mask=wanted[:, None] & (channel < dim)[None, :], other=0.0)
    if UPCAST:
        tile = tile.to(tl.float32)  # the interpreter has no bfloat16 product
    return tile


@triton.jit
def store_rows(ptr, row, stride, channel, dim, tile, wanted):
    """Store (rows, channels) where wanted."""
    at = row[:, None] * stride + channel[None, :]
    tl.store(ptr + at, tile.to(ptr.dtype.element_ty), mask=wanted[:, None] & (channel < dim)[None, :])


@triton.jit
def as_operand(tile, ptr, UPCAST: tl.constexpr):
    """Round to the type of what ptr points at, to be multiplied with its rows."""
    if not UPCAST:
        tile = tile.to(ptr.dtype.element_ty)
    return tile


@triton.jit
def load_valid(mask_ptr, position, length):
    """Return whether positions exist and are valid."""
    inside = (position >= 0) & (position < length)
    return inside & (tl.load(mask_ptr + position, mask=inside, other=0) != 0)


@triton.jit
def in_window(shift, valid_key, radius):
    """Return where a key counts; shift is its position minus that of the query plus radius."""
    # One comparison each: what is negative is large without a sign.
    width = tl.where(valid_key, 2 * radius + 1, 0)
    return shift.to(tl.uint32, bitcast=True) < width.to(tl.uint32, bitcast=True)[None, :]


@triton.jit
def load_bias(bias_ptr, head, query, key, radius):
    """Return the bias of (queries, keys), 0 beyond the window."""
    shift = key[None, :] - query[:, None] + radius
    within = (shift >= 0) & (shift <= 2 * radius)
    return tl.load(bias_ptr + head * (2 * radius + 1) + shift, mask=within, other=0.0).to(tl.float32)


@triton.jit
def store_slope(ptr, row, first, query, key, length, slope, wanted, radius):
    """Store the (queries, keys) slopes that are wanted and within the window into (rows, length, window).

    Summed over all queries they are the gradient of the bias. A thread stores what it has, nothing is exchanged.
    """
    shift = key[None, :] - query[:, None] + radius
    there = wanted[:, None] & (shift >= 0) & (shift <= 2 * radius)
    window = 2 * radius + 1
    tl.store(ptr + (row * length + first) * window + (query[:, None] * window + shift), slope, mask=there)
