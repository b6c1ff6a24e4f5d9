# SPDX-License-Identifier: Apache-2.0
"""asl_fast::assign_points by the CUDA module."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.ops._buffers import address, cuda_module, empty, on_device_of, stream, view
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
    """The op's schema in one launch, whatever the number of videos and instances. The reference's bits."""
    dtype, device = compute_dtype(points, segments), points.device
    points, segments, labels, offsets = (x.contiguous() for x in (points, segments, labels, offsets))
    size = (offsets.shape[0] - 1, points.shape[0])
    class_targets, regression = empty((*size, num_classes), dtype, device), empty((*size, 2), dtype, device)
    instance, distance = empty(size, torch.int64, device), empty(size, dtype, device)
    if size[0] * size[1] == 0:
        return class_targets, regression, instance, distance
    with on_device_of(points):
        cuda_module().assign_points(
            points=view(points),
            segments=view(segments),
            labels=address(labels),
            offsets=address(offsets),
            num_points=size[1],
            videos=size[0],
            classes=num_classes,
            radius=center_sampling_radius or 0.0,
            tie_tolerance=tie_tolerance,
            is_double=dtype == torch.float64,
            out_class_targets=address(class_targets),
            out_offsets=address(regression),
            out_instance=address(instance),
            out_distance=address(distance),
            stream=stream(points),
        )
    return class_targets, regression, instance, distance
