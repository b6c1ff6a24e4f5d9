# SPDX-License-Identifier: Apache-2.0
"""Temporal IoU and distance IoU of segments."""

from __future__ import annotations

from torch import Tensor

from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.reference import segment_iou as reference
from asl_fast.reference.segment_iou import BackwardOperands, BackwardOutputs, Operands, Outputs

_op = _library.define(Operands, "segment_iou")
_op_backward = _library.define(BackwardOperands, "segment_iou_backward")


def _gradients(given: Operands, found: Outputs, grads: Outputs, needed: Operands) -> dict[str, Tensor]:
    operands = BackwardOperands(grad=grads.iou, **given._asdict())
    results = BackwardOutputs(*_op_backward(*operands))
    return {"a": results.grad_a, "b": results.grad_b}


_library.differentiable(Operands, "segment_iou", _gradients, keep_operands=("a", "b"))

_dispatch.register("segment_iou", "reference", reference.segment_iou)
_dispatch.register("segment_iou", "cpu", "asl_fast.ops._segment_iou_native:cpu")
_dispatch.register("segment_iou", "cuda", "asl_fast.ops._segment_iou_native:cuda")
_dispatch.register("segment_iou", "triton", "asl_fast.kernels.segment_iou:segment_iou")
_dispatch.register("segment_iou_backward", "reference", reference.segment_iou_backward)
_dispatch.register("segment_iou_backward", "cpu", "asl_fast.ops._segment_iou_native:cpu_backward")
_dispatch.register("segment_iou_backward", "cuda", "asl_fast.ops._segment_iou_native:cuda_backward")
_dispatch.register("segment_iou_backward", "triton", "asl_fast.kernels.segment_iou:segment_iou_backward")


def segment_iou(a: Tensor, b: Tensor, *, aligned: bool = False) -> Tensor:
    """Compute the temporal intersection over union, of all pairs or row by row.

    A segment of length zero and a reversed one (end < start, which counts as length zero) have IoU 0 with everything.
    NaN gives NaN. Differentiable in both arguments; at exact ties each side receives half of the gradient, and a pair
    that does not overlap receives none.

    Args:
        a: (..., N, 2) floating point, start and end, any unit of time.
        b: (..., M, 2), same unit; (..., N, 2) if ``aligned``. Leading dimensions broadcast.
        aligned: Compare row n of ``a`` with row n of ``b`` instead of all pairs.

    Returns:
        (..., N, M), or (..., N) if ``aligned``, in [0, 1]. float32, or float64 if an input is float64.

    Raises:
        TypeError: An input is not floating point.
        ValueError: Wrong last dimension, leading dimensions that do not broadcast, another N under ``aligned``, two
            devices.
    """
    _check("segment_iou", a, b, aligned)
    result: Tensor = _op(*Operands(a=a, b=b, aligned=aligned, distance=False))
    return result


def segment_diou(a: Tensor, b: Tensor, *, aligned: bool = False) -> Tensor:
    """Compute the temporal distance IoU: IoU minus the squared centre distance over the smallest hull's length.

    DIoU = IoU - (rho / c)² (Zheng et al., AAAI 2020, eq. 6, in one dimension), in [-1, 1] and never above the IoU. It
    is 0 where the hull itself has no length. Arguments, result and errors are those of :func:`segment_iou`, but the
    gradient reaches pairs that do not overlap.
    """
    _check("segment_diou", a, b, aligned)
    result: Tensor = _op(*Operands(a=a, b=b, aligned=aligned, distance=True))
    return result


def _check(op: str, a: Tensor, b: Tensor, aligned: bool) -> None:
    _checks.floating(op, a=a, b=b)
    for name, segments in (("a", a), ("b", b)):
        if segments.dim() < 2 or segments.shape[-1] != 2:
            raise ValueError(f"{op}: {name} must be (..., N, 2), got {tuple(segments.shape)}")
    if aligned and a.shape[-2] != b.shape[-2]:
        raise ValueError(f"{op}: aligned needs as many rows in b as in a, got {a.shape[-2]} and {b.shape[-2]}")
    if a.shape[:-2] != b.shape[:-2]:
        _checks.broadcastable(op, a=a.shape[:-2], b=b.shape[:-2])
    _checks.same_device(op, a=a, b=b)
