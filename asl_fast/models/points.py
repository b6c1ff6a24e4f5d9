# SPDX-License-Identifier: Apache-2.0
"""The points that predictions are made at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def level_points(
    lengths: Sequence[int], ranges_grid: Sequence[tuple[float, float]], device: torch.device, *, first_level: int = 0
) -> list[Tensor]:
    """Points of every level: per level (T_l, 4) float32 [time_grid, range_low, range_high, stride].

    A level's stride is 2 ** level; its i-th point lies at time ``i * stride`` on the feature grid, as in ActionFormer.
    """
    points = []
    for level, (length, (low, high)) in enumerate(zip(lengths, ranges_grid, strict=True), first_level):
        stride = float(2**level)
        time = torch.arange(length, device=device, dtype=torch.float32) * stride
        rest = torch.tensor([low, high, stride], device=device).expand(length, 3)
        points.append(torch.cat((time.unsqueeze(1), rest), dim=1))
    return points
