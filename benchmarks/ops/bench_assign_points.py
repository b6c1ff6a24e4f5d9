# SPDX-License-Identifier: Apache-2.0
"""Label assignment of training batches, against dense tensors video by video, the reference, and ActionFormer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from asl_fast import RaggedTargets, assign_points, backend
from benchmarks import actionformer
from benchmarks.registry import Case, Scale, close
from benchmarks.shapes import Shape, shape, shapes, small_shape

Result = tuple[Tensor, Tensor]
FULLEST = (1_235, 622)  # instances of the two fullest videos of MultiTHUMOS


def eager(points: Tensor, targets: RaggedTargets, classes: int) -> Result:
    """Compare every point with every instance, video by video, as detection code usually does."""
    bounds = targets.video_offsets.tolist()
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
    return torch.stack([result[0] for result in results]), torch.stack([result[1] for result in results])


def fused(points: Tensor, targets: RaggedTargets, classes: int) -> Result:
    """Run the op, whichever implementation is in force."""
    assigned = assign_points(points, targets, classes)
    return assigned.class_targets, assigned.offsets


def reference(points: Tensor, targets: RaggedTargets, classes: int) -> Result:
    """Run the op's plain PyTorch implementation."""
    with backend("reference"):
        return fused(points, targets, classes)


def theirs(points: Tensor, targets: RaggedTargets, classes: int) -> Result:
    """Run ActionFormer's own."""
    bounds = list(pairwise(targets.video_offsets.tolist()))
    labels, offsets = actionformer.labeller(classes).label_points(
        [points],
        [targets.segments[first:last] for first, last in bounds],
        [targets.labels[first:last] for first, last in bounds],
    )
    return torch.stack(labels), torch.stack(offsets)


def cases(device: str) -> list[Case]:
    """Declare batches of every benchmark with the instances of its median video, and two extremes."""
    real = [_case(device, each.name, each, each.targets(device), "real") for each in shapes()]
    crowded = shape("multithumos")
    full = [replace(crowded, instances=count).targets("cpu") for count in FULLEST]
    videos = [(each.segments[:count], each.labels[:count]) for each, count in zip(full, FULLEST, strict=True)]
    many = replace(shape("thumos14"), config=replace(shape("thumos14").config, batch_size=64))
    small = small_shape()
    return [
        _case(device, small.name, small, small.targets(device), "small"),
        *real,
        _case(device, "multithumos, fullest videos", crowded, RaggedTargets.from_list(videos, device=device), "real"),
        _case(device, "thumos14, 64 videos", many, many.targets(device), "large"),
    ]


def _case(device: str, name: str, each: Shape, targets: RaggedTargets, scale: Scale) -> Case:
    baselines: dict[str, Callable[..., Any]] = {"eager": eager, "reference": reference}
    if actionformer.load() is not None:
        baselines["ActionFormer"] = theirs
    rows, instances = targets.batch_size * each.num_points, len(targets.segments)
    return Case(
        f"{name}: {targets.batch_size} x {each.num_points:,} points, {instances} instances, {each.classes} classes",
        lambda: (torch.cat(each.points(device)), targets, each.classes),
        fused,
        baselines,
        bytes_moved=rows * (4 * each.classes + 8 + 8 + 4) + each.num_points * 16 + instances * 16,
        scale=scale,
        agree=_agree,
    )


def _agree(ours: Result, theirs: Result) -> None:
    """Expect equal classes everywhere and equal offsets on positives: elsewhere they mean nothing."""
    close(0, 0)(ours[0], theirs[0])
    positive = ours[0].sum(-1) > 0
    if not positive.any():
        raise AssertionError("no point is positive, so nothing was compared")
    close(1e-5, 1e-5)(ours[1][positive], theirs[1][positive])
