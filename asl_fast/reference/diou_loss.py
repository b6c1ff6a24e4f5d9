# SPDX-License-Identifier: Apache-2.0
"""Distance-IoU loss on offsets from a common point in plain PyTorch, and its derivatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference import _outputs
from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype


def diou(pred: Tensor, target: Tensor, eps: float) -> Tensor:
    """Return 1 - |p n t| / |p u t| + (centre distance / |p u t|)² per row, of segments [-o0, o1] around one point.

    The common point makes the union the smallest hull as well. Differentiable as written, except that two zero-length
    segments give a slope of 1 / eps.

    Args:
        pred: (N, 2) non-negative distances to start and end.
        target: (N, 2) likewise.
        eps: Lower bound of the union.
    """
    intersection = torch.minimum(pred, target).sum(-1)
    union = torch.maximum(pred, target).sum(-1).clamp(min=eps)
    away = pred - target
    between_centres = 0.5 * (away[:, 1] - away[:, 0])
    return 1.0 - intersection / union + (between_centres / union).square()


class Outputs(NamedTuple):
    """The loss and the derivatives of its rows, of shape (0,) where they are not needed.

    Attributes:
        loss: () or (N,), float32, or float64 if an input is.
        grad_pred: (N, 2) d loss / d pred.
        grad_target: (N, 2) d loss / d target.
        grad_weights: (N,) d loss / d weights.
    """

    loss: Tensor
    grad_pred: Tensor
    grad_target: Tensor
    grad_weights: Tensor


class Operands(NamedTuple):
    """What the op takes; :func:`asl_fast.diou_loss` explains the tensors and numbers.

    Attributes:
        pred: (N, 2) offsets.
        target: (N, 2) offsets.
        weights: (N,) or None: 1.
        need_pred: Whether the derivative by pred is needed; likewise the others.
    """

    pred: Tensor
    target: Tensor
    weights: Tensor | None
    reduction: str
    eps: float
    need_pred: bool
    need_target: bool
    need_weights: bool

    def outputs(self) -> Outputs:
        """Return room for the results."""
        rows, device = self.pred.shape[0], self.pred.device
        dtype = compute_dtype(self.pred, self.target, self.weights)
        like = self.pred if self.weights is None else self.weights
        with_weights = self.need_weights and self.weights is not None
        return Outputs(
            loss=_outputs.empty((rows,) if self.reduction == "none" else (), dtype, device),
            grad_pred=_outputs.empty_unless(self.need_pred, (rows, 2), unit_gradient_dtype(self.pred), device),
            grad_target=_outputs.empty_unless(self.need_target, (rows, 2), unit_gradient_dtype(self.target), device),
            grad_weights=_outputs.empty_unless(with_weights, (rows,), unit_gradient_dtype(like), device),
        )


def diou_loss(given: Operands) -> Outputs:
    """Compute the weighted, reduced loss and its derivatives."""
    found = given.outputs()
    dtype = found.loss.dtype
    p, t = given.pred.to(dtype).contiguous(), given.target.to(dtype).contiguous()
    rows = diou(p, t, given.eps)
    weight = torch.ones_like(rows) if given.weights is None else given.weights.to(dtype)
    scale = 1.0 / max(rows.shape[0], 1) if given.reduction == "mean" else 1.0
    weighted = rows * weight
    found.loss.copy_(weighted if given.reduction == "none" else weighted.sum() * scale)
    factor = (weight * scale).unsqueeze(-1)
    if given.need_pred:
        found.grad_pred.copy_(_one_side(p, t, given.eps) * factor)
    if given.need_target:
        found.grad_target.copy_(_one_side(t, p, given.eps) * factor)
    if given.need_weights and given.weights is not None:
        found.grad_weights.copy_(rows * scale)
    return found


def _one_side(mine: Tensor, other: Tensor, eps: float) -> Tensor:
    """Return d diou / d mine, (N, 2); half to each side at a tie, and 0 for two segments of length zero."""
    intersection = torch.minimum(mine, other).sum(-1, keepdim=True)
    raw = torch.maximum(mine, other).sum(-1, keepdim=True)
    union = raw.clamp(min=eps)
    # Moving a boundary grows either the intersection or the union, or half of each at a tie.
    inside = torch.where(mine == other, 0.5, (mine < other).to(mine.dtype))
    outside = (1 - inside) * (raw >= eps)
    away = mine - other
    ratio = 0.5 * (away[:, 1:] - away[:, :1]) / union
    centre = torch.arange(2, dtype=mine.dtype, device=mine.device) - 0.5  # of start and end
    slope = outside * (intersection / union) - inside + 2 * ratio * (centre - ratio * outside)
    return torch.where(raw == 0, 0, slope / union)
