# SPDX-License-Identifier: Apache-2.0
"""Assignment of pyramid points to ground-truth instances, a whole ragged batch at once."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.ops import _checks, _dispatch, _library
from asl_fast.ops.ragged import RaggedTargets
from asl_fast.reference import assign_points as reference
from asl_fast.reference.assign_points import Operands, Outputs


class PointAssignment(NamedTuple):
    """What every point of every video is trained towards.

    Attributes:
        class_targets: (B, P, C) 0 or 1; several ones where instances of equal length share the point.
        offsets: (B, P, 2) distances to start and end of the instance in strides of the point's level; 0 on background.
        instance: (B, P) int64 row of ``targets.segments``, -1 on background.
        distance: (B, P) d(x) = (t - centre) / length in (-0.5, 0.5); 0 on background.
        positive: (B, P) bool.
    """

    class_targets: Tensor
    offsets: Tensor
    instance: Tensor
    distance: Tensor
    positive: Tensor


def check_targets(*, segments: Tensor, labels: Tensor, video_offsets: Tensor, num_classes: int) -> None:
    """Raise ValueError unless the video offsets divide the segments into videos and their labels lie in [0, C).

    Segments behind the last video's are padding, with any label. It reads values: for CPU tensors only.

    Args:
        segments: (G, 2).
        labels: (G,) int64.
        video_offsets: (B + 1,) int64.
        num_classes: C.
    """
    bounds = video_offsets.tolist()
    if bounds[0] != 0 or bounds[-1] > segments.shape[0] or any(a > b for a, b in pairwise(bounds)):
        raise ValueError(
            f"assign_points: targets.video_offsets must rise from 0 to at most the number of segments "
            f"{segments.shape[0]}, got {bounds}"
        )
    if bounds[-1]:
        low, high = (int(bound) for bound in torch.aminmax(labels[: bounds[-1]]))
        if low < 0 or high >= num_classes:
            raise ValueError(f"assign_points: labels must lie in [0, {num_classes - 1}], got {low} to {high}")


def _check_values(given: Operands) -> None:
    check_targets(
        segments=given.segments,
        labels=given.labels,
        video_offsets=given.video_offsets,
        num_classes=given.num_classes,
    )


_op = _library.define(Operands, "assign_points", check_values=_check_values)

_dispatch.register("assign_points", "reference", reference.assign_points)
_dispatch.register("assign_points", "cpu", "asl_fast.ops._assign_points_native:cpu")
_dispatch.register("assign_points", "triton", "asl_fast.kernels.assign_points:assign_points")
_dispatch.register("assign_points", "cuda", "asl_fast.ops._assign_points_native:cuda")


def assign_points(
    points: Tensor,
    targets: RaggedTargets,
    num_classes: int,
    *,
    center_sampling_radius: float | None = 1.5,
    tie_tolerance: float = 1e-3,
) -> PointAssignment:
    """Assign every point to the shortest instance that claims it: ActionFormer's rule (Zhang et al., ECCV 2022, 3.3).

    An instance claims a point that lies strictly inside of it, less than ``center_sampling_radius`` strides from its
    centre, and whose larger distance to the two boundaries is in the closed regression range of the point's level. All
    instances within ``tie_tolerance`` of the shortest contribute their class; offsets, ``instance`` and ``distance``
    follow the first of the exactly shortest. Neither a video without instances nor an empty batch is special. An
    instance with NaN or without length claims nothing.

    Args:
        points: (P, 4) floating point, all levels concatenated: time, range low, range high (grid), stride.
        targets: Ground truth of B videos; segments in grid units.
        num_classes: C.
        center_sampling_radius: In strides; None lets the whole instance claim.
        tie_tolerance: In grid units.

    Returns:
        A :class:`PointAssignment`, float32 (float64 if points or segments are). It carries no gradient.

    Raises:
        TypeError: Segments or points not floating point, labels or video offsets not integer.
        ValueError: Wrong shape, two devices, radius or tolerance out of range; labels or video offsets out of range
            (CPU tensors only).
    """
    op = "assign_points"
    segments, labels, video_offsets = targets
    _checks.floating(op, points=points, segments=segments)
    if points.dim() != 2 or points.shape[1] != 4:
        raise ValueError(f"{op}: points must be (P, 4) time, low, high, stride; got {tuple(points.shape)}")
    if segments.dim() != 2 or segments.shape[1] != 2:
        raise ValueError(f"{op}: targets.segments must be (G, 2), got {tuple(segments.shape)}")
    for name, tensor in (("labels", labels), ("video_offsets", video_offsets)):
        if tensor.dtype != torch.int64:
            raise TypeError(f"{op}: targets.{name} must be int64, got {tensor.dtype}")
    if labels.shape != segments.shape[:1]:
        raise ValueError(f"{op}: targets.labels must be ({segments.shape[0]},), got {tuple(labels.shape)}")
    if video_offsets.dim() != 1 or video_offsets.shape[0] < 1:
        raise ValueError(f"{op}: targets.video_offsets must be (B + 1,), got {tuple(video_offsets.shape)}")
    if num_classes < 1:
        raise ValueError(f"{op}: num_classes must be at least 1, got {num_classes}")
    if center_sampling_radius is not None and not center_sampling_radius > 0:
        raise ValueError(f"{op}: center_sampling_radius must be positive or None, got {center_sampling_radius}")
    if not tie_tolerance >= 0:
        raise ValueError(f"{op}: tie_tolerance must be at least 0, got {tie_tolerance}")
    _checks.same_device(op, points=points, segments=segments, labels=labels, video_offsets=video_offsets)
    given = Operands(
        points=points.detach(),
        segments=segments.detach(),
        labels=labels,
        video_offsets=video_offsets,
        num_classes=num_classes,
        center_sampling_radius=center_sampling_radius,
        tie_tolerance=tie_tolerance,
    )
    found = Outputs(*_op(*given))
    return PointAssignment(
        class_targets=found.class_targets,
        offsets=found.offsets,
        instance=found.instance,
        distance=found.distance,
        positive=found.instance >= 0,
    )
