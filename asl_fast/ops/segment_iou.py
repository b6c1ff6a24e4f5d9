# SPDX-License-Identifier: Apache-2.0
"""Temporal IoU and distance IoU of segments."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from asl_fast.backend import backend, forced_backend
from asl_fast.ops import _checks, _dispatch
from asl_fast.ops import _legacy as _library
from asl_fast.reference import segment_iou as reference
from asl_fast.reference._precision import compute_dtype


def _fake(a: Tensor, b: Tensor, aligned: bool, distance: bool) -> Tensor:
    leading = _checks.broadcast(a.shape[:-2], b.shape[:-2])
    size = (*leading, a.shape[-2]) if aligned else (*leading, a.shape[-2], b.shape[-2])
    return a.new_empty(size, dtype=compute_dtype(a, b))


def _fake_backward(grad: Tensor, a: Tensor, b: Tensor, aligned: bool, distance: bool) -> tuple[Tensor, Tensor]:
    return a.new_empty(a.shape), b.new_empty(b.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    a, b, ctx.aligned, ctx.distance = inputs
    ctx.save_for_backward(a, b)
    ctx.backend = forced_backend()


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    _library.refuse_double_backward("segment_iou")
    a, b = ctx.saved_tensors
    with backend(ctx.backend):
        grad_a, grad_b = _op_backward(grad, a, b, ctx.aligned, ctx.distance)
    return grad_a, grad_b, None, None


_op = _library.define("segment_iou(Tensor a, Tensor b, bool aligned, bool distance) -> Tensor", fake=_fake)
_op_backward = _library.define(
    "segment_iou_backward(Tensor grad, Tensor a, Tensor b, bool aligned, bool distance) -> (Tensor, Tensor)",
    fake=_fake_backward,
)
_library.differentiable("segment_iou", setup_context=_setup_context, backward=_backward)

_dispatch.register("segment_iou", "reference", reference.segment_iou)
_dispatch.register("segment_iou", "cpu", "asl_fast.ops._segment_iou_cpu:segment_iou")
_dispatch.register("segment_iou", "triton", "asl_fast.kernels.segment_iou:segment_iou")
_dispatch.register("segment_iou", "cuda", "asl_fast.ops._segment_iou_cuda:segment_iou")
_dispatch.register("segment_iou_backward", "reference", reference.segment_iou_backward)
_dispatch.register("segment_iou_backward", "cpu", "asl_fast.ops._segment_iou_cpu:segment_iou_backward")
_dispatch.register("segment_iou_backward", "triton", "asl_fast.kernels.segment_iou:segment_iou_backward")
_dispatch.register("segment_iou_backward", "cuda", "asl_fast.ops._segment_iou_cuda:segment_iou_backward")


def segment_iou(a: Tensor, b: Tensor, *, aligned: bool = False) -> Tensor:
    """Temporal intersection over union, of all pairs or row by row.

    A segment of length zero and a reversed one (end < start, which counts as length zero) have IoU 0 with everything.
    NaN gives NaN. Differentiable in both arguments; at exact ties each side receives half of the gradient, and a pair
    that does not overlap receives none.

    Args:
        a: (..., N, 2) floating point, start and end, any unit of time.
        b: (..., M, 2), same unit; (..., N, 2) if ``aligned``. Leading dimensions broadcast.
        aligned: compare row n of ``a`` with row n of ``b`` instead of all pairs.

    Returns:
        (..., N, M), or (..., N) if ``aligned``, in [0, 1]. float32, or float64 if an input is float64.

    Raises:
        TypeError: an input is not floating point.
        ValueError: wrong last dimension, leading dimensions that do not broadcast, another N under ``aligned``, two
            devices.
    """
    _check("segment_iou", a, b, aligned)
    result: Tensor = _op(a, b, aligned, False)
    return result


def segment_diou(a: Tensor, b: Tensor, *, aligned: bool = False) -> Tensor:
    """Temporal distance IoU: IoU minus the squared distance of the centres over the length of the smallest hull.

    DIoU = IoU - (rho / c)² (Zheng et al., AAAI 2020, eq. 6, in one dimension), in [-1, 1] and never above the IoU. It
    is 0 where the hull itself has no length. Arguments, result and errors are those of :func:`segment_iou`, but the
    gradient reaches pairs that do not overlap.
    """
    _check("segment_diou", a, b, aligned)
    result: Tensor = _op(a, b, aligned, True)
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
