# SPDX-License-Identifier: Apache-2.0
"""asl_fast::segment_iou and asl_fast::segment_iou_backward by the CUDA module."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.ops import _buffers, _checks
from asl_fast.ops._buffers import view
from asl_fast.reference._precision import compute_dtype


class _Call(NamedTuple):
    """Both sides contiguous, and what the launchers take of them."""

    a: Tensor
    b: Tensor
    leading: tuple[int, ...]
    sizes: dict[str, int]


def _call(a: Tensor, b: Tensor, aligned: bool, distance: bool) -> _Call:
    leading, n, m = _checks.broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-2]
    batch = math.prod(leading)
    (a, a_batch), (b, b_batch) = (_batched(x, leading, not aligned) for x in (a, b))
    if aligned:  # rows of all entries in one run
        n, m, batch = batch * n, batch * n, 1
    sizes = {"n": n, "m": m, "a_batch": a_batch, "b_batch": b_batch, "batch": batch}
    return _Call(a, b, leading, {**sizes, "aligned": aligned, "distance": distance})


def _batched(x: Tensor, leading: tuple[int, ...], share_one: bool) -> tuple[Tensor, int]:
    """Contiguous values and the segments from one batch entry to the next, 0 if ``share_one`` and all are the same."""
    if tuple(x.shape[:-2]) == leading:
        return x.contiguous(), x.shape[-2]
    if share_one and math.prod(x.shape[:-2]) == 1:
        return x.contiguous(), 0
    return x.expand(*leading, *x.shape[-2:]).contiguous(), x.shape[-2]


def segment_iou(a: Tensor, b: Tensor, aligned: bool, distance: bool) -> Tensor:
    """The op's schema: (..., N, M), or (..., N) if ``aligned``, in one launch."""
    call = _call(a, b, aligned, distance)
    shape = (*call.leading, a.shape[-2]) if aligned else (*call.leading, a.shape[-2], b.shape[-2])
    out = _buffers.empty(shape, compute_dtype(a, b), a.device)
    if out.numel():
        with _buffers.on_device_of(out):
            _buffers.cuda_module().segment_iou(
                a=view(call.a), b=view(call.b), out=view(out), stream=_buffers.stream(out), **call.sizes
            )
    return out


def segment_iou_backward(grad: Tensor, a: Tensor, b: Tensor, aligned: bool, distance: bool) -> tuple[Tensor, Tensor]:
    """The op's schema: gradients in the shapes and dtypes of ``a`` and ``b``, summed in an order fixed by the sizes."""
    call, dtype = _call(a, b, aligned, distance), compute_dtype(a, b)
    # Broadcast dimensions are summed below, before rounding.
    grad_a, grad_b = (
        _buffers.empty(
            (*call.leading, *x.shape[-2:]), x.dtype if tuple(x.shape[:-2]) == call.leading else dtype, a.device
        )
        for x in (a, b)
    )
    grad = grad.contiguous()
    if grad_a.numel() or grad_b.numel():
        with _buffers.on_device_of(grad):
            _buffers.cuda_module().segment_iou_backward(
                grad=view(grad),
                a=view(call.a),
                b=view(call.b),
                is_double=dtype == torch.float64,
                out_grad_a=view(grad_a),
                out_grad_b=view(grad_b),
                stream=_buffers.stream(grad),
                **call.sizes,
            )
    return grad_a.sum_to_size(a.shape).to(a.dtype), grad_b.sum_to_size(b.shape).to(b.dtype)
