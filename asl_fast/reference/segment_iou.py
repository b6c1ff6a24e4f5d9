# SPDX-License-Identifier: Apache-2.0
"""Temporal IoU and distance IoU of segments in plain PyTorch, and their derivatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference import _outputs
from asl_fast.reference._precision import compute_dtype


class Outputs(NamedTuple):
    """What the op returns.

    Attributes:
        iou: (..., N, M), or (..., N) if aligned; float32, or float64 if an input is.
    """

    iou: Tensor


class Operands(NamedTuple):
    """What the op takes.

    Attributes:
        a: (..., N, 2) start and end.
        b: (..., M, 2), or (..., N, 2) if ``aligned``; leading dimensions broadcast.
        aligned: Row by row instead of all pairs.
        distance: DIoU instead of IoU.
    """

    a: Tensor
    b: Tensor
    aligned: bool
    distance: bool

    @property
    def leading(self) -> tuple[int, ...]:
        """The leading dimensions that both sides broadcast to."""
        one, other = self.a.shape[:-2], self.b.shape[:-2]
        return tuple(one if one == other else torch.broadcast_shapes(one, other))  # type: ignore[no-untyped-call]

    @property
    def dtype(self) -> torch.dtype:
        """Of the computation and of the result."""
        return compute_dtype(self.a, self.b)

    def outputs(self) -> Outputs:
        """Return room for the result."""
        rows, columns = self.a.shape[-2], self.b.shape[-2]
        shape = (*self.leading, rows) if self.aligned else (*self.leading, rows, columns)
        return Outputs(iou=_outputs.empty(shape, self.dtype, self.a.device))


class BackwardOutputs(NamedTuple):
    """Gradients of both sides.

    Attributes:
        grad_a: As ``a``, in shape and dtype.
        grad_b: As ``b``.
    """

    grad_a: Tensor
    grad_b: Tensor


class BackwardOperands(NamedTuple):
    """What the backward pass takes.

    Attributes:
        grad: Gradient of ``iou``, in its shape.
        a: As in :class:`Operands`, like the others.
    """

    grad: Tensor
    a: Tensor
    b: Tensor
    aligned: bool
    distance: bool

    @property
    def forward(self) -> Operands:
        """What the forward pass took."""
        return Operands(a=self.a, b=self.b, aligned=self.aligned, distance=self.distance)

    def outputs(self) -> BackwardOutputs:
        """Return room for the gradients."""
        grad_a, grad_b = (_outputs.empty(side.shape, side.dtype, side.device) for side in (self.a, self.b))
        return BackwardOutputs(grad_a=grad_a, grad_b=grad_b)

    def unsummed(self) -> BackwardOutputs:
        """Return room for the gradients of every batch entry, which :meth:`summed` reduces to those of both sides.

        A side that is not broadcast has its final dtype, one whose entries will be summed that of the computation.
        """
        leading, dtype = self.forward.leading, self.forward.dtype
        grad_a, grad_b = (
            _outputs.empty(
                (*leading, *side.shape[-2:]), side.dtype if tuple(side.shape[:-2]) == leading else dtype, side.device
            )
            for side in (self.a, self.b)
        )
        return BackwardOutputs(grad_a=grad_a, grad_b=grad_b)

    def summed(self, grad_a: Tensor, grad_b: Tensor) -> BackwardOutputs:
        """Return the gradients of both sides from those of every batch entry, rounded after the sum."""
        return BackwardOutputs(
            grad_a=grad_a.sum_to_size(self.a.shape).to(self.a.dtype),
            grad_b=grad_b.sum_to_size(self.b.shape).to(self.b.dtype),
        )


def segment_iou(given: Operands) -> Outputs:
    """Compute IoU = |a n b| / |a u b|; with ``distance``, DIoU = IoU - (centre distance / length of the hull)².

    A reversed segment has length 0 and no intersection with anything. IoU is 0 where the union is empty, and so is DIoU
    where the hull is. NaN gives NaN. Differentiable as written, except at ties and where segments only touch.
    """
    a, b = _pair(given)
    (start_a, end_a), (start_b, end_b) = a.unbind(-1), b.unbind(-1)
    intersection = (torch.minimum(end_a, end_b) - torch.maximum(start_a, start_b)).clamp(min=0)
    union = (end_a - start_a).clamp(min=0) + (end_b - start_b).clamp(min=0) - intersection
    iou = torch.where(union <= 0, 0, intersection / torch.where(union <= 0, 1, union))
    if not given.distance:
        return Outputs(iou=iou)
    between_centres = ((start_a - start_b) + (end_a - end_b)) / 2
    hull = torch.maximum(a.amax(-1), b.amax(-1)) - torch.minimum(a.amin(-1), b.amin(-1))
    return Outputs(
        iou=iou - torch.where(hull <= 0, 0, between_centres / torch.where(hull <= 0, 1, hull)).square(),
    )


def segment_iou_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute the gradients of ``sum(grad * iou)``.

    At a tie each side gets half. Where a segment has no length, the two do not overlap, or their union is NaN, the IoU
    part is 0. A union or hull below the least normal number counts as none.
    """
    wide_a, wide_b = _pair(given.forward)
    grad = given.grad.to(wide_a.dtype)
    grad_a = _one_side(grad, wide_a, wide_b, given.distance)
    grad_b = _one_side(grad, wide_b, wide_a, given.distance)
    if not given.aligned:
        grad_a, grad_b = grad_a.sum(-2), grad_b.sum(-3)
    return given.summed(grad_a, grad_b)


