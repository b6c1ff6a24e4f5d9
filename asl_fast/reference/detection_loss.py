# SPDX-License-Identifier: Apache-2.0
"""Assignment and every loss of a detector's outputs in plain PyTorch, and the derivatives, written out.

:func:`compose` is the formula; it takes the implementations of its parts, so that the C++ kernels serve it as well.
"""

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


class Rows:
    """The points that count as positive, as rows of flat tensors.

    Every point is a row, with what background says replaced: all shapes are known before the values are. Where reading
    a value costs nothing, on a CPU, :class:`PositiveRows` holds the positive points alone, which are few.

    Args:
        positive: (B, P) bool.
    """

    def __init__(self, positive: Tensor) -> None:
        self.shape = positive.shape
        self.positive = positive.flatten()

    def take(self, values: Tensor) -> Tensor:
        """(N, ...) rows of (B, P, ...)."""
        return values.flatten(0, 1)

    def keep(self, values: Tensor, otherwise: float = 0) -> Tensor:
        """(N, ...) with ``otherwise`` in rows of background."""
        return torch.where(_over(self.positive, values), values, otherwise)

    def spread(self, values: Tensor, otherwise: float = 0) -> Tensor:
        """(B, P, ...) with rows (N, ...) on the positive points and ``otherwise`` on background."""
        return self.keep(values, otherwise).view(*self.shape, *values.shape[1:])

    def scale(self, values: Tensor, positive: Tensor, background: Tensor) -> Tensor:
        """(B, P, ...) times one factor () on positive points and another on background."""
        factor = torch.where(self.positive, positive, background).view(self.shape)
        return values * _over(factor, values)


class PositiveRows(Rows):
    """The positive points alone; their number is read from the device."""

    def __init__(self, positive: Tensor) -> None:
        super().__init__(positive)
        self.index = self.positive.nonzero().squeeze(1)

    def take(self, values: Tensor) -> Tensor:
        return values.flatten(0, 1).index_select(0, self.index)

    def keep(self, values: Tensor, otherwise: float = 0) -> Tensor:
        return values

    def spread(self, values: Tensor, otherwise: float = 0) -> Tensor:
        full = values.new_full((self.positive.shape[0], *values.shape[1:]), otherwise)
        return full.index_copy_(0, self.index, values).view(*self.shape, *values.shape[1:])

    def scale(self, values: Tensor, positive: Tensor, background: Tensor) -> Tensor:
        scaled = values * background
        scaled.flatten(0, 1).index_copy_(0, self.index, self.take(values) * positive)
        return scaled


def _over(per_row: Tensor, values: Tensor) -> Tensor:
    """``per_row`` with as many dimensions as ``values``."""
    return per_row.view(*per_row.shape, *(1,) * (values.dim() - per_row.dim()))


class Parts(NamedTuple):
    """What the loss is made of: implementations of three ops, and the points at which the positives' losses look."""

    assign_points: Callable[..., Any]
    sensitivity_focal_loss: Callable[..., Any]
    diou_loss: Callable[..., Any]
    rows: Callable[[Tensor], Rows]


REFERENCE = Parts(assign_points, sensitivity_focal_loss, diou_loss, Rows)


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
) -> tuple[Tensor, Tensor]:
    """mu = init + s atan(raw / s) and sigma = init exp(s atan(raw / s)), (C, 3)."""
    shape = GaussianForm(*form)
    mu = torch.atan(raw_mu.to(dtype) / shape.mu_scale) * shape.mu_scale
    # Added as numbers: a tensor made from a list would be copied to the device, and waited for.
    for column in range(3):
        mu[:, column] += shape[column]
    scale = _sigma_scale(raw_sigma, shape, dtype)
    return mu, torch.exp(scale * torch.atan(raw_sigma.to(dtype) / scale)) * shape.sigma_init


def gaussian_slopes(raw_mu: Tensor, raw_sigma: Tensor, sigma: Tensor, form: Sequence[float]) -> tuple[Tensor, Tensor]:
    """d mu / d raw_mu and d sigma / d raw_sigma of :func:`gaussian_tables`, (C, 3)."""
    shape, dtype = GaussianForm(*form), sigma.dtype
    scale = _sigma_scale(raw_sigma, shape, dtype)
    slope_mu = 1 / (1 + (raw_mu.to(dtype) / shape.mu_scale) ** 2)
    return slope_mu, sigma / (1 + (raw_sigma.to(dtype) / scale) ** 2)


