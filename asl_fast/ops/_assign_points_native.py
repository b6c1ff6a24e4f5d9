# SPDX-License-Identifier: Apache-2.0
"""Run asl_fast::assign_points by the compiled modules, with the bits of the reference."""

from __future__ import annotations

from typing import Any

import torch

from asl_fast.ops import _buffers
from asl_fast.ops._buffers import address, view
from asl_fast.reference.assign_points import Operands, Outputs


def _common(given: Operands, found: Outputs) -> dict[str, Any]:
    """Return what both modules take; ``given`` is contiguous."""
    return {
        "labels": address(given.labels),
        "video_offsets": address(given.video_offsets),
        "num_points": given.num_points,
        "videos": given.num_videos,
        "classes": given.num_classes,
        "radius": given.center_sampling_radius or 0.0,
        "tie_tolerance": given.tie_tolerance,
        "is_double": found.distance.dtype == torch.float64,
        "out_class_targets": address(found.class_targets),
        "out_offsets": address(found.offsets),
        "out_instance": address(found.instance),
        "out_distance": address(found.distance),
    }


def cpu(given: Operands) -> Outputs:
    """Assign video after video, with as many threads as ``torch.get_num_threads()``."""
    found = given.outputs()
    dtype = found.distance.dtype
    if given.points.dtype != dtype or given.segments.dtype != dtype:
        given = given._replace(points=given.points.to(dtype), segments=given.segments.to(dtype))
    given = _buffers.contiguous_operands(given)
    _buffers.cpu_module().assign_points(
        **_common(given, found),
        points=address(given.points),
        segments=address(given.segments),
        threads=torch.get_num_threads(),
    )
    return found


def cuda(given: Operands) -> Outputs:
    """Assign in one launch, whatever the number of videos and instances."""
    found, given = given.outputs(), _buffers.contiguous_operands(given)
    if not found.instance.numel():
        return found
    with _buffers.on_device_of(given.points):
        _buffers.cuda_module().assign_points(
            **_common(given, found),
            points=view(given.points),
            segments=view(given.segments),
            stream=_buffers.stream(given.points),
        )
    return found
