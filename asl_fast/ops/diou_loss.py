# SPDX-License-Identifier: Apache-2.0
"""Distance-IoU loss on offsets; the derivatives come out of the forward pass."""

from __future__ import annotations

from torch import Tensor

from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.reference import diou_loss as reference
from asl_fast.reference.diou_loss import Operands, Outputs


def _check_values(given: Operands) -> None:
    for name, offsets in (("pred_offsets", given.pred), ("target_offsets", given.target)):
        if offsets.numel() and bool(offsets.min() < 0):
            row = int((offsets < 0).any(-1).nonzero()[0])
            raise ValueError(f"diou_loss: {name} must not be negative, row {row} is {offsets[row].tolist()}")


def _gradients(given: Operands, found: Outputs, grads: Outputs, needed: Operands) -> dict[str, Tensor]:
    per_row = grads.loss.unsqueeze(-1) if given.reduction == "none" else grads.loss
    results = {}
    if needed.pred:
        _library.require_unit_gradient("diou_loss", given.need_pred)
        results["pred"] = found.grad_pred * per_row
    if needed.target:
        _library.require_unit_gradient("diou_loss", given.need_target)
        results["target"] = found.grad_target * per_row
    if needed.weights:
        _library.require_unit_gradient("diou_loss", given.need_weights)
        results["weights"] = found.grad_weights * grads.loss
    return results


_op = _library.define(Operands, "diou_loss", check_values=_check_values)
_UNIT_GRADIENTS = ("grad_pred", "grad_target", "grad_weights")
_library.differentiable(Operands, "diou_loss", _gradients, keep_outputs=_UNIT_GRADIENTS, constant=_UNIT_GRADIENTS)

_dispatch.register("diou_loss", "reference", reference.diou_loss)
_dispatch.register("diou_loss", "cpu", "asl_fast.ops._diou_loss_native:cpu")
_dispatch.register("diou_loss", "cuda", "asl_fast.ops._diou_loss_native:cuda")
_dispatch.register("diou_loss", "triton", "asl_fast.kernels.diou_loss:diou_loss")


def diou_loss(
    pred_offsets: Tensor,
    target_offsets: Tensor,
    weights: Tensor | None = None,
    *,
    reduction: str = "none",
    eps: float = 1e-8,
) -> Tensor:
    """Compute 1 - IoU + (centre distance / hull)² of segments [t - o0, t + o1] that share the point t.

    Zheng et al., AAAI 2020, eq. 7, in one dimension, as ActionFormer's ``ctr_diou_loss_1d``. At exact ties each side
    receives half of the gradient, so a perfect match has gradient 0; two segments of length zero have loss 1 and
    gradient 0 (the formula's slope there is 1 / eps, which no training survives).

    Args:
        pred_offsets: (N, 2) floating point, non-negative distances to start and end, in the unit of the target.
        target_offsets: (N, 2) likewise.
        weights: (N,) factor of every row, for example the sensitivity h_loc; None is 1.
        reduction: "none" (N,), "sum" or "mean" (divided by N). An empty input gives 0 with a graph.
        eps: Lower bound of the union, which is the hull here.

    Returns:
        (N,) or (); float32, or float64 if an input is float64. Gradients reach all three tensors, once.

    Raises:
        TypeError: An input is not floating point.
        ValueError: Wrong shape, two devices, unknown reduction; a negative offset (CPU tensors only).
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
    given = Operands(
        pred=pred_offsets,
        target=target_offsets,
        weights=weights,
        reduction=reduction,
        eps=eps,
        need_pred=_library.may_need_gradient(pred_offsets),
        need_target=_library.may_need_gradient(target_offsets),
        need_weights=_library.may_need_gradient(weights),
    )
    return Outputs(*_op(*given)).loss
