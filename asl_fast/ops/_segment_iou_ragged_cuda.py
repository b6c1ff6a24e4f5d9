# SPDX-License-Identifier: Apache-2.0
"""asl_fast::segment_iou_ragged and asl_fast::segment_iou_ragged_backward by the CUDA module."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.ops import _buffers
from asl_fast.ops._buffers import view
from asl_fast.reference._precision import compute_dtype


def segment_iou_ragged(
    a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor, max_pairs: int, distance: bool
) -> tuple[Tensor, Tensor]:
    """The op's schema: one launch for where each video's pairs begin, one for the pairs."""
    values = _buffers.empty((max_pairs,), compute_dtype(a, b), a.device)
    offsets = _buffers.empty(a_offsets.shape, torch.int64, a.device)
    a, b, a_offsets, b_offsets = (x.contiguous() for x in (a, b, a_offsets, b_offsets))
    with _buffers.on_device_of(a):
        _buffers.cuda_module().segment_iou_ragged(
            a=view(a),
            b=view(b),
            a_offsets=a_offsets.data_ptr(),
            b_offsets=b_offsets.data_ptr(),
            n=a.shape[0],
            m=b.shape[0],
            videos=a_offsets.shape[0] - 1,
            max_pairs=max_pairs,
            distance=distance,
            out_values=view(values),
            out_offsets=offsets.data_ptr(),
            stream=_buffers.stream(a),
        )
    return values, offsets


def segment_iou_ragged_backward(
    grad: Tensor, a: Tensor, b: Tensor, a_offsets: Tensor, b_offsets: Tensor, offsets: Tensor, distance: bool
) -> tuple[Tensor, Tensor]:
    """The op's schema: a launch for each gradient, summed in an order fixed by the offsets."""
    grad_a, grad_b = (_buffers.empty(x.shape, x.dtype, x.device) for x in (a, b))
    grad, a, b = grad.contiguous(), a.contiguous(), b.contiguous()
    a_offsets, b_offsets, offsets = a_offsets.contiguous(), b_offsets.contiguous(), offsets.contiguous()
    with _buffers.on_device_of(a):
        _buffers.cuda_module().segment_iou_ragged_backward(
            grad=view(grad),
            a=view(a),
            b=view(b),
            a_offsets=a_offsets.data_ptr(),
            b_offsets=b_offsets.data_ptr(),
            offsets=offsets.data_ptr(),
            n=a.shape[0],
            m=b.shape[0],
            videos=a_offsets.shape[0] - 1,
            max_pairs=grad.shape[0],
            distance=distance,
            is_double=compute_dtype(a, b) == torch.float64,
            out_grad_a=view(grad_a),
            out_grad_b=view(grad_b),
            stream=_buffers.stream(a),
        )
    return grad_a, grad_b