def _one_side(grad: Tensor, a: Tensor, b: Tensor, distance: bool) -> Tensor:
    """Return the gradient with respect to ``a`` (..., 2) for broadcast pairs."""
    (start_a, end_a), (start_b, end_b) = a.unbind(-1), b.unbind(-1)
    raw = torch.minimum(end_a, end_b) - torch.maximum(start_a, start_b)
    intersection = raw.clamp(min=0)
    union = (end_a - start_a).clamp(min=0) + (end_b - start_b).clamp(min=0) - intersection
    least = torch.finfo(raw.dtype).tiny
    overlap = (raw > 0) & (union >= least)
    safe_union = torch.where(overlap, union, 1)
    iou = intersection / safe_union
    # d iou = ((1 + iou) d intersection - iou d length) / union
    grad_start = (iou - (1 + iou) * _share(start_a, start_b)) / safe_union
    grad_end = ((1 + iou) * _share(end_b, end_a) - iou) / safe_union
    grad_start = torch.where(overlap, grad_start, 0)
    grad_end = torch.where(overlap, grad_end, 0)
    if distance:
        low_a, high_a, low_b, high_b = a.amin(-1), a.amax(-1), b.amin(-1), b.amax(-1)
        hull = torch.maximum(high_a, high_b) - torch.minimum(low_a, low_b)
        point = hull < least
        safe_hull = torch.where(point, 1, hull)
        ratio = ((start_a - start_b) + (end_a - end_b)) / 2 / safe_hull
        # d ratio² = 2 ratio (d centre - ratio d hull) / hull; a reversed segment reaches the hull with its start.
        at_high, at_low = _share(high_a, high_b), _share(low_b, low_a)
        reverse = end_a < start_a
        hull_by_start = torch.where(reverse, at_high, -at_low)
        hull_by_end = torch.where(reverse, -at_low, at_high)
        grad_start = grad_start - torch.where(point, 0, 2 * ratio * (0.5 - ratio * hull_by_start) / safe_hull)
        grad_end = grad_end - torch.where(point, 0, 2 * ratio * (0.5 - ratio * hull_by_end) / safe_hull)
    return torch.stack((grad * grad_start, grad * grad_end), dim=-1)


def _share(larger: Tensor, smaller: Tensor) -> Tensor:
    """Return d max(larger, smaller) / d larger: 1, 0, or a half at a tie."""
    return torch.where(larger == smaller, 0.5, (larger > smaller).to(larger.dtype))


def _pair(given: Operands) -> tuple[Tensor, Tensor]:
    """Return both sides in the dtype of the computation, ready to broadcast against each other."""
    a, b = given.a.to(given.dtype).contiguous(), given.b.to(given.dtype).contiguous()
    return (a, b) if given.aligned else (a.unsqueeze(-2), b.unsqueeze(-3))
