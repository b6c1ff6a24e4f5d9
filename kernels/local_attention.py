# SPDX-License-Identifier: Apache-2.0
"""Windowed self-attention, forward and backward, without storing scores.

Narrow windows, which detectors have, take one pass over a tile that holds the neighbourhood of the positions that a
program owns (``_local_attention_tile``); wide ones walk over tiles (``_local_attention_wide``). q, k and v are read in
place where they share strides, as views of one projection do, and results lie in memory as the queries do. Tested under
Triton's interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import _launch
from ._local_attention_tile import local_attention_bwd_tile_kernel, local_attention_fwd_tile_kernel
from ._local_attention_wide import (
    local_attention_bwd_key_kernel,
    local_attention_bwd_query_kernel,
    local_attention_fwd_wide_kernel,
)

if TYPE_CHECKING:
    from asl_fast.reference.local_attention import BackwardOperands, BackwardOutputs, Operands, Outputs

MAX_DIM = 256
TILE = 64  # positions
WIDEST_IN_TILE = TILE // 2 + 1  # a program then owns half of its tile


def _in_tile(window: int) -> bool:
    """Tell whether a tile holds the window."""
    return window <= WIDEST_IN_TILE


def _alike(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give the three equal strides and contiguous channels."""
    if q.stride(-1) == 1 and q.stride() == k.stride() == v.stride():
        return q, k, v
    return q.contiguous(), k.contiguous(), v.contiguous()


def _as_out(grad: Tensor, out: Tensor) -> Tensor:
    """Return the gradient with the dtype and the strides of the result."""
    if grad.dtype == out.dtype and grad.stride() == out.stride():
        return grad
    return torch.empty_like(out).copy_(grad)


