# SPDX-License-Identifier: Apache-2.0
"""Distance-IoU loss on offsets; the derivatives come out of the forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.reference import diou_loss as reference
from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype


def _fake(
    pred: Tensor,
    target: Tensor,
    weights: Tensor | None,
    reduction: str,
    eps: float,
    need_pred: bool,
    need_target: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = pred.shape[0]
    loss = pred.new_empty((rows,) if reduction == "none" else (), dtype=compute_dtype(pred, target, weights))
    grad_pred = pred.new_empty((rows, 2) if need_pred else (0,), dtype=unit_gradient_dtype(pred))
    grad_target = pred.new_empty((rows, 2) if need_target else (0,), dtype=unit_gradient_dtype(target))
    like = pred if weights is None else weights
    grad_weights = pred.new_empty((rows,) if need_weights else (0,), dtype=unit_gradient_dtype(like))
    return loss, grad_pred, grad_target, grad_weights


def _check_values(pred: Tensor, target: Tensor, *_: Any) -> None:
    for name, offsets in (("pred_offsets", pred), ("target_offsets", target)):
        if offsets.numel() and bool(offsets.min() < 0):
            row = int((offsets < 0).any(-1).nonzero()[0])
            raise ValueError(f"diou_loss: {name} must not be negative, row {row} is {offsets[row].tolist()}")


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    pred, target, weights, reduction, _, *needed = inputs
    ctx.reduced = reduction != "none"
    ctx.needed = needed
    ctx.dtypes = (pred.dtype, target.dtype, None if weights is None else weights.dtype)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def _backward(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    _library.refuse_double_backward("diou_loss")
    grads: list[Tensor | None] = [None] * 8
    if grad is None:
        return tuple(grads)
    per_row = grad if ctx.reduced else grad.unsqueeze(-1)
    for position, (unit, factor) in enumerate(zip(ctx.saved_tensors, (per_row, per_row, grad), strict=True)):
        if ctx.needs_input_grad[position]:
            _library.require_unit_gradient("diou_loss", ctx.needed[position])
            grads[position] = (unit * factor).to(ctx.dtypes[position])
    return tuple(grads)


_op = _library.define(
    "diou_loss(Tensor pred, Tensor target, Tensor? weights, str reduction, float eps, bool need_pred, "
    "bool need_target, bool need_weights) -> (Tensor, Tensor, Tensor, Tensor)",
    fake=_fake,
    check_values=_check_values,
)
_library.differentiable("diou_loss", setup_context=_setup_context, backward=_backward)

_dispatch.register("diou_loss", "reference", reference.diou_loss)
_dispatch.register("diou_loss", "cpu", "asl_fast.ops._diou_loss_cpu:diou_loss")
_dispatch.register("diou_loss", "triton", "asl_fast.kernels.diou_loss:diou_loss")
_dispatch.register("diou_loss", "cuda", "asl_fast.ops._diou_loss_cuda:diou_loss")


def diou_loss(
    pred_offsets: Tensor,
    target_offsets: Tensor,
    weights: Tensor | None = None,
    *,
    reduction: str = "none",
    eps: float = 1e-8,
) -> Tensor:
    """Distance-IoU loss of segments [t - o0, t + o1] that share the point t: 1 - IoU + (centre distance / hull)².

    Zheng et al., AAAI 2020, eq. 7, in one dimension, as ActionFormer's ``ctr_diou_loss_1d``. At exact ties each side
    receives half of the gradient, so a perfect match has gradient 0; two segments of length zero have loss 1 and
    gradient 0 (the formula's slope there is 1 / eps, which no training survives).

    Args:
        pred_offsets: (N, 2) floating point, non-negative distances to start and end, in the unit of the target.
        target_offsets: (N, 2) likewise.
        weights: (N,) factor of every row, for example the sensitivity h_loc; None is 1.
        reduction: "none" (N,), "sum" or "mean" (divided by N). An empty input gives 0 with a graph.
        eps: lower bound of the union, which is the hull here.

    Returns:
        (N,) or (); float32, or float64 if an input is float64. Gradients reach all three tensors, once.

    Raises:
        TypeError: an input is not floating point.
        ValueError: wrong shape, two devices, unknown reduction; a negative offset (CPU tensors only).
    """
    op = "diou_loss"
    _checks.floating(op, pred_offsets=pred_offsets, target_offsets=target_offsets, weights=weights)
    if pred_offsets.dim() != 2 or pred_offsets.shape[1] != 2:
        raise ValueError(f"{op}: pred_offsets must be (N, 2), got {tuple(pred_offsets.shape)}")
    if target_offsets.shape != pred_offsets.shape:
        raise ValueError(
            f"{op}: target_offsets must be {tuple(pred_offsets.shape)} as pred_offsets, "
            f"got {tuple(target_offsets.shape)}"
        )
    if weights is not None and weights.shape != pred_offsets.shape[:1]:
        raise ValueError(f"{op}: weights must be ({pred_offsets.shape[0]},), got {tuple(weights.shape)}")
    _checks.same_device(op, pred_offsets=pred_offsets, target_offsets=target_offsets, weights=weights)
    _checks.reduction(op, reduction)
    recording = torch.is_grad_enabled()
    loss: Tensor = _op(
        pred_offsets,
        target_offsets,
        weights,
        reduction,
        eps,
        recording and pred_offsets.requires_grad,
        recording and target_offsets.requires_grad,
        recording and weights is not None and weights.requires_grad,
    )[0]
    return loss
