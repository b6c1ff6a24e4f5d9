# SPDX-License-Identifier: Apache-2.0
"""Assignment and every loss of a detector's outputs but the contrastive one, in plain PyTorch.

:func:`compose` is the formula; it takes the implementations of its parts, so that the C++ kernels serve it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference import _outputs, assign_points, diou_loss, sensitivity_focal_loss
from asl_fast.reference._detection_loss_rows import Rows
from asl_fast.reference._detection_loss_totals import Factors, Sums, Totals, conclude
from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype
from asl_fast.reference.detection_loss_gaussians import gaussian, gaussian_tables
from asl_fast.reference.quality import class_probability, offset_iou

LEAST_UNION = 1e-8  # lower bound of the union in the DIoU loss, in strides


class OfPoints(NamedTuple):
    """What the Gaussians learn from, each (B, P); anything on background.

    Attributes:
        focal: Focal loss, summed over classes.
        diou: DIoU loss.
        distance: Signed distance d(x) to the instance's centre in lengths of the instance.
    """

    focal: Tensor
    diou: Tensor
    distance: Tensor


class Outputs(NamedTuple):
    """The losses, the Gaussians for other losses, and what the backward pass needs; scalars unless a shape is given.

    Attributes:
        total: Sum cls + location weight * loc + sensitivity.
        cls: Classification loss.
        loc: Localisation loss.
        sensitivity: Loss of the instance-level evaluator.
        num_positives: Number of positives, int64.
        normalizer: The updated one, in the dtype it was given in.
        mu: (C, 3) centres of the Gaussians; (0,) without them.
        sigma: (C, 3) widths, likewise.
        segments_finest: (G, 2) segments in strides of the first point, likewise.
        unit_logits: (B, P, C) unscaled gradient of the logits; (0,) where it is not needed.
        unit_offsets: (B, P, 2) likewise of the offsets.
        unit_predicted_quality: Likewise of the predicted quality, in its shape.
        label: (B, P) int32 class of each point, -1 on background.
        of_points: (3, B, P), :class:`OfPoints`; zeros where no Gaussian learns.
        factors: (7,), :class:`Factors`.
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
    unit_logits: Tensor
    unit_offsets: Tensor
    unit_predicted_quality: Tensor
    label: Tensor
    of_points: Tensor
    factors: Tensor


