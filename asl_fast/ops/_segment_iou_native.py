# SPDX-License-Identifier: Apache-2.0
"""Run asl_fast::segment_iou and asl_fast::segment_iou_backward by the compiled modules."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asl_fast.kernels.segment_iou_batches import Batches, batches
from asl_fast.ops import _buffers
from asl_fast.ops._buffers import view
from asl_fast.reference import _outputs
from asl_fast.reference.segment_iou import BackwardOperands, BackwardOutputs, Operands, Outputs


class _Expanded(NamedTuple):
    """Both sides with equal leading dimensions, contiguous and in the dtype of the computation."""

    a: Tensor
    b: Tensor


def _expanded(given: Operands) -> _Expanded:
    dtype, leading = given.dtype, given.leading
    return _Expanded(*(side.to(dtype).expand(*leading, side.shape[-2], 2).contiguous() for side in (given.a, given.b)))


def _cpu_call(given: Operands, sides: _Expanded) -> dict[str, Any]:
    """Return what both functions of the C++ module take."""
    *leading, rows, _ = sides.a.shape
    return {
        "a": sides.a.data_ptr(),
        "b": sides.b.data_ptr(),
        "is_double": sides.a.dtype == torch.float64,
        "batch": math.prod(leading),
        "n": rows,
        "m": 1 if given.aligned else sides.b.shape[-2],
        "aligned": given.aligned,
        "distance": given.distance,
        "threads": torch.get_num_threads(),
    }


def cpu(given: Operands) -> Outputs:
    """Compute with as many threads as ``torch.get_num_threads()``, over the rows of ``a``."""
    found = given.outputs()
    if found.iou.numel():
        sides = _expanded(given)
        _buffers.cpu_module().segment_iou(out=found.iou.data_ptr(), **_cpu_call(given, sides))
    return found


def cpu_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute the gradients; the order of every sum depends on the shapes alone."""
    if not given.grad.numel():
        return BackwardOutputs(*(grad.zero_() for grad in given.outputs()))
    sides = _expanded(given.forward)
    grad = given.grad.to(sides.a.dtype).contiguous()
    grad_a, grad_b = (_outputs.empty(side.shape, side.dtype, side.device) for side in sides)
    _buffers.cpu_module().segment_iou_backward(
        grad=grad.data_ptr(),
        out_grad_a=grad_a.data_ptr(),
        out_grad_b=grad_b.data_ptr(),
        **_cpu_call(given.forward, sides),
    )
    return given.summed(grad_a, grad_b)


def _cuda_call(given: Operands, sides: Batches) -> Any:
    """Return what both launchers of the CUDA module take."""
    rows, columns, entries = given.a.shape[-2], given.b.shape[-2], sides.entries
    if given.aligned:  # all entries are one run of rows
        rows, columns, entries = entries * rows, entries * rows, 1
    return _buffers.cuda_module().SegmentPairs(
        a=view(sides.a),
        b=view(sides.b),
        n=rows,
        m=columns,
        a_batch=sides.a_batch,
        b_batch=sides.b_batch,
        batch=entries,
        aligned=given.aligned,
        distance=given.distance,
    )


def cuda(given: Operands) -> Outputs:
    """Compute in one launch."""
    found = given.outputs()
    if found.iou.numel():
        sides = batches(given)
        with _buffers.on_device_of(found.iou):
            _buffers.cuda_module().segment_iou(
                pairs=_cuda_call(given, sides), out=view(found.iou), stream=_buffers.stream(found.iou)
            )
    return found


def cuda_backward(given: BackwardOperands) -> BackwardOutputs:
    """Launch once for each gradient, or once if aligned; the sizes fix the order of every sum."""
    found, sides, grad = given.unsummed(), batches(given.forward), given.grad.contiguous()
    if found.grad_a.numel() or found.grad_b.numel():
        with _buffers.on_device_of(grad):
            _buffers.cuda_module().segment_iou_backward(
                pairs=_cuda_call(given.forward, sides),
                grad=view(grad),
                is_double=given.forward.dtype == torch.float64,
                out_grad_a=view(found.grad_a),
                out_grad_b=view(found.grad_b),
                stream=_buffers.stream(grad),
            )
    return given.summed(found.grad_a, found.grad_b)
