# SPDX-License-Identifier: Apache-2.0
"""asl_fast::segment_iou and asl_fast::segment_iou_backward by the C++ module."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.ops import _checks
from asl_fast.ops._buffers import cpu_module
from asl_fast.reference._precision import compute_dtype


class _Pairs(NamedTuple):
    """Both sides with equal leading dimensions, contiguous and in the dtype of the result."""

    a: Tensor
    b: Tensor
    result: tuple[int, ...]
    sizes: dict[str, int]


def _pairs(a: Tensor, b: Tensor, aligned: bool) -> _Pairs:
    dtype, leading = compute_dtype(a, b), _checks.broadcast(a.shape[:-2], b.shape[:-2])
    n, m = a.shape[-2], b.shape[-2]
    sizes = {
        "is_double": dtype == torch.float64,
        "batch": math.prod(leading),
        "n": n,
        "m": 1 if aligned else m,
        "threads": torch.get_num_threads(),
    }
    a, b = (s.to(dtype).expand(*leading, s.shape[-2], 2).contiguous() for s in (a, b))
    return _Pairs(a, b, (*leading, n) if aligned else (*leading, n, m), sizes)


def segment_iou(a: Tensor, b: Tensor, aligned: bool, distance: bool) -> Tensor:
    """The op's schema; threads as many as ``torch.get_num_threads()``, over the rows of ``a``."""
    pairs = _pairs(a, b, aligned)
    out = torch.empty(pairs.result, dtype=pairs.a.dtype)
    if out.numel():
        cpu_module().segment_iou(
            a=pairs.a.data_ptr(),
            b=pairs.b.data_ptr(),
            out=out.data_ptr(),
            aligned=aligned,
            distance=distance,
            **pairs.sizes,
        )
    return out


def segment_iou_backward(grad: Tensor, a: Tensor, b: Tensor, aligned: bool, distance: bool) -> tuple[Tensor, Tensor]:
    """The op's schema; the order of every sum depends on the shapes alone."""
    pairs = _pairs(a, b, aligned)
    if not math.prod(pairs.result):
        return a.new_zeros(a.shape), b.new_zeros(b.shape)
    grad = grad.to(pairs.a.dtype).contiguous()
    grad_a, grad_b = (torch.empty(side.shape, dtype=side.dtype) for side in (pairs.a, pairs.b))
    cpu_module().segment_iou_backward(
        grad=grad.data_ptr(),
        a=pairs.a.data_ptr(),
        b=pairs.b.data_ptr(),
        grad_a=grad_a.data_ptr(),
        grad_b=grad_b.data_ptr(),
        aligned=aligned,
        distance=distance,
        **pairs.sizes,
    )
    return grad_a.sum_to_size(a.shape).to(a.dtype), grad_b.sum_to_size(b.shape).to(b.dtype)
