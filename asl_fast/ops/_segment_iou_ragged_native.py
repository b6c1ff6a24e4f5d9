# SPDX-License-Identifier: Apache-2.0
"""Run asl_fast::segment_iou_ragged and asl_fast::segment_iou_ragged_backward by the compiled modules."""

from __future__ import annotations

from typing import Any

import torch

from asl_fast.ops import _buffers
from asl_fast.ops._buffers import address, view
from asl_fast.reference import _outputs
from asl_fast.reference._precision import compute_dtype
from asl_fast.reference.segment_iou_ragged import BackwardOperands, BackwardOutputs, Operands, Outputs


def _widened(given: Operands | BackwardOperands, max_pairs: int) -> Operands:
    """Make every tensor contiguous, and both sides of the dtype of the computation."""
    dtype = compute_dtype(given.a, given.b)
    return Operands(
        a=given.a.to(dtype).contiguous(),
        b=given.b.to(dtype).contiguous(),
        a_video_offsets=given.a_video_offsets.contiguous(),
        b_video_offsets=given.b_video_offsets.contiguous(),
        max_pairs=max_pairs,
        distance=given.distance,
    )


def _cpu_call(wide: Operands) -> dict[str, Any]:
    """Return what both functions of the C++ module take."""
    return {
        "a": wide.a.data_ptr(),
        "b": wide.b.data_ptr(),
        "a_video_offsets": wide.a_video_offsets.data_ptr(),
        "b_video_offsets": wide.b_video_offsets.data_ptr(),
        "videos": wide.videos,
        "is_double": wide.a.dtype == torch.float64,
        "distance": wide.distance,
        "threads": torch.get_num_threads(),
    }


def cpu(given: Operands) -> Outputs:
    """Compute with as many threads as ``torch.get_num_threads()``, over parts of the videos."""
    found, wide = given.outputs(), _widened(given, given.max_pairs)
    _buffers.cpu_module().segment_iou_ragged(
        max_pairs=given.max_pairs,
        out_values=found.values.data_ptr(),
        out_pair_offsets=found.pair_offsets.data_ptr(),
        **_cpu_call(wide),
    )
    return found


def cpu_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute the gradients; the order of every sum depends on the offsets alone."""
    wide = _widened(given, given.grad.shape[0])
    grad = given.grad.to(wide.a.dtype).contiguous()
    grad_a = _outputs.empty(wide.a.shape, wide.a.dtype, wide.a.device)
    grad_b = _outputs.empty(wide.b.shape, wide.b.dtype, wide.b.device)
    _buffers.cpu_module().segment_iou_ragged_backward(
        grad=grad.data_ptr(), out_grad_a=grad_a.data_ptr(), out_grad_b=grad_b.data_ptr(), **_cpu_call(wide)
    )
    for of_side, video_offsets in ((grad_a, wide.a_video_offsets), (grad_b, wide.b_video_offsets)):
        owned = int(video_offsets[-1])
        if owned < of_side.shape[0]:  # padding
            of_side[owned:].zero_()
    return BackwardOutputs(grad_a=grad_a.to(given.a.dtype), grad_b=grad_b.to(given.b.dtype))


def _cuda_call(given: Operands) -> Any:
    """Return what both launchers of the CUDA module take; ``given`` is contiguous."""
    return _buffers.cuda_module().RaggedPairs(
        a=view(given.a),
        b=view(given.b),
        a_video_offsets=address(given.a_video_offsets),
        b_video_offsets=address(given.b_video_offsets),
        n=given.a.shape[0],
        m=given.b.shape[0],
        videos=given.videos,
        max_pairs=given.max_pairs,
        distance=given.distance,
    )


def cuda(given: Operands) -> Outputs:
    """Launch once for where each video's pairs begin and once for the pairs."""
    found, given = given.outputs(), _buffers.contiguous_operands(given)
    with _buffers.on_device_of(given.a):
        _buffers.cuda_module().segment_iou_ragged(
            pairs=_cuda_call(given),
            out_values=view(found.values),
            out_pair_offsets=address(found.pair_offsets),
            stream=_buffers.stream(given.a),
        )
    return found


def cuda_backward(given: BackwardOperands) -> BackwardOutputs:
    """Launch once for each gradient; the offsets fix the order of every sum."""
    found, given = given.outputs(), _buffers.contiguous_operands(given)
    with _buffers.on_device_of(given.a):
        _buffers.cuda_module().segment_iou_ragged_backward(
            pairs=_cuda_call(given.forward),
            grad=view(given.grad),
            pair_offsets=address(given.pair_offsets),
            is_double=given.forward.dtype == torch.float64,
            out_grad_a=view(found.grad_a),
            out_grad_b=view(found.grad_b),
            stream=_buffers.stream(given.a),
        )
    return found
