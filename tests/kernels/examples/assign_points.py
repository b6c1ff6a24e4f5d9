# SPDX-License-Identifier: Apache-2.0
"""Operands of the assignment of points: one realistic call, and those that are compiled ahead of time."""

from __future__ import annotations

import torch

from asl_fast.reference.assign_points import Operands
from tests.kernels.examples._scene import CLASSES, INSTANCES, Call, Size, points, segments


def assign(generator: torch.Generator) -> Operands:
    """Two videos, the second without instances."""
    labels = torch.randint(0, CLASSES, (INSTANCES,), generator=generator)
    return Operands(
        points=points(),
        segments=segments(generator, INSTANCES),
        labels=labels,
        video_offsets=torch.tensor([0, INSTANCES, INSTANCES]),
        num_classes=CLASSES,
        center_sampling_radius=1.5,
        tie_tolerance=1e-3,
    )


EXAMPLES = {"assign_points": assign}


def calls(size: Size) -> list[Call]:
    """Everything in the first video; points near the centre of an instance, or anywhere inside."""
    given = Operands(
        points=torch.ones(size.rows, 4, dtype=size.dtype),
        segments=torch.ones(size.instances, 2, dtype=size.dtype),
        labels=torch.zeros(size.instances, dtype=torch.int64),
        video_offsets=size.video_offsets,
        num_classes=size.classes,
        center_sampling_radius=1.5,
        tie_tolerance=1e-3,
    )
    found = [Call(f"assign-{size.name}", "assign_points", given)]
    if size.dtype == torch.float32:
        anywhere = given._replace(center_sampling_radius=None)
        found.append(Call(f"assign-anywhere-{size.name}", "assign_points", anywhere))
    return found
