# SPDX-License-Identifier: Apache-2.0
"""asl_fast::assign_points by the C++ module."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.ops._buffers import address, cpu_module
from asl_fast.reference._precision import compute_dtype


def assign_points(
    points: Tensor,
    segments: Tensor,
    labels: Tensor,
    offsets: Tensor,
    num_classes: int,
    center_sampling_radius: float | None,
    tie_tolerance: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The op's schema; threads as many as ``torch.get_num_threads()``, over videos. The reference's bits."""
    dtype = compute_dtype(points, segments)
    points, segments = points.to(dtype).contiguous(), segments.to(dtype).contiguous()
    labels, offsets = labels.contiguous(), offsets.contiguous()
    size = (offsets.shape[0] - 1, points.shape[0])
    class_targets = torch.empty((*size, num_classes), dtype=dtype)
    regression, distance = torch.empty((*size, 2), dtype=dtype), torch.empty(size, dtype=dtype)
    instance = torch.empty(size, dtype=torch.int64)
    cpu_module().assign_points(
        points=address(points),
        segments=address(segments),
        labels=address(labels),
        offsets=address(offsets),
        is_double=dtype == torch.float64,
        num_points=size[1],
        videos=size[0],
        classes=num_classes,
        radius=center_sampling_radius or 0.0,
        tie_tolerance=tie_tolerance,
        out_class_targets=address(class_targets),
        out_offsets=address(regression),
        out_instance=address(instance),
        out_distance=address(distance),
        threads=torch.get_num_threads(),
    )
    return class_targets, regression, instance, distance
