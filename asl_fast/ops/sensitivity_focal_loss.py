# SPDX-License-Identifier: Apache-2.0
"""Sensitivity-weighted sigmoid focal loss; the derivatives come out of the forward pass, logits are read once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from asl_fast.ops import _checks, _dispatch
from asl_fast.ops import _legacy as _library
from asl_fast.reference import sensitivity_focal_loss as reference
from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype


def _fake(
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
    shape = logits.shape if reduction == "none" else ()
    loss = logits.new_empty(shape, dtype=compute_dtype(logits, weights))
    grad_logits = logits.new_empty(logits.shape if need_logits else (0,), dtype=unit_gradient_dtype(logits))
    like = logits if weights is None else weights
    weight_shape = logits.shape if reduction == "none" else like.shape
    grad_weights = logits.new_empty(weight_shape if need_weights else (0,), dtype=unit_gradient_dtype(like))
    return loss, grad_logits, grad_weights


def _check_values(logits: Tensor, targets: Tensor, *_: Any) -> None:
    if targets.is_floating_point() or not targets.numel():
        return
    low, high = torch.aminmax(targets)
    if int(low) < -1 or int(high) >= logits.shape[-1]:
        raise ValueError(
            f"sensitivity_focal_loss: class ids must lie in [-1, {logits.shape[-1] - 1}] (-1 is background), "
            f"got {int(low)} to {int(high)}"
        )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, _, weights = inputs[:3]
    ctx.sum_weights = inputs[7] == "none" and weights is not None and weights.dim() < logits.dim()
    ctx.needed = inputs[8:]
    ctx.dtypes = (logits.dtype, None if weights is None else weights.dtype)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def _backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    _library.refuse_double_backward("sensitivity_focal_loss")
    grads: list[Tensor | None] = [None] * 10
    if grad is None:
        return tuple(grads)
    unit_logits, unit_weights = ctx.saved_tensors
    if ctx.needs_input_grad[0]:
        _library.require_unit_gradient("sensitivity_focal_loss", ctx.needed[0])
        grads[0] = (unit_logits * grad).to(ctx.dtypes[0])
    if ctx.needs_input_grad[2]:
        _library.require_unit_gradient("sensitivity_focal_loss", ctx.needed[1])
        grad_weights = unit_weights * grad
        grads[2] = (grad_weights.sum(-1) if ctx.sum_weights else grad_weights).to(ctx.dtypes[1])
    return tuple(grads)


_op = _library.define(
    "sensitivity_focal_loss(Tensor logits, Tensor targets, Tensor? weights, Tensor? mask, float alpha, float gamma, "
    "float label_smoothing, str reduction, bool need_logits, bool need_weights) -> (Tensor, Tensor, Tensor)",
    fake=_fake,
    check_values=_check_values,
)
_library.differentiable("sensitivity_focal_loss", setup_context=_setup_context, backward=_backward)

_dispatch.register("sensitivity_focal_loss", "reference", reference.sensitivity_focal_loss)
_dispatch.register("sensitivity_focal_loss", "cpu", "asl_fast.ops._sensitivity_focal_loss_cpu:sensitivity_focal_loss")
_dispatch.register("sensitivity_focal_loss", "triton", "asl_fast.kernels.sensitivity_focal_loss:sensitivity_focal_loss")
_dispatch.register("sensitivity_focal_loss", "cuda", "asl_fast.ops._sensitivity_focal_loss_cuda:sensitivity_focal_loss")


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
    """Sigmoid focal loss, weighted per point by action sensitivity: weight * alpha_t (1 - p_t)^gamma CE(p, t).

    Lin et al., ICCV 2017, eq. 5, weighted as in Shao et al., ICCV 2023 (L_cls). The weights multiply every entry as
    given: a caller who wants h_cls on positives and 1 on background passes exactly that. The gradient is finite
    everywhere, also for 0 < gamma < 1 at a perfect classification, where it is 0.

    Args:
        logits: (..., C) floating point. NaN where the mask is False does no harm.
        targets: (..., C) floating point in [0, 1]; or (...,) integer class ids in [0, C), -1 for background. A point of
            several classes needs the dense form. No gradient flows to them.
        weights: (...,) or (..., C) floating point; None is 1.
        mask: (...,) bool, False excludes the point from loss, gradient and mean.
        alpha: weight of positives, 1 - alpha of negatives; negative switches this weighting off.
        gamma: focusing exponent, at least 0.
        label_smoothing: s in t (1 - s) + s / (C + 1), ActionFormer's form.
        reduction: "none" (..., C), "sum", or "mean" over the elements that the mask keeps. Without any
            element 0, with a graph.

    Returns:
        (..., C) or (); float32, or float64 if logits or weights are float64. Gradients reach logits and weights, once.

    Raises:
        TypeError: a tensor of the wrong kind.
        ValueError: wrong shape, two devices, gamma or label_smoothing out of range, unknown reduction; a class id out
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
    recording = torch.is_grad_enabled()
    loss: Tensor = _op(
        logits,
        targets,
        weights,
        mask,
        alpha,
        gamma,
        label_smoothing,
        reduction,
        recording and logits.requires_grad,
        recording and weights is not None and weights.requires_grad,
    )[0]
    return loss
