# SPDX-License-Identifier: Apache-2.0
"""Points and segments on which every kernel of the point assignment is tested."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

from asl_fast.reference.assign_points import Operands

ticks = st.integers(0, 24).map(lambda n: n / 2)
drawn_pairs = st.lists(st.tuples(ticks, ticks), max_size=8)


def pyramid(length: int) -> Tensor:
    """Return (P, 4) points of three levels."""
    levels = []
    for level, (low, high) in enumerate(((0.0, 8.0), (4.0, 16.0), (8.0, 10000.0))):
        time = torch.arange(0, length, 2**level, dtype=torch.float32)
        levels.append(torch.stack((time, *(torch.full_like(time, v) for v in (low, high, 2.0**level))), -1))
    return torch.cat(levels)


def problem(points: Tensor, segments: Tensor, counts: list[int], classes: int, radius: float | None) -> Operands:
    """Make videos of ``counts`` segments each, their labels 0, 1, ..., C - 1, 0, ..."""
    return Operands(
        points=points,
        segments=segments,
        labels=torch.arange(len(segments)) % classes,
        video_offsets=torch.tensor([0, *counts]).cumsum(0),
        num_classes=classes,
        center_sampling_radius=radius,
        tie_tolerance=1e-3,
    )


def drawn(count: int, seed: int = 1) -> Tensor:
    """Draw segments of any length; half of them have equal lengths and boundaries on points."""
    generator = torch.Generator().manual_seed(seed)
    start, size = torch.rand(2, count, generator=generator) * torch.tensor([[90.0], [40.0]])
    segments = torch.stack((start, start + size), -1)
    segments[: count // 2].round_()
    return segments
