# SPDX-License-Identifier: Apache-2.0
"""Sigmoid focal loss weighted by action sensitivity in plain PyTorch, and its derivatives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from asl_fast.reference import _outputs
from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype


def dense_targets(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    """Return targets in [0, 1] like ``logits``: one-hot from class ids, then smoothed in ActionFormer's way."""
    if targets.is_floating_point():
        dense = targets.to(logits.dtype)
    else:
        classes = torch.arange(logits.shape[-1], device=logits.device)
        dense = (targets.unsqueeze(-1) == classes).to(logits.dtype)
    return dense * (1 - label_smoothing) + label_smoothing / (logits.shape[-1] + 1)


def focal(logits: Tensor, targets: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return alpha_t (1 - p_t)^gamma CE(p, t) elementwise (Lin et al., ICCV 2017, eq. 5); no alpha_t if alpha < 0.

    1 - p_t is built from sigmoid(x) and sigmoid(-x), not by a subtraction from 1, so it keeps its digits at |x| = 100.
    """
    p, q = torch.sigmoid(logits), torch.sigmoid(-logits)
    cross_entropy = -targets * F.logsigmoid(logits) - (1 - targets) * F.logsigmoid(-logits)
    loss = cross_entropy * (p * (1 - targets) + q * targets) ** gamma
    return loss if alpha < 0 else loss * (alpha * targets + (1 - alpha) * (1 - targets))


class Outputs(NamedTuple):
    """The weighted, masked, reduced loss and its derivatives, of shape (0,) where they are not needed.

    Attributes:
        loss: () or (..., C), float32, or float64 if logits or weights are.
        grad_logits: (..., C) d loss / d logits.
        grad_weights: Derivative d loss / d weights in their shape; with reduction "none" of every element, (..., C).
    """

    loss: Tensor
    grad_logits: Tensor
    grad_weights: Tensor


class Operands(NamedTuple):
    """What the op takes; :func:`asl_fast.sensitivity_focal_loss` explains the tensors and numbers.

    Attributes:
        logits: (..., C).
        targets: (..., C) floating point, or (...,) integer class ids.
        weights: (...,), (..., C) or None: 1.
        mask: (...,) bool or None: everything counts.
        need_logits: Whether the derivative by logits is needed; likewise the weights.
    """

    logits: Tensor
    targets: Tensor
    weights: Tensor | None
    mask: Tensor | None
    alpha: float
    gamma: float
    label_smoothing: float
    reduction: str
    need_logits: bool
    need_weights: bool

    @property
    def classes(self) -> int:
        """C."""
        return self.logits.shape[-1]

    @property
    def rows(self) -> int:
        """How many points there are; 0 without classes."""
        return self.logits.numel() // self.classes if self.classes else 0

    @property
    def sparse(self) -> bool:
        """Whether the targets are class ids."""
        return not self.targets.is_floating_point()

    @property
    def row_weights(self) -> bool:
        """Whether there is one weight for all classes of a point."""
        return self.weights is not None and self.weights.dim() < self.logits.dim()

    def outputs(self) -> Outputs:
        """Return room for the results."""
        shape, device = self.logits.shape, self.logits.device
        elementwise = self.reduction == "none"
        like = self.logits if self.weights is None else self.weights
        weight_shape = shape if elementwise else like.shape
        with_weights = self.need_weights and self.weights is not None
        return Outputs(
            loss=_outputs.empty(shape if elementwise else (), compute_dtype(self.logits, self.weights), device),
            grad_logits=_outputs.empty_unless(self.need_logits, shape, unit_gradient_dtype(self.logits), device),
            grad_weights=_outputs.empty_unless(with_weights, weight_shape, unit_gradient_dtype(like), device),
        )


def sensitivity_focal_loss(given: Operands) -> Outputs:
    """Compute the weighted, masked, reduced loss and its derivatives."""
    found = given.outputs()
    dtype = found.loss.dtype
    keep = None if given.mask is None else given.mask.unsqueeze(-1)

    def masked(values: Tensor) -> Tensor:
        return values if keep is None else torch.where(keep, values, 0)

    x = masked(given.logits.to(dtype))  # so that NaN under the mask goes nowhere
    t = dense_targets(x, given.targets, given.label_smoothing)
    elements = focal(x, t, given.alpha, given.gamma)
    weight = None if given.weights is None else given.weights.to(dtype)
    if weight is not None and given.row_weights:
        weight = weight.unsqueeze(-1)
    factor = _reduction_factor(elements, given.mask, given.reduction)

    weighted = masked(elements if weight is None else elements * weight)
    found.loss.copy_(weighted if given.reduction == "none" else weighted.sum() * factor)
    if given.need_logits:
        slope = _slope(x, t, given.alpha, given.gamma)
        found.grad_logits.copy_(masked(slope if weight is None else slope * weight) * factor)
    if given.need_weights and given.weights is not None:
        slope = masked(elements) * factor
        found.grad_weights.copy_(slope.sum(-1) if given.row_weights and given.reduction != "none" else slope)
    return found


def _slope(x: Tensor, t: Tensor, alpha: float, gamma: float) -> Tensor:
    """Return d focal / d x, finite for every gamma >= 0: p (1 - p) / (1 - p_t), formed first, lies in [0, 1]."""
    p, q = torch.sigmoid(x), torch.sigmoid(-x)
    miss = p * (1 - t) + q * t
    cross_entropy = -t * F.logsigmoid(x) - (1 - t) * F.logsigmoid(-x)
    ratio = torch.where(miss == 0, 0, p * q / torch.where(miss == 0, 1, miss))
    slope = miss**gamma * ((p * (1 - t) - q * t) + gamma * (1 - 2 * t) * ratio * cross_entropy)
    return slope if alpha < 0 else slope * (alpha * t + (1 - alpha) * (1 - t))


def _reduction_factor(elements: Tensor, mask: Tensor | None, reduction: str) -> Tensor | float:
    """Return 1, or one over the number of elements that count."""
    if reduction != "mean":
        return 1.0
    if mask is None:
        return 1.0 / max(elements.numel(), 1)
    return 1.0 / (mask.sum() * elements.shape[-1]).clamp(min=1).to(elements.dtype)
