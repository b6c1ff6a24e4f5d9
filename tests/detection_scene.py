# SPDX-License-Identifier: Apache-2.0
"""Arguments of ``detection_loss``: two videos on three levels, with ties; and what the equations say to them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from asl_fast import RaggedTargets
from asl_fast.ops.detection_loss import BRANCHES, DetectionLoss, detection_loss
from asl_fast.ops.gaussians import RawGaussians
from tests.loss_equations import Expected, expected_losses

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
        """Move all of it to another device."""
        leaves = [leaf.detach().to(device).requires_grad_() for leaf in self[:5]]
        return Scene(*leaves, self.mask.to(device), self.points.to(device), self.targets.to(device))

    def gaussians(self) -> RawGaussians:
        return RawGaussians(self.raw_mu, self.raw_sigma, INIT, MU_SCALE, 1.0, SIGMA_SCALES)

    def call(self, *, p: bool = True, q: bool = True, **options: Any) -> DetectionLoss:
        """Call the op; ``p`` and ``q`` switch the class and the instance level."""
        branches = options.get("branches", BRANCHES)
        dtype = self.logits.dtype if self.logits.dtype == torch.float64 else torch.float32
        return detection_loss(
            self.logits,
            self.offsets,
            self.mask,
            self.points,
            self.targets,
            torch.tensor(90.0, dtype=dtype, device=self.logits.device),
            predicted_quality=self.quality[..., : len(branches)] if q else None,
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


def expected(
    data: Scene, *, p: bool = True, q: bool = True, branches: tuple[str, ...] = BRANCHES, **options: Any
) -> Expected:
    """Return what the equations say to :meth:`Scene.call`."""
    mu = torch.tensor(INIT, dtype=data.raw_mu.dtype) + MU_SCALE * torch.atan(data.raw_mu / MU_SCALE)
    scale = torch.full_like(data.raw_sigma, SIGMA_SCALES[1]).masked_fill(data.raw_sigma < 0, SIGMA_SCALES[0])
    sigma = torch.exp(scale * torch.atan(data.raw_sigma / scale))
    return expected_losses(
        data.logits,
        data.offsets,
        data.mask,
        data.points,
        data.targets,
        90.0,
        quality=data.quality if q else None,
        mu_sigma=(mu, sigma) if p else None,
        branches=branches,
        **options,
    )
