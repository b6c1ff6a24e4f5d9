# SPDX-License-Identifier: Apache-2.0
"""The points in time at which the detector predicts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from asl_fast.ops._exporting import is_exporting


def level_points(
    lengths: Sequence[int], ranges_grid: Sequence[tuple[float, float]], device: torch.device, *, first_level: int = 0
) -> list[Tensor]:
    """Make the points of every level.

    A level's stride is 2 ** level; its i-th point lies at time ``i * stride`` on the feature grid, as in ActionFormer.

    Args:
        lengths: Number of points T_l of each level.
        ranges_grid: (low, high) of each level: the larger boundary distance of the instances it is responsible for.
        device: Where the points go.
        first_level: Level of the first entries.

    Returns:
        Per level (T_l, 4) float32 [time_grid, range_low, range_high, stride].
    """
    points = []
    for level, (length, (low, high)) in enumerate(zip(lengths, ranges_grid, strict=True), first_level):
        stride = float(2**level)
        time = torch.arange(length, device=device, dtype=torch.float32) * stride
        rest = torch.tensor([low, high, stride], device=device).expand(length, 3)
        points.append(torch.cat((time.unsqueeze(1), rest), dim=1))
    return points


class LevelPoints(nn.Module):
    """The points of sequences up to ``max_length_grid``, made once.

    Making points copies numbers from the host, which a GPU would wait for at every step. Longer sequences get points
    of their own, and so does a model that was converted to a type in which times are not exact.

    Args:
        ranges_grid: (low, high) of each level, as for :func:`level_points`.
        first_level: Level of the first entry.
        max_length_grid: Length up to which points are made.
    """

    def __init__(self, ranges_grid: Sequence[tuple[float, float]], first_level: int, max_length_grid: int) -> None:
        super().__init__()
        self.ranges_grid, self.first_level = ranges_grid, first_level
        lengths = [-(-max_length_grid // 2**level) for level in range(first_level, first_level + len(ranges_grid))]
        made = level_points(lengths, ranges_grid, torch.device("cpu"), first_level=first_level)
        for level, points in enumerate(made, first_level):
            self.register_buffer(f"level_{level}", points, persistent=False)
        self._joined: dict[tuple[tuple[int, ...], int, torch.device], Tensor] = {}

    def forward(self, lengths: Sequence[int]) -> list[Tensor]:
        """Return the points of levels of these lengths T_l: per level (T_l, 4) float32, not to be written to."""
        made = list(self.buffers(recurse=False))
        if is_exporting():  # lengths are symbols, which are not to be compared with anything
            return level_points(lengths, self.ranges_grid, made[0].device, first_level=self.first_level)
        if made[0].dtype == torch.float32 and all(n <= len(x) for n, x in zip(lengths, made, strict=True)):
            return [points[:length] for length, points in zip(lengths, made, strict=True)]
        return level_points(lengths, self.ranges_grid, made[0].device, first_level=self.first_level)

    def joined(self, lengths: Sequence[int], gap: int) -> Tensor:
        """Return the points of joined levels (P', 4) float32, made once for these lengths; not to be written to.

        What lies between two levels gets a range that admits no instance, so it is background and nothing else.
        """
        levels = self(lengths)
        key = (tuple(lengths), gap, levels[0].device)
        if key not in self._joined:
            between = levels[0].new_zeros(gap, 4)
            between[:, 1::2] = 1.0  # the range from 1 to 0, and any stride
            self._joined[key] = torch.cat([piece for level in levels for piece in (level, between)][:-1])
        return self._joined[key]
