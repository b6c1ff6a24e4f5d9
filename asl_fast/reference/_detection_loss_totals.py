# SPDX-License-Identifier: Apache-2.0
"""From the sums over points to the losses and to the factors of their gradients.

The sums are all that points of one batch have to know of each other, so batches that lie on several processes become
one batch by adding theirs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEAST_LOCATION_LOSS = 0.01  # lower bound in the automatic location weight


class Factors(NamedTuple):
    """What the unscaled gradients of the forward pass are multiplied by in the backward pass; each a scalar.

    Attributes:
        positive_cls: Of the logits of positive points.
        background_cls: Of the logits of background.
        positive_loc: Of the offsets.
        per_positive: Of the predicted quality: one over the number of positives.
        balance: Of the localisation loss in the total.
        mean_cls: K_cls, the focal loss of the positives averaged by h_cls where h_cls is scaled to mean 1; else 0.
        mean_loc: K_loc, likewise of the DIoU loss.
    """

    positive_cls: Tensor
    background_cls: Tensor
    positive_loc: Tensor
    per_positive: Tensor
    balance: Tensor
    mean_cls: Tensor
    mean_loc: Tensor


class Sums(NamedTuple):
    """Sums over the points of a batch; each a scalar.

    Attributes:
        positives: How many positives.
        weight_cls: h_cls of the positives; read where it is scaled to mean 1.
        weight_loc: h_loc of the positives, likewise.
        scaled_cls: Focal loss times h_cls of the positives, where h_cls is scaled to mean 1; else 0.
        plain_cls: Focal loss of all other points, and of the positives too where their weight is not scaled.
        loc: DIoU loss times h_loc of the positives.
        error: Squared error of the predicted quality.
    """

    positives: Tensor
    weight_cls: Tensor
    weight_loc: Tensor
    scaled_cls: Tensor
    plain_cls: Tensor
    loc: Tensor
    error: Tensor


class Totals(NamedTuple):
    """The losses of a batch, the normaliser they were divided by, and the factors of their gradients."""

    cls: Tensor
    loc: Tensor
    sensitivity: Tensor
    normalizer: Tensor
    factors: Factors

    @property
    def total(self) -> Tensor:
        """Return the sum of the losses."""
        return self.cls + self.factors.balance * self.loc + self.sensitivity


def location_balance(cls: Tensor, loc: Tensor, location_weight: float) -> Tensor:
    """Return the factor of the localisation loss in the total, ().

    Args:
        cls: () classification loss.
        loc: () localisation loss.
        location_weight: The factor; <= 0 balances the two.
    """
    return cls / loc.clamp(min=LEAST_LOCATION_LOSS) if location_weight <= 0 else cls.new_full((), location_weight)


def conclude(
    sums: Sums,
    normalizer: Tensor,
    *,
    momentum: float,
    location_weight: float,
    cls_by_mean: bool,
    loc_by_mean: bool,
) -> Totals:
    """Compute the losses.

    Args:
        sums: Over the points.
        normalizer: () the previous N; the result has its dtype.
        momentum: Of N.
        location_weight: Factor of the localisation loss; <= 0 balances it.
        cls_by_mean: Whether h_cls is scaled to mean 1 over the positives.
        loc_by_mean: Likewise h_loc.
    """
    at_least_one = sums.positives.clamp(min=1)
    updated = (momentum * normalizer + (1 - momentum) * at_least_one).to(normalizer.dtype)
    dtype = sums.loc.dtype
    share = updated.to(dtype).reciprocal()
    scale_cls, scale_loc, mean_cls, mean_loc = share, share, torch.zeros_like(share), torch.zeros_like(share)
    cls = share * sums.plain_cls
    if cls_by_mean:
        divisor = sums.weight_cls.clamp(min=torch.finfo(dtype).tiny)
        scale_cls, mean_cls = sums.positives / divisor * share, sums.scaled_cls / divisor
        cls = scale_cls * sums.scaled_cls + cls
    if loc_by_mean:
        divisor = sums.weight_loc.clamp(min=torch.finfo(dtype).tiny)
        scale_loc, mean_loc = sums.positives / divisor * share, sums.loc / divisor
    loc = scale_loc * sums.loc
    per_positive = at_least_one.to(dtype).reciprocal()
    return Totals(
        cls=cls,
        loc=loc,
        sensitivity=sums.error * per_positive,
        normalizer=updated,
        factors=Factors(
            positive_cls=scale_cls,
            background_cls=share,
            positive_loc=scale_loc,
            per_positive=per_positive,
            balance=location_balance(cls, loc, location_weight),
            mean_cls=mean_cls,
            mean_loc=mean_loc,
        ),
    )


def sums_behind(
    cls: Tensor,
    loc: Tensor,
    sensitivity: Tensor,
    count: Tensor,
    factors: Factors,
    *,
    cls_by_mean: bool,
    loc_by_mean: bool,
) -> Sums:
    """Return the sums that losses were computed from with N = 1; `conclude`, the other way round.

    A kernel keeps its sums to itself: what it gives are losses and factors.
    """
    dtype = loc.dtype
    count = count.to(dtype)
    nothing = torch.zeros_like(loc)

    def weights(scale: Tensor) -> Tensor:
        return torch.where(scale > 0, count / torch.where(scale > 0, scale, 1), 0)

    weight_cls = weights(factors.positive_cls) if cls_by_mean else nothing
    weight_loc = weights(factors.positive_loc) if loc_by_mean else nothing
    scaled_cls = factors.mean_cls * weight_cls
    return Sums(
        positives=count,
        weight_cls=weight_cls,
        weight_loc=weight_loc,
        scaled_cls=scaled_cls,
        plain_cls=cls - factors.positive_cls * scaled_cls if cls_by_mean else cls,
        loc=factors.mean_loc * weight_loc if loc_by_mean else loc,
        error=sensitivity * count.clamp(min=1),
    )