def _sigma_scale(raw_sigma: Tensor, shape: GaussianForm, dtype: torch.dtype) -> Tensor:
    above = torch.full_like(raw_sigma, shape.sigma_scale_above, dtype=dtype)
    return above.masked_fill(raw_sigma < 0, shape.sigma_scale_below)


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
        strides of the first point; the unscaled gradients of logits, offsets and quality; for the backward pass
        the class (B, P) int32 of each point, -1 on background, (3, B, P) its focal loss, DIoU loss and d(x), which are
        zeros where no Gaussian learns, and the factors (7,) that :func:`detection_loss_backward` applies.
    """
    dtype = compute_dtype(logits)
    classes, targets, instance, distance = parts.assign_points(
        points, segments, labels, bounds, logits.shape[-1], center_sampling_radius, tie_tolerance
    )
    positive = (instance >= 0) & mask
    count = positive.sum()
    rows = parts.rows(positive)
    with_background = torch.cat([labels, labels.new_zeros(1)])
    label = with_background.index_select(0, rows.keep(rows.take(instance), labels.shape[0]))
    # Background rows get offsets (1, 1) and weight 0: what the head says there costs nothing and has no gradient.
    target = rows.keep(rows.take(targets), 1).to(dtype)
    pred = rows.keep(rows.take(offsets), 1).to(dtype)
    away = rows.keep(rows.take(distance)).to(dtype)

    mu, sigma, segments_finest = (logits.new_empty(0, dtype=dtype) for _ in range(3))
    p: list[Tensor] = []
    if raw_mu is not None and raw_sigma is not None:
        mu, sigma = gaussian_tables(raw_mu, raw_sigma, form, dtype)
        segments_finest = segments / points[0, 3]
        if class_level:
            each = _gaussian(away, mu.index_select(0, label), sigma.index_select(0, label))
            p = [each[:, 0], each[:, 1] + each[:, 2]]
    said = None if quality is None else rows.take(quality).to(dtype)
    h = [rows.keep(_sensitivity(branch, p, said, sensitive, columns, constants, away)) for branch in range(2)]

    # The loss of each row is wanted where it does not only enter the sum.
    by_mean = [normalize and each for each in sensitive]
    apart = [each or need[3] for each in by_mean]
    weighs = apart[0] or sensitive[0] or constants[0] != 1
    cls, unit_logits, focal = parts.sensitivity_focal_loss(
        logits, classes.to(dtype), rows.spread(h[0], 1) if weighs else None, mask, alpha, gamma, label_smoothing, "sum",
        need[0], apart[0],
    )  # fmt: skip
    loc, unit_offsets, _, diou = parts.diou_loss(pred, target, h[1], "sum", 1e-8, need[1], False, apart[1])
    unit_logits = unit_logits.to(unit_gradient_dtype(logits))
    unit_offsets = unit_offsets.to(unit_gradient_dtype(offsets))
    unit_offsets = rows.spread(unit_offsets) if need[1] else unit_offsets

    error = logits.new_zeros((), dtype=dtype)
    unit_quality = logits.new_empty(0, dtype=unit_gradient_dtype(logits if quality is None else quality))
    if quality is not None and said is not None:
        wanted = _target_qualities(rows.take(logits), label, pred, target)
        order = sorted((column, branch) for branch, column in enumerate(columns) if column >= 0)
        difference = rows.keep(said - torch.stack([wanted[branch] for _, branch in order], -1))
        error = difference.square().sum()
        if need[2]:
            unit_quality = rows.spread((2 * difference).to(unit_quality.dtype))

    at_least_one = count.clamp(min=1)
    updated = (momentum * normalizer + (1 - momentum) * at_least_one).to(normalizer.dtype)
    share = updated.to(dtype).reciprocal()
    scale, mean = [share, share], [torch.zeros_like(share)] * 2
    if by_mean[0]:
        # The sum that the kernel returned is of h as it is.
        cls = (h[0] * rows.take(focal)).sum()
        divisor = h[0].sum().clamp(min=torch.finfo(dtype).tiny)
        scale[0], mean[0] = count / divisor * share, cls / divisor
        cls = scale[0] * cls + share * torch.where(positive, 0, focal).sum()
    else:
        cls = share * cls
    if by_mean[1]:
        divisor = h[1].sum().clamp(min=torch.finfo(dtype).tiny)
        scale[1], mean[1] = count / divisor * share, loc / divisor
    loc = scale[1] * loc
    per_positive = at_least_one.to(dtype).reciprocal()
    balance = cls.new_full((), location_weight) if location_weight > 0 else cls / loc.clamp(min=LEAST_LOCATION_LOSS)
    factors = torch.stack([scale[0], share, scale[1], per_positive, balance, *mean])
    sensitivity = error * per_positive
    losses = (cls + balance * loc + sensitivity, cls, loc, sensitivity, count, updated)
    marked = rows.spread(label.to(torch.int32), -1)
    if need[3]:
        of_points = torch.stack([focal, rows.spread(diou), rows.spread(away)])
    else:
        of_points = logits.new_zeros((3, *mask.shape), dtype=dtype)
    return *losses, mu, sigma, segments_finest, unit_logits, unit_offsets, unit_quality, marked, of_points, factors


def _gaussian(away: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """(N, 3) sensitivities of points at signed distances (N,), of Gaussians (N, 3)."""
    return torch.exp(-0.5 * ((away.unsqueeze(-1) - mu) / sigma) ** 2)


def _sensitivity(
    branch: int,
    p: Sequence[Tensor],
    said: Tensor | None,
    sensitive: Sequence[bool],
    columns: Sequence[int],
    constants: Sequence[float],
    like: Tensor,
) -> Tensor:
    """h_cls or h_loc (N,) before normalisation."""
    if not sensitive[branch]:
        return torch.full_like(like, constants[branch])
    terms = [p[branch]] if p else []
    if said is not None:
        terms.append(said[:, columns[branch]])
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def _target_qualities(logits: Tensor, label: Tensor, pred: Tensor, target: Tensor) -> list[Tensor]:
    """What the evaluator is to say, each (N,): sigmoid of the logit of the class, and temporal IoU."""
    of_class = logits.gather(-1, label.unsqueeze(-1)).squeeze(-1)
    intersection = torch.minimum(pred, target).sum(-1).clamp(min=0)
    union = torch.maximum(pred, target).sum(-1)
    overlap = intersection / union.clamp(min=torch.finfo(union.dtype).eps)
    return [torch.sigmoid(of_class.to(union.dtype)), overlap]


def detection_loss_backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The registered op, with static shapes."""
    return compose_backward(Rows, *arguments)


