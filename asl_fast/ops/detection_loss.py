# SPDX-License-Identifier: Apache-2.0
"""Label assignment and every loss of a detector's outputs as one op: one pass forward, one backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.ops._detection_loss_pooled import KEPT, Peers, Pieces, pooled
from asl_fast.ops.assign_points import check_targets
from asl_fast.ops.gaussians import RawGaussians
from asl_fast.ops.ragged import RaggedTargets
from asl_fast.reference import detection_loss as reference
from asl_fast.reference import detection_loss_backward as reference_backward
from asl_fast.reference.detection_loss import Operands, Outputs
from asl_fast.reference.detection_loss_backward import BackwardOperands, BackwardOutputs

BRANCHES = ("cls", "loc")


class DetectionLoss(NamedTuple):
    """Results of :func:`detection_loss`; scalars unless a shape is given.

    Attributes:
        total: Sum cls + location weight * loc + sensitivity.
        cls: Focal loss over the normaliser.
        loc: DIoU loss over the normaliser.
        sensitivity: Squared error of the evaluator, mean over positives.
        num_positives: Number of positives, int64.
        normalizer: The updated one, in the dtype it was given in.
        mu: (C, 3) centres of the Gaussians, with gradient; empty without them.
        sigma: (C, 3) widths, likewise.
        segments_finest: (G, 2) the targets' segments in strides of the first point, that is in frames of the finest
            level, which the contrastive loss takes; empty likewise.
    """

    total: Tensor
    cls: Tensor
    loc: Tensor
    sensitivity: Tensor
    num_positives: Tensor
    normalizer: Tensor
    mu: Tensor
    sigma: Tensor
    segments_finest: Tensor


def _check_values(given: Operands) -> None:
    check_targets(
        segments=given.segments,
        labels=given.labels,
        video_offsets=given.video_offsets,
        num_classes=given.logits.shape[-1],
    )


def _constant(given: Operands) -> tuple[str, ...]:
    """Return the outputs that carry no gradient."""
    kept = Outputs._fields[Outputs._fields.index("segments_finest") :]
    tables = () if given.need_gaussians else ("mu", "sigma")
    return ("num_positives", "normalizer", *tables, *kept)


def _gradients(given: Operands, found: Outputs, grads: Outputs, needed: Operands) -> dict[str, Tensor]:
    for requested, computed in (
        (needed.logits, given.need_logits),
        (needed.offsets, given.need_offsets),
        (needed.predicted_quality, given.need_predicted_quality),
        (needed.raw_mu or needed.raw_sigma, given.need_gaussians),
    ):
        if requested:
            _library.require_unit_gradient("detection_loss", computed)
    operands = BackwardOperands(
        grad_total=grads.total,
        grad_cls=grads.cls,
        grad_loc=grads.loc,
        grad_sensitivity=grads.sensitivity,
        grad_mu=grads.mu,
        grad_sigma=grads.sigma,
        unit_logits=found.unit_logits,
        unit_offsets=found.unit_offsets,
        unit_predicted_quality=found.unit_predicted_quality,
        label=found.label,
        of_points=found.of_points,
        factors=found.factors,
        raw_mu=given.raw_mu if given.need_gaussians else None,
        raw_sigma=given.raw_sigma if given.need_gaussians else None,
        gaussian_form=given.gaussian_form,
        cls_learns=given.class_level and given.cls_sensitive,
        loc_learns=given.class_level and given.loc_sensitive,
    )
    results = BackwardOutputs(*_op_backward(*operands))
    return {
        "logits": results.grad_logits,
        "offsets": results.grad_offsets,
        "predicted_quality": results.grad_predicted_quality,
        "raw_mu": results.grad_raw_mu,
        "raw_sigma": results.grad_raw_sigma,
    }


_op = _library.define(Operands, "detection_loss", check_values=_check_values)
_op_backward = _library.define(BackwardOperands, "detection_loss_backward")
_library.differentiable(
    Operands,
    "detection_loss",
    _gradients,
    keep_operands=("raw_mu", "raw_sigma"),
    keep_outputs=KEPT,
    constant=_constant,
)

_dispatch.register("detection_loss", "reference", reference.detection_loss)
_dispatch.register("detection_loss", "cpu", "asl_fast.ops._detection_loss_native:cpu")
_dispatch.register("detection_loss", "triton", "asl_fast.kernels.detection_loss:detection_loss")
_dispatch.register("detection_loss_backward", "reference", reference_backward.detection_loss_backward)
_dispatch.register("detection_loss_backward", "cpu", "asl_fast.ops._detection_loss_native:cpu_backward")
_dispatch.register(
    "detection_loss_backward", "triton", "asl_fast.kernels.detection_loss_backward:detection_loss_backward"
)


def detection_loss(
    logits: Tensor,
    offsets: Tensor,
    mask: Tensor,
    points: Tensor,
    targets: RaggedTargets,
    normalizer: Tensor,
    *,
    predicted_quality: Tensor | None = None,
    gaussians: RawGaussians | None = None,
    class_level: bool = True,
    branches: Sequence[str] = BRANCHES,
    constant_weights: tuple[float, float] = (1.0, 1.0),
    normalize: bool = True,
    center_sampling_radius: float | None = 1.5,
    tie_tolerance: float = 1e-3,
    alpha: float = 0.25,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    momentum: float = 1.0,
    location_weight: float = 1.0,
    peers: Peers | None = None,
) -> DetectionLoss:
    """Assign points to the ground truth and compute every loss of an anchor-free detector but the contrastive one.

        cls = (sum over positives w(h_cls) Focal + sum over background Focal) / N
        loc = sum over positives w(h_loc) DIoU / N
        sensitivity = mean over positives of (q_cls - sigmoid(logit of the class))² + (q_loc - tIoU)², targets detached
        h_cls = p_cls + q_cls, h_loc = p_start + p_end + q_loc,  q detached;  w(h) = h / mean(h), or h

    (Shao et al., ICCV 2023, section 3.2, on Zhang et al., ECCV 2022, 3.3), with N = momentum N + (1 - momentum)
    max(number of positives, 1). Assignment is that of :func:`asl_fast.assign_points`, the losses those of
    :func:`asl_fast.sensitivity_focal_loss` and :func:`asl_fast.diou_loss`.

    Args:
        logits: (B, P, C) floating point, all levels concatenated.
        offsets: (B, P, 2) >= 0, distances to start and end in strides.
        mask: (B, P) bool, True where valid.
        points: (P, 4) time, range low, range high (grid), stride.
        targets: Ground truth of B videos; segments in grid units.
        normalizer: () the previous N; it is not written.
        predicted_quality: (B, P, len(branches)) of the instance-level evaluator, in the order of ``branches``.
        gaussians: Of the class level.
        class_level: Whether p is part of h; without it the Gaussians are only handed on as ``mu`` and ``sigma``.
        branches: Sub-tasks whose positives are weighted by h, of "cls" and "loc"; none is without ``predicted_quality``
            and p.
        constant_weights: Weights of positives in (cls, loc) where h is not used.
        normalize: Whether w(h) has mean 1 over the positives of the batch; its divisor carries gradient.
        center_sampling_radius: In strides; None lets the whole instance claim.
        tie_tolerance: In grid units.
        alpha: Of the focal loss.
        gamma: Of the focal loss.
        label_smoothing: Of the focal loss.
        momentum: Of N; 1 leaves N as it is.
        location_weight: Factor of ``loc`` in ``total``; <= 0 is cls / max(loc, 0.01), treated as constant.
        peers: Other processes with videos of the same batch, whose points count as if they were here; all of them have
            to call. Gradients are then meant to be averaged over the processes.

    Returns:
        A :class:`DetectionLoss` in float32, float64 if logits are. Gradients reach logits, offsets, predicted quality
        and the raw parameters, once.

    Raises:
        TypeError: A tensor of the wrong kind.
        ValueError: Shapes that do not belong together, two devices, an unknown branch; labels or video offsets of
            targets out of range (CPU tensors only).
    """
    op = "detection_loss"
    segments, labels, video_offsets = targets
    raw_mu, raw_sigma = (None, None) if gaussians is None else (gaussians.mu, gaussians.sigma)
    inputs = {"logits": logits, "offsets": offsets, "predicted_quality": predicted_quality, "points": points}
    learned = {"segments": segments, "raw_mu": raw_mu, "raw_sigma": raw_sigma, "normalizer": normalizer}
    floating = {**inputs, **learned}
    _checks.floating(op, **floating)
    if not set(branches) <= set(BRANCHES) or len(set(branches)) != len(branches):
        raise ValueError(f'{op}: branches may hold "cls" and "loc", got {tuple(branches)}')
    if logits.dim() != 3 or not logits.numel():
        raise ValueError(f"{op}: logits must be (B, P, C), none of them 0, got {tuple(logits.shape)}")
    videos, count, classes = logits.shape
    shapes = {
        "offsets": (offsets, (videos, count, 2)),
        "mask": (mask, (videos, count)),
        "points": (points, (count, 4)),
        "targets.segments": (segments, (labels.shape[0] if labels.dim() else 0, 2)),
        "targets.video_offsets": (video_offsets, (videos + 1,)),
        "predicted_quality": (predicted_quality, (videos, count, len(branches))),
        "gaussians.mu": (raw_mu, (classes, 3)),
        "gaussians.sigma": (raw_sigma, (classes, 3)),
        "normalizer": (normalizer, ()),
    }
    for name, (tensor, shape) in shapes.items():
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{op}: {name} must be {shape} to fit logits and labels, got {tuple(tensor.shape)}")
    if mask.dtype != torch.bool:
        raise TypeError(f"{op}: mask must be bool, got {mask.dtype}")
    for name, tensor in (("labels", labels), ("video_offsets", video_offsets)):
        if tensor.dtype != torch.int64:
            raise TypeError(f"{op}: targets.{name} must be int64, got {tensor.dtype}")
    _checks.same_device(op, **floating, mask=mask, labels=labels, video_offsets=video_offsets)
    class_level = class_level and gaussians is not None
    sensitive = branches if class_level or predicted_quality is not None else ()
    columns = {} if predicted_quality is None else {branch: column for column, branch in enumerate(branches)}
    needed = _library.may_need_gradient
    given = Operands(
        logits=logits,
        offsets=offsets,
        predicted_quality=predicted_quality,
        mask=mask,
        points=points.detach(),
        segments=segments.detach(),
        labels=labels,
        video_offsets=video_offsets,
        raw_mu=raw_mu,
        raw_sigma=raw_sigma,
        normalizer=normalizer.detach(),
        gaussian_form=[] if gaussians is None else list(gaussians.form()),
        class_level=class_level,
        cls_sensitive="cls" in sensitive,
        loc_sensitive="loc" in sensitive,
        cls_column=columns.get("cls", -1),
        loc_column=columns.get("loc", -1),
        cls_constant=constant_weights[0],
        loc_constant=constant_weights[1],
        normalize=normalize,
        center_sampling_radius=center_sampling_radius,
        tie_tolerance=tie_tolerance,
        alpha=alpha,
        gamma=gamma,
        label_smoothing=label_smoothing,
        momentum=momentum,
        location_weight=location_weight,
        need_logits=needed(logits),
        need_offsets=needed(offsets),
        need_predicted_quality=needed(predicted_quality),
        need_gaussians=needed(raw_mu, raw_sigma),
    )
    found = Outputs(*_op(*given)) if peers is None else pooled(Pieces(_op, _gradients, peers), given)
    return DetectionLoss(*(getattr(found, name) for name in DetectionLoss._fields))