class Operands(NamedTuple):
    """What the op takes; :func:`asl_fast.ops.detection_loss` explains the tensors and numbers.

    Attributes:
        predicted_quality: (B, P, 1 or 2) predictions of the instance-level evaluator, or None.
        raw_mu: (C, 3) unbounded parameter of the Gaussians' centres, or None; likewise raw_sigma of their widths.
        gaussian_form: The numbers of a :class:`~asl_fast.reference.detection_loss_gaussians.GaussianForm`, or empty.
        class_level: Whether the Gaussians are part of h.
        cls_sensitive: Whether positives are weighted by h in the classification loss; likewise loc.
        cls_column: Column of ``predicted_quality`` for the classification, -1 for none; likewise loc.
        cls_constant: Weight of positives in the classification loss where it is not sensitive; likewise loc.
        normalize: Whether h is scaled to mean 1 over the positives.
        need_logits: Whether the gradient of the logits is needed; likewise the others.
    """

    logits: Tensor
    offsets: Tensor
    predicted_quality: Tensor | None
    mask: Tensor
    points: Tensor
    segments: Tensor
    labels: Tensor
    video_offsets: Tensor
    raw_mu: Tensor | None
    raw_sigma: Tensor | None
    normalizer: Tensor
    gaussian_form: Sequence[float]
    class_level: bool
    cls_sensitive: bool
    loc_sensitive: bool
    cls_column: int
    loc_column: int
    cls_constant: float
    loc_constant: float
    normalize: bool
    center_sampling_radius: float | None
    tie_tolerance: float
    alpha: float
    gamma: float
    label_smoothing: float
    momentum: float
    location_weight: float
    need_logits: bool
    need_offsets: bool
    need_predicted_quality: bool
    need_gaussians: bool

    def by_mean(self) -> tuple[bool, bool]:
        """Return whether h is scaled to mean 1 over the positives, for cls and for loc."""
        return self.normalize and self.cls_sensitive, self.normalize and self.loc_sensitive

    def conclude(self, sums: Sums) -> Totals:
        """Return the losses of points that have these sums."""
        cls_by_mean, loc_by_mean = self.by_mean()
        return conclude(
            sums,
            self.normalizer,
            momentum=self.momentum,
            location_weight=self.location_weight,
            cls_by_mean=cls_by_mean,
            loc_by_mean=loc_by_mean,
        )

    def assignment(self) -> assign_points.Operands:
        """Return what the assignment of points to instances takes."""
        return assign_points.Operands(
            points=self.points,
            segments=self.segments,
            labels=self.labels,
            video_offsets=self.video_offsets,
            num_classes=self.logits.shape[-1],
            center_sampling_radius=self.center_sampling_radius,
            tie_tolerance=self.tie_tolerance,
        )

    def outputs(self) -> Outputs:
        """Return room for the results."""
        dtype, device, shape = compute_dtype(self.logits), self.logits.device, self.mask.shape
        table = (0,) if self.raw_mu is None else self.raw_mu.shape
        quality = self.logits if self.predicted_quality is None else self.predicted_quality
        with_quality = self.need_predicted_quality and self.predicted_quality is not None
        of_segments = dtype if self.raw_mu is None else torch.promote_types(self.segments.dtype, self.points.dtype)
        return Outputs(
            total=_outputs.empty((), dtype, device),
            cls=_outputs.empty((), dtype, device),
            loc=_outputs.empty((), dtype, device),
            sensitivity=_outputs.empty((), dtype, device),
            num_positives=_outputs.empty((), torch.int64, device),
            normalizer=_outputs.empty((), self.normalizer.dtype, device),
            mu=_outputs.empty(table, dtype, device),
            sigma=_outputs.empty(table, dtype, device),
            segments_finest=_outputs.empty_unless(self.raw_mu is not None, self.segments.shape, of_segments, device),
            unit_logits=_outputs.empty_unless(
                self.need_logits, self.logits.shape, unit_gradient_dtype(self.logits), device
            ),
            unit_offsets=_outputs.empty_unless(
                self.need_offsets, self.offsets.shape, unit_gradient_dtype(self.offsets), device
            ),
            unit_predicted_quality=_outputs.empty_unless(
                with_quality, quality.shape, unit_gradient_dtype(quality), device
            ),
            label=_outputs.empty(shape, torch.int32, device),
            of_points=_outputs.empty((len(OfPoints._fields), *shape), dtype, device),
            factors=_outputs.empty((len(Factors._fields),), dtype, device),
        )


class Parts(NamedTuple):
    """What the loss is made of: implementations of three ops, and the points at which the positives' losses look."""

    assign_points: Callable[[assign_points.Operands], assign_points.Outputs]
    sensitivity_focal_loss: Callable[[sensitivity_focal_loss.Operands], sensitivity_focal_loss.Outputs]
    diou_loss: Callable[[diou_loss.Operands], diou_loss.Outputs]
    rows: Callable[[Tensor], Rows]


REFERENCE = Parts(assign_points.assign_points, sensitivity_focal_loss.sensitivity_focal_loss, diou_loss.diou_loss, Rows)


def detection_loss(given: Operands) -> Outputs:
    """Compute all of it in plain PyTorch, with static shapes."""
    return compose(REFERENCE, given)


