# SPDX-License-Identifier: Apache-2.0
"""Sensitivity-weighted sigmoid focal loss; the derivatives come out of the forward pass, logits are read once."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.reference import sensitivity_focal_loss as reference
from asl_fast.reference.sensitivity_focal_loss import Operands, Outputs


def _check_values(given: Operands) -> None:
    if not given.sparse or not given.targets.numel():
        return
    low, high = torch.aminmax(given.targets)
    if int(low) < -1 or int(high) >= given.classes:
        raise ValueError(
            f"sensitivity_focal_loss: class ids must lie in [-1, {given.classes - 1}] (-1 is background), "
            f"got {int(low)} to {int(high)}"
        )


def _gradients(given: Operands, found: Outputs, grads: Outputs, needed: Operands) -> dict[str, Tensor]:
    results = {}
    if needed.logits:
        _library.require_unit_gradient("sensitivity_focal_loss", given.need_logits)
        results["logits"] = found.grad_logits * grads.loss
    if needed.weights:
        _library.require_unit_gradient("sensitivity_focal_loss", given.need_weights)
        results["weights"] = found.grad_weights * grads.loss  # of every element unless reduced
    return results


_op = _library.define(Operands, "sensitivity_focal_loss", check_values=_check_values)
_UNIT_GRADIENTS = ("grad_logits", "grad_weights")
_library.differentiable(
    Operands, "sensitivity_focal_loss", _gradients, keep_outputs=_UNIT_GRADIENTS, constant=_UNIT_GRADIENTS
)

_dispatch.register("sensitivity_focal_loss", "reference", reference.sensitivity_focal_loss)
_dispatch.register("sensitivity_focal_loss", "cpu", "asl_fast.ops._sensitivity_focal_loss_native:cpu")
_dispatch.register("sensitivity_focal_loss", "triton", "asl_fast.kernels.sensitivity_focal_loss:sensitivity_focal_loss")
_dispatch.register("sensitivity_focal_loss", "cuda", "asl_fast.ops._sensitivity_focal_loss_native:cuda")


def sensitivity_focal_loss(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    reduction: str = "none",
) -> Tensor:
    """Compute the sigmoid focal loss, weighted by sensitivity: weight * alpha_t (1 - p_t)^gamma CE(p, t).

    Lin et al., ICCV 2017, eq. 5, weighted as in Shao et al., ICCV 2023 (L_cls). The weights multiply every entry as
    given: a caller who wants h_cls on positives and 1 on background passes exactly that. The gradient is finite
    everywhere, also for 0 < gamma < 1 at a perfect classification, where it is 0.

    Args:
        logits: (..., C) floating point. NaN where the mask is False does no harm.
        targets: (..., C) floating point in [0, 1]; or (...,) integer class ids in [0, C), -1 for background. A point of
            several classes needs the dense form. No gradient flows to them.
        weights: (...,) or (..., C) floating point; None is 1.
        mask: (...,) bool, False excludes the point from loss, gradient and mean.
        alpha: Weight of positives, 1 - alpha of negatives; negative switches this weighting off.
        gamma: Focusing exponent, at least 0.
        label_smoothing: The s of t (1 - s) + s / (C + 1), ActionFormer's form.
        reduction: "none" (..., C), "sum", or "mean" over the elements that the mask keeps. Without any
            element 0, with a graph.

    Returns:
        (..., C) or (); float32, or float64 if logits or weights are float64. Gradients reach logits and weights, once.

    Raises:
        TypeError: A tensor of the wrong kind.
        ValueError: Wrong shape, two devices, gamma or label_smoothing out of range, unknown reduction; a class id out
            of range (CPU tensors only; on a GPU it counts as background).
    """
    op = "sensitivity_focal_loss"
    _checks.floating(op, logits=logits, weights=weights)
    if logits.dim() < 1:
        raise ValueError(f"{op}: logits must be (..., C), got a scalar")
    dense, sparse = tuple(logits.shape), tuple(logits.shape[:-1])
    if targets.dtype == torch.bool or targets.is_complex():
        raise TypeError(f"{op}: targets must be floating point (dense) or integer class ids, got {targets.dtype}")
    expected = dense if targets.is_floating_point() else sparse
    if targets.shape != expected:
        kind = "dense" if targets.is_floating_point() else "integer"
        raise ValueError(f"{op}: {kind} targets must be {expected}, got {tuple(targets.shape)}")
    if weights is not None and weights.shape != dense and weights.shape != sparse:
        raise ValueError(f"{op}: weights must be {sparse} or {dense}, got {tuple(weights.shape)}")
    if mask is not None:
        if mask.dtype != torch.bool:
            raise TypeError(f"{op}: mask must be bool, got {mask.dtype}")
        if mask.shape != sparse:
            raise ValueError(f"{op}: mask must be {sparse}, got {tuple(mask.shape)}")
    _checks.same_device(op, logits=logits, targets=targets, weights=weights, mask=mask)
    if not gamma >= 0:
        raise ValueError(f"{op}: gamma must be at least 0, got {gamma}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{op}: label_smoothing must lie in [0, 1], got {label_smoothing}")
    _checks.reduction(op, reduction)
    given = Operands(
        logits=logits,
        targets=targets,
        weights=weights,
        mask=mask,
        alpha=alpha,
        gamma=gamma,
        label_smoothing=label_smoothing,
        reduction=reduction,
        need_logits=_library.may_need_gradient(logits),
        need_weights=_library.may_need_gradient(weights),
    )
    return Outputs(*_op(*given)).loss
