# SPDX-License-Identifier: Apache-2.0
"""Label assignment of training batches, against dense tensors video by video and against the reference."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from asl_fast import RaggedTargets, assign_points, backend
from benchmarks.registry import Case, report

# name, finest level, instances of each video, classes. MultiTHUMOS has 97 instances a video, the fullest has 1,235.
BATCHES = (
    ("MultiTHUMOS, 2 videos", 2_304, (97, 302), 65),
    ("MultiTHUMOS, 2 full videos", 2_304, (1_235, 622), 65),
    ("MultiTHUMOS, 8 videos", 2_304, (89, 302, 163, 43, 14, 17, 22, 35), 65),
    ("THUMOS14, 2 videos", 2_304, (15, 20), 20),
    ("EPIC-Kitchens nouns, 2 videos", 4_608, (120, 400), 300),
)
RANGES = (0.0, 4.0, 8.0, 16.0, 32.0, 64.0, 10_000.0)


def eager(points: Tensor, targets: RaggedTargets, classes: int) -> list[tuple[Tensor, Tensor]]:
    """Every point against every instance of its video, video by video, as detection code usually does it."""
    bounds = targets.offsets.tolist()
    results = []
    for first, last in pairwise(bounds):
        segments, labels = targets.segments[first:last], targets.labels[first:last]
        time, low, high, stride = points[:, :, None].unbind(1)
        start, end = segments.unbind(-1)
        left, right = time - start, end - time
        centre = 0.5 * (start + end)
        after = time - torch.maximum(centre - 1.5 * stride, start)
        before = torch.minimum(centre + 1.5 * stride, end) - time
        reach = torch.maximum(left, right)
        claims = (torch.minimum(after, before) > 0) & (reach >= low) & (reach <= high)
        lengths = torch.where(claims, end - start, torch.inf)
        shortest, chosen = lengths.min(dim=1)
        tied = (lengths <= shortest[:, None] + 1e-3) & (lengths < torch.inf)
        one_hot = torch.nn.functional.one_hot(labels, classes).to(points.dtype)
        class_targets = (tied.to(points.dtype) @ one_hot).clamp(max=1.0)
        rows = torch.arange(len(points), device=points.device)
        offsets = torch.stack((left[rows, chosen], right[rows, chosen]), dim=-1) / points[:, 3:]
        results.append((class_targets, offsets))
    return results


def fused(points: Tensor, targets: RaggedTargets, classes: int) -> object:
    """The op, whichever implementation is in force."""
    return assign_points(points, targets, classes)


def reference(points: Tensor, targets: RaggedTargets, classes: int) -> object:
    """The op's plain PyTorch implementation."""
    with backend("reference"):
        return fused(points, targets, classes)


def cases(device: str) -> list[Case]:
    """Batches with the instance counts of real videos; lengths are log-normal around 10 grid steps."""
    return [_case(device, *batch) for batch in BATCHES]


def _case(device: str, name: str, length: int, counts: tuple[int, ...], classes: int) -> Case:
    def make_inputs() -> tuple[Tensor, RaggedTargets, int]:
        generator = torch.Generator().manual_seed(0)
        videos = []
        for count in counts:
            start = torch.rand(count, generator=generator) * (length - 60)
            size = 10 * torch.exp(torch.randn(count, generator=generator))
            labels = torch.randint(classes, (count,), generator=generator)
            videos.append((torch.stack((start, start + size), dim=-1), labels))
        return pyramid(length).to(device), RaggedTargets.from_list(videos, device=device), classes

    rows = len(counts) * len(pyramid(length))
    moved = rows * (4 * classes + 8 + 8 + 4) + len(pyramid(length)) * 16 + sum(counts) * 16
    return Case(name, make_inputs, fused, {"eager": eager, "reference": reference}, moved)


def pyramid(length: int) -> Tensor:
    """(P, 4) points of six levels, as ActionFormer's configuration for THUMOS14 has them."""
    levels = []
    for level, (low, high) in enumerate(pairwise(RANGES)):
        time = torch.arange(0, length, 2**level, dtype=torch.float32)
        levels.append(torch.stack((time, *(torch.full_like(time, v) for v in (low, high, 2**level))), dim=-1))
    return torch.cat(levels)


if __name__ == "__main__":
    report(cases("cpu"))
