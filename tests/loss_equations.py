# SPDX-License-Identifier: Apache-2.0
"""The losses as the papers state them, on the positive points alone: what the implementations are checked by.

It shares nothing with the library but the assignment of points, which has tests of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from asl_fast.ops.assign_points import assign_points
from asl_fast.ops.ragged import RaggedTargets

BRANCHES = ("cls", "loc")


class Expected(NamedTuple):
    """What the equations say; differentiable by autograd."""

    total: Tensor
    cls: Tensor
    loc: Tensor
    sensitivity: Tensor
    num_positives: Tensor
    normalizer: Tensor


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (N,), summed over classes."""
    probability = torch.sigmoid(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    agreement = probability * targets + (1 - probability) * (1 - targets)
    alpha = 0.25 * targets + 0.75 * (1 - targets)
    return (alpha * (1 - agreement) ** 2 * cross_entropy).sum(-1)


def diou(predicted: Tensor, target: Tensor) -> Tensor:
    """Return (N,) of offsets (N, 2)."""
    a, b = (torch.stack([-x[..., 0], x[..., 1]], -1) for x in (predicted, target))
    inter = torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])
    union = a[..., 1] - a[..., 0] + b[..., 1] - b[..., 0] - inter
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return 1 - inter / union + ((a.sum(-1) - b.sum(-1)) / 2 / hull) ** 2


def expected_losses(
    logits: Tensor,
    offsets: Tensor,
    mask: Tensor,
    points: Tensor,
    targets: RaggedTargets,
    normalizer: float,
    *,
    quality: Tensor | None = None,
    mu_sigma: tuple[Tensor, Tensor] | None = None,
    branches: Sequence[str] = BRANCHES,
    constant_weights: tuple[float, float] = (1.0, 1.0),
    normalize: bool = True,
    center_sampling_radius: float | None = 1.5,
    label_smoothing: float = 0.0,
    momentum: float = 1.0,
    location_weight: float = 1.0,
) -> Expected:
    """As :func:`asl_fast.ops.detection_loss.detection_loss`, with mu and sigma (C, 3) in the place of raw Gaussians."""
    classes, dtype = logits.shape[-1], logits.dtype
    assigned = assign_points(points, targets, classes, center_sampling_radius=center_sampling_radius)
    positive = assigned.positive & mask
    count = positive.sum()
    label = targets.labels[assigned.instance[positive]]
    predicted, target = offsets[positive], assigned.offsets[positive].to(dtype)
    distance = assigned.distance[positive].to(dtype)

    h = {branch: torch.full_like(distance, weight) for branch, weight in zip(BRANCHES, constant_weights, strict=True)}
    sensitivity = logits.new_zeros(())
    learned = branches if mu_sigma is not None or quality is not None else ()
    for branch in learned:
        h[branch] = torch.zeros_like(distance)
        if mu_sigma is not None:
            mu, sigma = (table[label] for table in mu_sigma)
            p = [torch.exp(-((distance - mu[:, k]) ** 2) / (2 * sigma[:, k] ** 2)) for k in range(3)]
            h[branch] = h[branch] + (p[0] if branch == "cls" else p[1] + p[2])
        if quality is not None:
            q = quality[positive][:, branches.index(branch)]
            if branch == "cls":
                wanted = logits[positive].gather(1, label[:, None])[:, 0].sigmoid()
            else:
                inter = torch.minimum(predicted, target).sum(-1)
                wanted = inter / (predicted.sum(-1) + target.sum(-1) - inter)
            sensitivity = sensitivity + F.mse_loss(q, wanted.detach())
            h[branch] = h[branch] + q.detach()
        if normalize:
            h[branch] = h[branch] / h[branch].mean()

    normalizer_now = momentum * normalizer + (1 - momentum) * max(int(count), 1)
    weight = torch.ones_like(mask, dtype=dtype).masked_scatter(positive, h["cls"])
    smooth = assigned.class_targets.to(dtype) * (1 - label_smoothing) + label_smoothing / (classes + 1)
    cls = (focal(logits[mask], smooth[mask]) * weight[mask]).sum() / normalizer_now
    loc = (diou(predicted, target) * h["loc"]).sum() / normalizer_now
    balance = location_weight if location_weight > 0 else cls.item() / max(loc.item(), 0.01)
    total = cls + balance * loc + sensitivity
    return Expected(total, cls, loc, sensitivity, count, torch.tensor(normalizer_now, dtype=dtype))
