# SPDX-License-Identifier: Apache-2.0
"""The backward pass of the detection loss: unscaled gradients times their factors, and the Gaussians' gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference import _outputs
from asl_fast.reference._detection_loss_rows import Rows
from asl_fast.reference._detection_loss_totals import Factors
from asl_fast.reference.detection_loss import OfPoints
from asl_fast.reference.detection_loss_gaussians import gaussian, gaussian_slopes, gaussian_tables


class BackwardOutputs(NamedTuple):
    """Gradients; of shape (0,) where the unscaled one, or the raw parameter, is missing."""

    grad_logits: Tensor
    grad_offsets: Tensor
    grad_predicted_quality: Tensor
    grad_raw_mu: Tensor
    grad_raw_sigma: Tensor


class BackwardOperands(NamedTuple):
    """What the op takes: gradients of the outputs of the forward pass, what that kept, and its raw parameters.

    Attributes:
        cls_learns: Whether the gradient of the classification loss reaches the Gaussians through h; likewise loc.
    """

    grad_total: Tensor | None
    grad_cls: Tensor | None
    grad_loc: Tensor | None
    grad_sensitivity: Tensor | None
    grad_mu: Tensor | None
    grad_sigma: Tensor | None
    unit_logits: Tensor
    unit_offsets: Tensor
    unit_predicted_quality: Tensor
    label: Tensor
    of_points: Tensor
    factors: Tensor
    raw_mu: Tensor | None
    raw_sigma: Tensor | None
    gaussian_form: Sequence[float]
    cls_learns: bool
    loc_learns: bool

    def outputs(self) -> BackwardOutputs:
        """Return room for the results."""
        device = self.factors.device

        def of(tensor: Tensor | None) -> Tensor:
            if tensor is None:
                return _outputs.empty((0,), self.factors.dtype, device)
            return _outputs.empty(tensor.shape, tensor.dtype, device)

        return BackwardOutputs(
            grad_logits=of(self.unit_logits),
            grad_offsets=of(self.unit_offsets),
            grad_predicted_quality=of(self.unit_predicted_quality),
            grad_raw_mu=of(self.raw_mu),
            grad_raw_sigma=of(self.raw_sigma),
        )


def detection_loss_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute all gradients with static shapes."""
    return compose_backward(Rows, given)


def compose_backward(make_rows: Callable[[Tensor], Rows], given: BackwardOperands) -> BackwardOutputs:
    """Multiply every unscaled gradient by its factor, and derive the gradients of the Gaussians.

    With the mean-one scale n / S, dL/dh_i = n / S (F_i - K) with K = sum h F / S; the same for the DIoU loss.
    """
    factors = Factors(*given.factors.unbind())
    through = given.factors.new_zeros(()) if given.grad_total is None else given.grad_total
    to_cls = through if given.grad_cls is None else through + given.grad_cls
    to_loc = through * factors.balance
    to_loc = to_loc if given.grad_loc is None else to_loc + given.grad_loc
    to_sensitivity = through if given.grad_sensitivity is None else through + given.grad_sensitivity
    positive_cls, background_cls = factors.positive_cls * to_cls, factors.background_cls * to_cls
    positive_loc = factors.positive_loc * to_loc
    rows = make_rows(given.label >= 0)
    unit_logits, unit_offsets, unit_quality = given.unit_logits, given.unit_offsets, given.unit_predicted_quality
    grad_logits = unit_logits
    if unit_logits.numel():
        grad_logits = rows.scale(unit_logits, positive_cls, background_cls).to(unit_logits.dtype)
    grad_raw_mu = grad_raw_sigma = given.factors.new_empty(0)
    if given.raw_mu is not None and given.raw_sigma is not None:
        grad_raw_mu, grad_raw_sigma = _to_raw(given, factors, rows, positive_cls, positive_loc)
    return BackwardOutputs(
        grad_logits=grad_logits,
        grad_offsets=(unit_offsets * positive_loc).to(unit_offsets.dtype),
        grad_predicted_quality=(unit_quality * (factors.per_positive * to_sensitivity)).to(unit_quality.dtype),
        grad_raw_mu=grad_raw_mu,
        grad_raw_sigma=grad_raw_sigma,
    )


def _to_raw(
    given: BackwardOperands, factors: Factors, rows: Rows, positive_cls: Tensor, positive_loc: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the raw parameters, (C, 3) each, from h and from those who take mu and sigma."""
    assert given.raw_mu is not None and given.raw_sigma is not None
    mu, sigma = gaussian_tables(given.raw_mu, given.raw_sigma, given.gaussian_form, given.factors.dtype)
    by_mu, by_sigma = torch.zeros_like(mu), torch.zeros_like(sigma)
    if given.cls_learns or given.loc_learns:
        index = rows.keep(rows.take(given.label)).long()
        losses = OfPoints(*(rows.take(each) for each in given.of_points.unbind()))
        to_h_cls = (losses.focal - factors.mean_cls) * positive_cls
        to_h_loc = (losses.diou - factors.mean_loc) * positive_loc
        to_h_cls = to_h_cls if given.cls_learns else torch.zeros_like(to_h_cls)
        to_h_loc = to_h_loc if given.loc_learns else torch.zeros_like(to_h_loc)
        centre, width = mu.index_select(0, index), sigma.index_select(0, index)
        distance = losses.distance.unsqueeze(-1)
        p = gaussian(distance, centre, width)
        to_p = rows.keep(torch.stack([to_h_cls, to_h_loc, to_h_loc], -1) * p)
        # On background the Gaussian is that of class 0, which need not be a number.
        apart = rows.keep((distance - centre) / width)
        to_centre = rows.keep(to_p * apart / width)
        by_mu.index_add_(0, index, to_centre)
        by_sigma.index_add_(0, index, to_centre * apart)
    by_mu = by_mu if given.grad_mu is None else by_mu + given.grad_mu
    by_sigma = by_sigma if given.grad_sigma is None else by_sigma + given.grad_sigma
    slope_mu, slope_sigma = gaussian_slopes(given.raw_mu, given.raw_sigma, sigma, given.gaussian_form)
    return (by_mu * slope_mu).to(given.raw_mu.dtype), (by_sigma * slope_sigma).to(given.raw_sigma.dtype)
