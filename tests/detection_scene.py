# SPDX-License-Identifier: Apache-2.0
"""Arguments of ``detection_loss``: two videos on three levels, with ties; and the same loss composed of its parts."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from asl_fast import RaggedTargets, assign_points, diou_loss, sensitivity_focal_loss
from asl_fast.losses.sensitivity import class_probability, instance_labels, mean_one, offset_iou
from asl_fast.ops.detection_loss import BRANCHES, DetectionLoss, RawGaussians, detection_loss

INIT, MU_SCALE, SIGMA_SCALES = (0.0, -0.5, 0.5), 0.4, (1.4, 0.9)


class Scene(NamedTuple):
    """Inputs of a call; the first five may carry gradient."""

    logits: Tensor
    offsets: Tensor
    quality: Tensor
    raw_mu: Tensor
    raw_sigma: Tensor
    mask: Tensor
    points: Tensor
    targets: RaggedTargets

    def to(self, device: str) -> Scene:
        """The same on another device."""
        leaves = [leaf.detach().to(device).requires_grad_() for leaf in self[:5]]
        return Scene(*leaves, self.mask.to(device), self.points.to(device), self.targets.to(device))

    def gaussians(self) -> RawGaussians:
        return RawGaussians(self.raw_mu, self.raw_sigma, INIT, MU_SCALE, 1.0, SIGMA_SCALES)

    def call(self, *, p: bool = True, q: bool = True, **options: Any) -> DetectionLoss:
        """The op; ``p`` and ``q`` switch the class and the instance level."""
        branches = options.get("branches", BRANCHES)
        dtype = self.logits.dtype if self.logits.dtype == torch.float64 else torch.float32
        return detection_loss(
            self.logits,
            self.offsets,
            self.mask,
            self.points,
            self.targets,
            torch.tensor(90.0, dtype=dtype, device=self.logits.device),
            quality=self.quality[..., : len(branches)] if q else None,
            gaussians=self.gaussians() if p else None,
            **options,
        )


def scene(
    classes: int = 5, length: int = 32, dtype: torch.dtype = torch.float32, counts: tuple[int, ...] = (7, 4)
) -> Scene:
    generator = torch.Generator().manual_seed(classes)
    levels = []
    for level, (low, high) in enumerate(((0.0, 8.0), (4.0, 16.0), (8.0, 1e4))):
        time = torch.arange(0, length, 2**level, dtype=torch.float32)
        levels.append(torch.stack((time, *(torch.full_like(time, v) for v in (low, high, 2.0**level))), -1))
    points = torch.cat(levels)
    videos = []
    for count in counts:
        start = torch.rand(count, generator=generator) * (length - 12)
        segments = torch.stack((start, start + 2 + torch.rand(count, generator=generator) * 18), -1)
        segments[count // 2 : count // 2 + 2] = segments[:1]  # the same segment under up to three classes
        videos.append((segments, torch.randint(classes, (count,), generator=generator)))
    rows = (len(counts), len(points))

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    values = (drawn(*rows, classes) - 1, drawn(*rows, 2).abs() * 3, torch.sigmoid(drawn(*rows, 2)))
    values = (*values, drawn(classes, 3), drawn(classes, 3))
    mask = torch.rand(rows, generator=generator) < 0.9
    leaves = [value.to(dtype).requires_grad_() for value in values]
    return Scene(*leaves, mask, points, RaggedTargets.from_list(videos))


def composed(
    data: Scene,
    *,
    p: bool = True,
    q: bool = True,
    branches: tuple[str, ...] = BRANCHES,
    constant_weights: tuple[float, float] = (1.0, 1.0),
    normalize: bool = True,
    label_smoothing: float = 0.0,
    momentum: float = 1.0,
    location_weight: float = 1.0,
    **assignment: Any,
) -> tuple[Tensor, ...]:
    """total, cls, loc, sensitivity, number of positives and normaliser from the separate ops and autograd."""
    dtype = data.logits.dtype
    assigned = assign_points(data.points, data.targets, data.logits.shape[-1], **assignment)
    positive = assigned.positive & data.mask
    label = instance_labels(data.targets.labels, assigned.instance)
    target = torch.where(positive[..., None], assigned.offsets.to(dtype), 1.0)
    pred = torch.where(positive[..., None], data.offsets, 1.0)
    h = {b: torch.full_like(data.offsets[..., 0], w) for b, w in zip(BRANCHES, constant_weights, strict=True)}
    for branch in branches if p or q else ():
        h[branch] = torch.zeros_like(h[branch])
    sensitivity = data.logits.new_zeros(())
    if p:
        mu = torch.tensor(INIT, dtype=dtype) + MU_SCALE * torch.atan(data.raw_mu / MU_SCALE)
        scale = torch.full_like(data.raw_sigma, SIGMA_SCALES[1]).masked_fill(data.raw_sigma < 0, SIGMA_SCALES[0])
        sigma = torch.exp(scale * torch.atan(data.raw_sigma / scale))
        each = torch.exp(-(((assigned.distance[..., None].to(dtype) - mu[label]) / sigma[label]) ** 2) / 2)
        for branch, own in (("cls", each[..., 0]), ("loc", each[..., 1] + each[..., 2])):
            if branch in branches:
                h[branch] = h[branch] + own
    if q:
        wanted = {"cls": class_probability(data.logits, label), "loc": offset_iou(pred, target)}
        for column, branch in enumerate(branches):
            said = data.quality[..., column]
            error = torch.where(positive, (said - wanted[branch].detach()) ** 2, 0.0).sum()
            sensitivity = sensitivity + error / positive.sum().clamp(min=1)
            h[branch] = h[branch] + said.detach()
    if normalize and (p or q):
        h.update({branch: mean_one(h[branch], positive) for branch in branches})
    normalizer = momentum * 90 + (1 - momentum) * positive.sum().clamp(min=1)
    weights = torch.where(positive, h["cls"], 1.0)
    smooth = {"label_smoothing": label_smoothing, "reduction": "sum"}
    cls = sensitivity_focal_loss(data.logits, assigned.class_targets.to(dtype), weights, data.mask, **smooth)
    weights = torch.where(positive, h["loc"], 0.0).flatten()
    loc = diou_loss(pred.flatten(0, 1), target.flatten(0, 1), weights, reduction="sum")
    cls, loc = cls / normalizer, loc / normalizer
    balance = location_weight if location_weight > 0 else (cls / loc.clamp(min=0.01)).detach()
    assert math.isfinite(cls.item()) and bool(positive.any())
    return cls + balance * loc + sensitivity, cls, loc, sensitivity, positive.sum(), normalizer