def compose(parts: Parts, given: Operands) -> Outputs:
    """Compute the losses by the given implementations of their parts."""
    logits, labels, quality = given.logits, given.labels, given.predicted_quality
    dtype = compute_dtype(logits)
    assigned = parts.assign_points(given.assignment())
    positive = (assigned.instance >= 0) & given.mask
    count = positive.sum()
    rows = parts.rows(positive)
    with_background = torch.cat([labels, labels.new_zeros(1)])
    label = with_background.index_select(0, rows.keep(rows.take(assigned.instance), labels.shape[0]))
    # Background rows get offsets (1, 1) and weight 0, so that predictions there cost nothing and get no gradient.
    target = rows.keep(rows.take(assigned.offsets), 1).to(dtype)
    pred = rows.keep(rows.take(given.offsets), 1).to(dtype)
    distance = rows.keep(rows.take(assigned.distance)).to(dtype)

    mu, sigma, segments_finest = (logits.new_empty(0, dtype=dtype) for _ in range(3))
    p_cls = p_loc = None
    if given.raw_mu is not None and given.raw_sigma is not None:
        mu, sigma = gaussian_tables(given.raw_mu, given.raw_sigma, given.gaussian_form, dtype)
        segments_finest = given.segments / given.points[0, 3]
        if given.class_level:
            p = gaussian(distance.unsqueeze(-1), mu.index_select(0, label), sigma.index_select(0, label))
            p_cls, p_start, p_end = p.unbind(-1)
            p_loc = p_start + p_end
    predicted_quality = None if quality is None else rows.take(quality).to(dtype)
    q_cls, q_loc = (
        None if predicted_quality is None or column < 0 else predicted_quality[:, column]
        for column in (given.cls_column, given.loc_column)
    )
    h_cls = rows.keep(_sum(p_cls, q_cls) if given.cls_sensitive else torch.full_like(distance, given.cls_constant))
    h_loc = rows.keep(_sum(p_loc, q_loc) if given.loc_sensitive else torch.full_like(distance, given.loc_constant))

    # The loss of each row is needed by the mean over h and by the Gaussians, not by the sum.
    cls_by_mean, loc_by_mean = given.by_mean()
    cls_apart, loc_apart = cls_by_mean or given.need_gaussians, loc_by_mean or given.need_gaussians
    weighs = cls_apart or given.cls_sensitive or given.cls_constant != 1
    focal = parts.sensitivity_focal_loss(
        sensitivity_focal_loss.Operands(
            logits=logits,
            targets=assigned.class_targets.to(dtype),
            weights=rows.spread(h_cls, 1) if weighs else None,
            mask=given.mask,
            alpha=given.alpha,
            gamma=given.gamma,
            label_smoothing=given.label_smoothing,
            reduction="sum",
            need_logits=given.need_logits,
            need_weights=cls_apart,
        )
    )
    diou = parts.diou_loss(
        diou_loss.Operands(
            pred=pred,
            target=target,
            weights=h_loc,
            reduction="sum",
            eps=LEAST_UNION,
            need_pred=given.need_offsets,
            need_target=False,
            need_weights=loc_apart,
        )
    )
    # d loss / d weight is the loss without its weight.
    focal_of_points, diou_of_rows = focal.grad_weights, diou.grad_weights
    unit_offsets = diou.grad_pred.to(unit_gradient_dtype(given.offsets))

    error = logits.new_zeros((), dtype=dtype)
    unit_quality = logits.new_empty(0, dtype=unit_gradient_dtype(logits if quality is None else quality))
    if predicted_quality is not None:
        target_quality = torch.empty_like(predicted_quality)
        if given.cls_column >= 0:
            target_quality[:, given.cls_column] = class_probability(rows.take(logits), label).to(dtype)
        if given.loc_column >= 0:
            target_quality[:, given.loc_column] = offset_iou(pred, target)
        difference = rows.keep(predicted_quality - target_quality)
        error = difference.square().sum()
        if given.need_predicted_quality:
            unit_quality = rows.spread((2 * difference).to(unit_quality.dtype))

    if cls_by_mean:
        # The kernel has weighted with h before its scaling.
        scaled_cls = rows.keep(h_cls * rows.take(focal_of_points)).sum()
        plain_cls = torch.where(positive, 0, focal_of_points).sum()
    else:
        scaled_cls, plain_cls = torch.zeros_like(focal.loss), focal.loss
    sums = Sums(
        positives=count,
        weight_cls=h_cls.sum(),
        weight_loc=h_loc.sum(),
        scaled_cls=scaled_cls,
        plain_cls=plain_cls,
        loc=diou.loss,
        error=error,
    )
    totals = given.conclude(sums)
    if given.need_gaussians:
        of_points = torch.stack(OfPoints(focal_of_points, rows.spread(diou_of_rows), rows.spread(distance)))
    else:
        of_points = logits.new_zeros((len(OfPoints._fields), *given.mask.shape), dtype=dtype)
    return Outputs(
        total=totals.total,
        cls=totals.cls,
        loc=totals.loc,
        sensitivity=totals.sensitivity,
        num_positives=count,
        normalizer=totals.normalizer,
        mu=mu,
        sigma=sigma,
        segments_finest=segments_finest,
        unit_logits=focal.grad_logits.to(unit_gradient_dtype(logits)),
        unit_offsets=rows.spread(unit_offsets) if given.need_offsets else unit_offsets,
        unit_predicted_quality=unit_quality,
        label=rows.spread(label.to(torch.int32), -1),
        of_points=of_points,
        factors=torch.stack(totals.factors),
    )


def _sum(p: Tensor | None, q: Tensor | None) -> Tensor:
    """Return h before normalisation, (N,), of a branch that has at least one of the two."""
    assert p is not None or q is not None, "a sensitive branch has a Gaussian or an evaluator"
    return q if p is None else p if q is None else p + q  # type: ignore[return-value]
