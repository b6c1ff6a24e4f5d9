# SPDX-License-Identifier: Apache-2.0
"""asl_fast::segment_iou and asl_fast::segment_iou_backward by the CUDA module."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.kernels.segment_batches import batched, leading
from asl_fast.ops import _buffers
from asl_fast.ops._buffers import view
from asl_fast.reference._precision import compute_dtype


class _Call(NamedTuple):
    """Both sides contiguous, and what the launchers take of them."""

    a: Tensor
    b: Tensor
    leading: tuple[int, ...]
    sizes: dict[str, int]


def _call(a: Tensor, b: Tensor, aligned: bool, distance: bool) -> _Call:
    shape, n, m = leading(a, b), a.shape[-2], b.shape[-2]
    batch = math.prod(shape)
    (a, a_batch), (b, b_batch) = (batched(x, shape, not aligned) for x in (a, b))
    if aligned:  # rows of all entries in one run
        n, m, batch = batch * n, batch * n, 1
    sizes = {"n": n, "m": m, "a_batch": a_batch, "b_batch": b_batch, "batch": batch}
    return _Call(a, b, shape, {**sizes, "aligned": aligned, "distance": distance})


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
