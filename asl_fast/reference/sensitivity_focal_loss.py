# SPDX-License-Identifier: Apache-2.0
"""Sigmoid focal loss weighted by action sensitivity in plain PyTorch, and its derivatives."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype


def dense_targets(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Targets in [0, 1], shape and dtype of ``logits``: one-hot from class ids, then smoothed in ActionFormer's way."""
    if targets.is_floating_point():
        dense = targets.to(logits.dtype)
    else:
        classes = torch.arange(logits.shape[-1], device=logits.device)
        dense = (targets.unsqueeze(-1) == classes).to(logits.dtype)
    return dense * (1 - label_smoothing) + label_smoothing / (logits.shape[-1] + 1)


def focal(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """alpha_t (1 - p_t)^gamma CE(p, t) elementwise (Lin et al., ICCV 2017, eq. 5); no alpha_t where alpha < 0.

    1 - p_t is built from sigmoid(x) and sigmoid(-x), not by a subtraction from 1, so it keeps its digits at |x| = 100.
    """
    p, q = torch.sigmoid(logits), torch.sigmoid(-logits)
    cross_entropy = -targets * F.logsigmoid(logits) - (1 - targets) * F.logsigmoid(-logits)
    loss = cross_entropy * (p * (1 - targets) + q * targets) ** gamma
    return loss if alpha < 0 else loss * (alpha * targets + (1 - alpha) * (1 - targets))


def sensitivity_focal_loss(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    mask: Tensor | None,
    alpha: float,
    gamma: float,
    label_smoothing: float,
    reduction: str,
    need_logits: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The registered op: the weighted, masked, reduced loss and its derivatives; an empty tensor for each not needed.

    Returns:
        loss () or (..., C); d loss / d logits (..., C) elementwise; d loss / d weights in the shape of the weights, or
        elementwise (..., C) with reduction "none".
    """
    dtype = compute_dtype(logits, weights)
    x = logits.to(dtype)
    if mask is not None:
        keep = mask.unsqueeze(-1)
        x = torch.where(keep, x, 0)  # so that NaN under the mask goes nowhere
    t = dense_targets(x, targets, label_smoothing)
    elements = focal(x, t, alpha, gamma)
    weight = None if weights is None else weights.to(dtype)
    if weight is not None and weight.dim() < x.dim():
        weight = weight.unsqueeze(-1)
    factor = _reduction_factor(elements, mask, reduction)

    def weighted(values: Tensor, by: Tensor | None) -> Tensor:
        values = values if by is None else values * by
        return values if mask is None else torch.where(keep, values, 0)

    loss = weighted(elements, weight)
    if reduction != "none":
        loss = loss.sum() * factor
    grad_logits, grad_weights = (logits.new_empty(0) for _ in range(2))
    if need_logits:
        slope = weighted(_slope(x, t, alpha, gamma), weight)
        grad_logits = (slope * factor).to(unit_gradient_dtype(logits)).contiguous()
    if need_weights and weights is not None:
        grad_weights = weighted(elements, None) * factor
        if reduction != "none" and weights.dim() < logits.dim():
            grad_weights = grad_weights.sum(-1)
        grad_weights = grad_weights.to(unit_gradient_dtype(weights)).contiguous()
    return loss.contiguous(), grad_logits, grad_weights


def _slope(x: Tensor, t: Tensor, alpha: float, gamma: float) -> Tensor:
    """d focal / d x. Finite for every gamma >= 0: p (1 - p) / (1 - p_t) is formed first and lies in [0, 1]."""
    p, q = torch.sigmoid(x), torch.sigmoid(-x)
    miss = p * (1 - t) + q * t
    cross_entropy = -t * F.logsigmoid(x) - (1 - t) * F.logsigmoid(-x)
    ratio = torch.where(miss == 0, 0, p * q / torch.where(miss == 0, 1, miss))
    slope = miss**gamma * ((p * (1 - t) - q * t) + gamma * (1 - 2 * t) * ratio * cross_entropy)
    return slope if alpha < 0 else slope * (alpha * t + (1 - alpha) * (1 - t))


def _reduction_factor(elements: Tensor, mask: Tensor | None, reduction: str) -> Tensor | float:
    """1, or one over the number of elements that count."""
    if reduction != "mean":
        return 1.0
    if mask is None:
        return 1.0 / max(elements.numel(), 1)
    return 1.0 / (mask.sum() * elements.shape[-1]).clamp(min=1).to(elements.dtype)