def compose_backward(
    make_rows: Callable[[Tensor], Rows],
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
    of_points: Tensor,
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
    through = factors.new_zeros(()) if grad_total is None else grad_total
    to_cls = through if grad_cls is None else through + grad_cls
    to_loc = through * balance if grad_loc is None else through * balance + grad_loc
    to_sensitivity = through if grad_sensitivity is None else through + grad_sensitivity
    positive_cls, background_cls, positive_loc = positive_cls * to_cls, background_cls * to_cls, positive_loc * to_loc
    rows = make_rows(label >= 0)
    grad_logits = unit_logits
    if unit_logits.numel():
        grad_logits = rows.scale(unit_logits, positive_cls, background_cls).to(unit_logits.dtype)
    grad_offsets = (unit_offsets * positive_loc).to(unit_offsets.dtype)
    grad_quality = (unit_quality * (per_positive * to_sensitivity)).to(unit_quality.dtype)
    if raw_mu is None or raw_sigma is None:
        return grad_logits, grad_offsets, grad_quality, factors.new_empty(0), factors.new_empty(0)

    mu, sigma = gaussian_tables(raw_mu, raw_sigma, form, factors.dtype)
    by_mu, by_sigma = torch.zeros_like(mu), torch.zeros_like(sigma)
    if any(learns):
        index = rows.keep(rows.take(label)).long()
        focal, diou, away = (rows.take(each) for each in of_points.unbind())
        to_h = [(focal - mean[0]) * positive_cls, (diou - mean[1]) * positive_loc]
        to_h = [each if learned else torch.zeros_like(each) for each, learned in zip(to_h, learns, strict=True)]
        centre, width = mu.index_select(0, index), sigma.index_select(0, index)
        to_p = rows.keep(torch.stack([to_h[0], to_h[1], to_h[1]], -1) * _gaussian(away, centre, width))
        apart = (away.unsqueeze(-1) - centre) / width
        to_centre = to_p * apart / width
        by_mu.index_add_(0, index, to_centre)
        by_sigma.index_add_(0, index, to_centre * apart)
    by_mu = by_mu if grad_mu is None else by_mu + grad_mu
    by_sigma = by_sigma if grad_sigma is None else by_sigma + grad_sigma
    slope_mu, slope_sigma = gaussian_slopes(raw_mu, raw_sigma, sigma, form)
    grad_raw_mu, grad_raw_sigma = (by_mu * slope_mu).to(raw_mu.dtype), (by_sigma * slope_sigma).to(raw_sigma.dtype)
    return grad_logits, grad_offsets, grad_quality, grad_raw_mu, grad_raw_sigma