def _layout(dim: int, tensors: dict[str, Tensor]) -> dict[str, int]:
    """Return channels and strides in units of VECTOR elements, the strides under a prefix each."""
    strides = {
        f"{prefix}stride_{axis}": x.stride(number) if x.shape[number] > 1 else 0
        for prefix, x in tensors.items()
        for number, axis in enumerate("bht")
    }
    sixteen_bytes = 16 // next(iter(tensors.values())).element_size()
    vector = sixteen_bytes if all(value % sixteen_bytes == 0 for value in (dim, *strides.values())) else 1
    return {"VECTOR": vector, "dim": dim // vector, **{name: value // vector for name, value in strides.items()}}


def _inputs(given: Operands, results: dict[str, Tensor]) -> dict[str, object]:
    """Return what every kernel takes of the operands; ``results`` are tensors that lie as the results do, by prefix."""
    _, heads, length, dim = given.q.shape
    q, k, v = _alike(given.q, given.k, given.v)
    precision = "ieee"
    if q.dtype == torch.float32 and not _launch.is_hip():
        # Three products of 11 bits each come within a few units of float32 and run on the matrix units.
        precision = "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"
    return {
        "q_ptr": q,
        "k_ptr": k,
        "v_ptr": v,
        "mask_ptr": given.mask.contiguous().view(torch.uint8),
        "bias_ptr": None if given.bias is None else given.bias.contiguous(),
        "heads": heads,
        "length": length,
        "radius": given.window // 2,
        "scale": dim**-0.5,
        "PRECISION": precision,
        "UPCAST": _launch.INTERPRETED and q.dtype == torch.bfloat16,
        "enable_fp_fusion": True,
        **_layout(dim, {"": q, **results}),
    }


def _tile_options(q: Tensor, *, backward: bool = False, with_bias: bool = False) -> dict[str, object]:
    """Choose chunks of channels and warps, so that registers and shared memory hold several programs at a time.

    In half precision four on a multiprocessor of an H100, with two chunks in flight; the backward of a bias needs more
    registers than that leaves. In float32 two or three, as three products want each operand twice.
    """
    half, bias_gradient = q.dtype != torch.float32, backward and with_bias
    chunk = 32 if half or not backward else 16
    return {
        "BLOCK": TILE,
        "CHUNK": 16 if q.shape[-1] <= 16 else chunk,
        "num_warps": 8 if bias_gradient and not half else 4,
        "num_stages": 2 if half else 1,
        **(_launch.register_limit(128) if half and not bias_gradient else {}),
    }


def _wide_options(q: Tensor, owned: int, *, backward: bool = False) -> dict[str, object]:
    """Choose tiles of 32 or 16 positions to walk over; 8 warps for float32 or from 128 channels on."""
    block_d = max(16, _launch.next_power_of_2(q.shape[-1]))
    return {
        "BLOCK_M": owned,
        "BLOCK_N": 16 if q.dtype == torch.float32 and (backward or block_d > 64) else 32,
        "BLOCK_D": block_d,
        "num_warps": 8 if q.dtype == torch.float32 or block_d >= 128 else 4,
        "num_stages": 1 if q.dtype == torch.float32 else 2,
    }


def _owned(q: Tensor, window: int, *, backward: bool = False) -> int:
    """Choose a program's positions: fewer where its operands and accumulators would not fit in registers."""
    if _in_tile(window):
        return TILE - window + 1
    if q.dtype == torch.float32:
        return 16 if backward else 32
    return 32 if q.shape[-1] > 128 else 64


def local_attention(given: Operands) -> Outputs:
    """Attend in one launch; float16, bfloat16 or float32."""
    q, (batch, heads, length, dim) = given.q, given.q.shape
    if q.dtype == torch.float64 or dim > MAX_DIM:
        raise ValueError(f"the Triton kernel takes up to {MAX_DIM} channels of 32 bits, got {dim} of {q.dtype}")
    found = given.outputs()
    if found.out.numel() == 0:
        found.lse.zero_()
        return found
    owned = _owned(q, given.window)
    in_tile = _in_tile(given.window)
    with _launch.on_device_of(q):
        _launch.launch(
            local_attention_fwd_tile_kernel if in_tile else local_attention_fwd_wide_kernel,
            (_launch.cdiv(length, owned) * batch * heads,),
            out_ptr=found.out,
            lse_ptr=found.lse,
            **_inputs(given, {"out_": found.out}),
            **(_tile_options(q) if in_tile else _wide_options(q, owned)),
        )
    return found


def local_attention_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute the gradients in one launch, in two for a wide window, and the sum of those of the bias."""
    found, q, bias, out = given.outputs(), given.q, given.bias, given.out
    batch, heads, length, _ = q.shape
    if q.numel() == 0:
        found.grad_bias.zero_()
        return found
    owned = _owned(q, given.window, backward=True)
    programs = _launch.cdiv(length, owned)
    slopes = (batch, heads, length, given.window) if bias is not None else (0,)
    slope = _launch.empty(slopes, torch.float32, q.device)
    out = out if out.stride(-1) == 1 else out.contiguous()
    both = {
        "grad_ptr": _as_out(given.grad, out),
        "lse_ptr": given.lse.contiguous(),
        **_inputs(given.forward, {"out_": out, "grad_": found.grad_q}),
    }
    of_queries = {
        "out_ptr": out,
        "grad_q_ptr": found.grad_q,
        "slope_ptr": _launch.or_none(slope),
    }
    of_keys = {"grad_k_ptr": found.grad_k, "grad_v_ptr": found.grad_v}
    grid = (programs * batch * heads,)
    with _launch.on_device_of(q):
        if _in_tile(given.window):
            both |= _tile_options(q, backward=True, with_bias=bias is not None)
            _launch.launch(local_attention_bwd_tile_kernel, grid, **both, **of_queries, **of_keys)
        else:
            both |= {"delta_ptr": _launch.empty((batch, heads, length), torch.float32, q.device)}
            both |= _wide_options(q, owned, backward=True)
            _launch.launch(local_attention_bwd_query_kernel, grid, **both, **of_queries)
            _launch.launch(local_attention_bwd_key_kernel, grid, **both, **of_keys)
    return found if bias is None else found._replace(grad_bias=slope.sum((0, 2)).to(bias.dtype))
