# SPDX-License-Identifier: Apache-2.0
"""Assignment and every loss of a detector's outputs in plain PyTorch, and the derivatives, written out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype
from asl_fast.reference.assign_points import assign_points
from asl_fast.reference.diou_loss import diou_loss
from asl_fast.reference.sensitivity_focal_loss import sensitivity_focal_loss

LEAST_LOCATION_LOSS = 0.01  # in the automatic location weight


class Parts(NamedTuple):
    """The implementations of the three ops that the loss is made of."""

    assign_points: Callable[..., Any]
    sensitivity_focal_loss: Callable[..., Any]
    diou_loss: Callable[..., Any]


REFERENCE = Parts(assign_points, sensitivity_focal_loss, diou_loss)


class GaussianForm(NamedTuple):
    """How raw parameters become Gaussians, see :func:`gaussian_tables`."""

    mu_init_cls: float
    mu_init_start: float
    mu_init_end: float
    mu_scale: float
    sigma_init: float
    sigma_scale_below: float
    sigma_scale_above: float


def gaussian_tables(
    raw_mu: Tensor, raw_sigma: Tensor, form: Sequence[float], dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """mu = init + s atan(raw / s) and sigma = init exp(s atan(raw / s)), (C, 3), and their slopes in raw."""
    shape = GaussianForm(*form)
    raw_mu, raw_sigma = raw_mu.to(dtype), raw_sigma.to(dtype)
    # Filled on the device: a tensor made from a list would be copied there, and waited for.
    start = torch.stack([torch.full_like(raw_mu[:, column], shape[column]) for column in range(3)], -1)
    mu = start + shape.mu_scale * torch.atan(raw_mu / shape.mu_scale)
    slope_mu = 1 / (1 + (raw_mu / shape.mu_scale) ** 2)
    scale = torch.full_like(raw_sigma, shape.sigma_scale_above).masked_fill(raw_sigma < 0, shape.sigma_scale_below)
    sigma = shape.sigma_init * torch.exp(scale * torch.atan(raw_sigma / scale))
    return mu, sigma, slope_mu, sigma / (1 + (raw_sigma / scale) ** 2)


def detection_loss(*arguments: Any) -> tuple[Tensor, ...]:
    """The registered op, all of it in plain PyTorch."""
    return compose(REFERENCE, *arguments)


def compose(
    parts: Parts,
    logits: Tensor,
    offsets: Tensor,
    quality: Tensor | None,
    mask: Tensor,
    points: Tensor,
    segments: Tensor,
    labels: Tensor,
    bounds: Tensor,
    raw_mu: Tensor | None,
    raw_sigma: Tensor | None,
    normalizer: Tensor,
    form: Sequence[float],
    class_level: bool,
    sensitive: Sequence[bool],
    columns: Sequence[int],
    constants: Sequence[float],
    normalize: bool,
    center_sampling_radius: float | None,
    tie_tolerance: float,
    alpha: float,
    gamma: float,
    label_smoothing: float,
    momentum: float,
    location_weight: float,
    need: Sequence[bool],
) -> tuple[Tensor, ...]:
    """The registered op by the given implementations of its parts.

    Returns:
        total, cls, loc, sensitivity, number of positives, updated normaliser; mu, sigma (C, 3) and the segments in
        frames of the first point's level; the unscaled gradients of logits, offsets and quality; for the backward pass
        the class (B, P) int32 of each point, -1 on background, (3, B, P) its focal loss, DIoU loss and d(x), and the
        factors (7,) that :func:`detection_loss_backward` applies.
    """
    dtype = compute_dtype(logits)
    classes, targets, instance, distance = parts.assign_points(
        points, segments, labels, bounds, logits.shape[-1], center_sampling_radius, tie_tolerance
    )
    positive = (instance >= 0) & mask
    count = positive.sum()
    with_background = torch.cat([labels, labels.new_zeros(1)])
    label = with_background[torch.where(positive, instance, labels.shape[0])]
    distance = torch.where(positive, distance, 0).to(dtype)
    # Background rows get offsets (1, 1) and weight 0: what the head says there costs nothing and has no gradient.
    target = torch.where(positive.unsqueeze(-1), targets.to(dtype), 1)
    pred = torch.where(positive.unsqueeze(-1), offsets.to(dtype), 1)

    mu, sigma, frames = (logits.new_empty(0, dtype=dtype) for _ in range(3))
    p: list[Tensor] = []
    if raw_mu is not None and raw_sigma is not None:
        mu, sigma = gaussian_tables(raw_mu, raw_sigma, form, dtype)[:2]
        frames = segments / points[0, 3]
        if class_level:
            each = torch.exp(-0.5 * ((distance.unsqueeze(-1) - mu[label]) / sigma[label]) ** 2)
            p = [each[..., 0], each[..., 1] + each[..., 2]]
    h = _sensitivities(p, quality, positive, sensitive, columns, constants, dtype)

    weights = torch.where(positive, h[0], 1)
    _, unit_logits, focal = parts.sensitivity_focal_loss(
        logits, classes.to(dtype), weights, mask, alpha, gamma, label_smoothing, "sum", need[0], True
    )
    weighted = h[1].flatten()
    _, unit_offsets, _, diou = parts.diou_loss(
        pred.flatten(0, 1), target.flatten(0, 1), weighted, "sum", 1e-8, need[1], False, True
    )
    diou = torch.where(positive, diou.view_as(focal), 0)
    unit_offsets = unit_offsets.to(unit_gradient_dtype(offsets)).view(offsets.shape if need[1] else (0,))

    unit_logits = unit_logits.to(unit_gradient_dtype(logits))

    error = logits.new_zeros((), dtype=dtype)
    unit_quality = logits.new_empty(0, dtype=unit_gradient_dtype(logits if quality is None else quality))
    if quality is not None:
        of_branch = _qualities(logits.to(dtype), label, pred, target)
        order = sorted((column, branch) for branch, column in enumerate(columns) if column >= 0)
        said = [quality[..., column].to(dtype) - of_branch[branch] for column, branch in order]
        difference = torch.stack([torch.where(positive, each, 0) for each in said], -1)
        error = (difference**2).sum()
        if need[2]:
            unit_quality = (2 * difference).to(unit_quality.dtype).contiguous()

    updated = (momentum * normalizer + (1 - momentum) * count.clamp(min=1)).to(normalizer.dtype)
    sums = [(weight * loss).sum() for weight, loss in zip(h, (focal, diou), strict=True)]
    background = torch.where(positive, 0, focal).sum()
    scale, mean = [], []
    for branch, weight in enumerate(h):
        divisor = weight.sum().clamp(min=torch.finfo(dtype).tiny)
        by_mean = normalize and sensitive[branch]
        scale.append(count / divisor if by_mean else torch.ones_like(divisor))
        mean.append(sums[branch] / divisor if by_mean else torch.zeros_like(divisor))
    share = 1 / updated.to(dtype)
    cls, loc = (scale[0] * sums[0] + background) * share, scale[1] * sums[1] * share
    per_positive = 1 / count.clamp(min=1).to(dtype)
    balance = cls.new_full((), location_weight) if location_weight > 0 else cls / loc.clamp(min=LEAST_LOCATION_LOSS)
    factors = torch.stack([scale[0] * share, share, scale[1] * share, per_positive, balance, *mean])
    sensitivity = error * per_positive
    total = cls + balance * loc + sensitivity
    rows = torch.stack([focal, diou, distance])
    marked = torch.where(positive, label, -1).to(torch.int32)
    losses = (total, cls, loc, sensitivity, count, updated)
    return *losses, mu, sigma, frames, unit_logits, unit_offsets, unit_quality, marked, rows, factors


def _sensitivities(
    p: list[Tensor],
    quality: Tensor | None,
    positive: Tensor,
    sensitive: Sequence[bool],
    columns: Sequence[int],
    constants: Sequence[float],
    dtype: torch.dtype,
) -> list[Tensor]:
    """h_cls and h_loc of positive points before normalisation, 0 elsewhere, each (B, P)."""
    found = []
    for branch in range(2):
        start = 0.0 if sensitive[branch] else constants[branch]
        h = torch.full(positive.shape, start, dtype=dtype, device=positive.device)
        if sensitive[branch] and p:
            h = h + p[branch]
        if sensitive[branch] and quality is not None:
            h = h + quality[..., columns[branch]].to(dtype)
        found.append(torch.where(positive, h, 0))
    return found


def _qualities(logits: Tensor, label: Tensor, pred: Tensor, target: Tensor) -> list[Tensor]:
    """What the evaluator is to say: sigmoid of the logit of the class, and temporal IoU."""
    probability = torch.sigmoid(logits.gather(-1, label.unsqueeze(-1)).squeeze(-1))
    intersection = torch.minimum(pred, target).sum(-1).clamp(min=0)
    union = torch.maximum(pred, target).sum(-1)
    return [probability, intersection / union.clamp(min=torch.finfo(union.dtype).eps)]


def detection_loss_backward(
    grad_total: Tensor | None,
    grad_cls: Tensor | None,
    grad_loc: Tensor | None,
    grad_sensitivity: Tensor | None,
    grad_mu: Tensor | None,
    grad_sigma: Tensor | None,
    unit_logits: Tensor,
    unit_offsets: Tensor,
    unit_quality: Tensor,
    label: Tensor,
    rows: Tensor,
    factors: Tensor,
    raw_mu: Tensor | None,
    raw_sigma: Tensor | None,
    form: Sequence[float],
    learns: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The registered op: every unscaled gradient times its factor, and the gradients of the Gaussians.

    With the mean-one scale n / S, dL/dh_i = n / S (F_i - K) with K = sum h F / S; the same for the DIoU loss.

    Args:
        learns: whether the gradient of (cls, loc) reaches the Gaussians through h.

    Returns:
        Gradients of logits, offsets, quality, raw_mu and raw_sigma; (0,) where the unscaled one, or raw_mu, is missing.
    """
    positive_cls, background_cls, positive_loc, per_positive, balance, *mean = factors.unbind()
    zero = factors.new_zeros(())
    through = zero if grad_total is None else grad_total
    grads = [
        through if grad_cls is None else through + grad_cls,
        through * balance if grad_loc is None else through * balance + grad_loc,
        through if grad_sensitivity is None else through + grad_sensitivity,
    ]
    positive = label >= 0
    factor = torch.where(positive, positive_cls, background_cls) * grads[0]
    grad_logits = (unit_logits * factor.unsqueeze(-1) if unit_logits.numel() else unit_logits).to(unit_logits.dtype)
    grad_offsets = (unit_offsets * (positive_loc * grads[1])).to(unit_offsets.dtype)
    grad_quality = (unit_quality * (per_positive * grads[2])).to(unit_quality.dtype)
    if raw_mu is None or raw_sigma is None:
        return grad_logits, grad_offsets, grad_quality, factors.new_empty(0), factors.new_empty(0)

    dtype = factors.dtype
    mu, sigma, slope_mu, slope_sigma = gaussian_tables(raw_mu, raw_sigma, form, dtype)
    index = label.clamp(min=0).long().flatten()
    focal, diou, distance = rows.flatten(1).unbind()
    away = distance.unsqueeze(-1) - mu[index]
    width = sigma[index]
    p = torch.exp(-0.5 * (away / width) ** 2)
    slopes = [(focal - mean[0]) * (positive_cls * grads[0]), (diou - mean[1]) * (positive_loc * grads[1])]
    by_column = torch.stack([slopes[0] if learns[0] else zero.expand_as(focal)] + 2 * [
        slopes[1] if learns[1] else zero.expand_as(diou)
    ], -1)  # fmt: skip
    to_p = torch.where(positive.flatten().unsqueeze(-1), by_column * p * away / width**2, 0)
    by_mu = torch.zeros_like(mu).index_add(0, index, to_p)
    by_sigma = torch.zeros_like(sigma).index_add(0, index, to_p * away / width)
    by_mu = by_mu if grad_mu is None else by_mu + grad_mu
    by_sigma = by_sigma if grad_sigma is None else by_sigma + grad_sigma
    grad_raw_mu, grad_raw_sigma = (by_mu * slope_mu).to(raw_mu.dtype), (by_sigma * slope_sigma).to(raw_sigma.dtype)
    return grad_logits, grad_offsets, grad_quality, grad_raw_mu, grad_raw_sigma
