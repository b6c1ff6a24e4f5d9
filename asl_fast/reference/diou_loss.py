# SPDX-License-Identifier: Apache-2.0
"""Distance-IoU loss on offsets from a common point in plain PyTorch, and its derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype


def diou(pred: Tensor, target: Tensor, eps: float) -> Tensor:
    """1 - |p n t| / |p u t| + (centre distance / |p u t|)² per row, for segments [-o0, o1] around a common point.

    The common point makes the union the smallest hull as well. Differentiable as written, except that two zero-length
    segments give a slope of 1 / eps.

    Args:
        pred: (N, 2) non-negative distances to start and end.
        target: (N, 2) likewise.
        eps: lower bound of the union.
    """
    intersection = torch.minimum(pred, target).sum(-1)
    union = torch.maximum(pred, target).sum(-1).clamp(min=eps)
    away = pred - target
    between_centres = 0.5 * (away[:, 1] - away[:, 0])
    return 1.0 - intersection / union + (between_centres / union).square()


def diou_loss(
    pred: Tensor,
    target: Tensor,
    weights: Tensor | None,
    reduction: str,
    eps: float,
    need_pred: bool,
    need_target: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The registered op: weighted, reduced loss and the derivatives of its rows, an empty tensor for each not needed.

    Returns:
        loss () or (N,), d loss / d pred (N, 2), d loss / d target (N, 2), d loss / d weights (N,).
    """
    dtype = compute_dtype(pred, target, weights)
    p, t = pred.to(dtype).contiguous(), target.to(dtype).contiguous()
    rows = diou(p, t, eps)
    weight = torch.ones_like(rows) if weights is None else weights.to(dtype)
    scale = 1.0 / max(rows.shape[0], 1) if reduction == "mean" else 1.0
    loss = rows * weight if reduction == "none" else (rows * weight).sum() * scale

    grad_pred, grad_target, grad_weights = (pred.new_empty(0) for _ in range(3))
    factor = (weight * scale).unsqueeze(-1)
    if need_pred:
        grad_pred = (_one_side(p, t, eps) * factor).to(unit_gradient_dtype(pred))
    if need_target:
        grad_target = (_one_side(t, p, eps) * factor).to(unit_gradient_dtype(target))
    if need_weights and weights is not None:
        grad_weights = (rows * scale).to(unit_gradient_dtype(weights))
    return loss, grad_pred, grad_target, grad_weights


def _one_side(mine: Tensor, other: Tensor, eps: float) -> Tensor:
    """d diou / d mine, (N, 2); half to each side at a tie, and 0 for two segments of length zero."""
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
