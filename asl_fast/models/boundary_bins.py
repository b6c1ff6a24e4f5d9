# SPDX-License-Identifier: Apache-2.0
"""Boundary distances as expectations over the positions at which the boundary may lie."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asl_fast.layers.joined_levels import JoinedLevels, join_tensors, split_levels
from asl_fast.models.config import DetectorConfig
from asl_fast.models.heads import Tower, squareplus, typical_offset
from asl_fast.models.primitives import Scale, apply_mask


class BoundaryDistributionHead(nn.Module):
    """Distances to start and end, in units of the level's stride, from where boundaries look likely around a point.

    One tower says at every position u how much it looks like a start, s(u), and like an end, e(u); another says at
    every point t which distances of b = 0 ... B strides it expects, c(t, b), for each side. Then

        d_start(t) = a * sum_b b * softmax_b( s(t - b) + c_start(t, b) )
        d_end(t)   = a * sum_b b * softmax_b( e(t + b) + c_end(t, b) )

    with a positive factor a per level, learned from about 1 on. So the points of an action agree on its boundaries,
    since they look at the same s and e.

    Source: the Trident head of Shi et al., TriDet (CVPR 2023, arXiv 2303.07347); the factor a, which lets actions be
    longer than B strides, is an addition.
    """

    distances: Tensor

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.bins = config.offset_bins
        self.boundaries, self.tower = Tower(config, 2), Tower(config, 2 * (self.bins + 1))
        self.scales = nn.ModuleList(Scale() for _ in range(config.first_level, config.num_levels))
        # Positions come in the order of time: the farthest first for the start, the point itself first for the end.
        toward = torch.arange(self.bins + 1, dtype=torch.float32)
        self.register_buffer("distances", torch.stack((toward.flip(0), toward)), persistent=False)
        bias, typical = self.tower.output.bias, typical_offset(config)
        assert bias is not None
        with torch.no_grad():  # a geometric distribution, whose mean is about the usual distance
            bias.copy_(self.distances.flatten() * math.log(typical / (1.0 + typical)))

    def forward(self, joined: JoinedLevels) -> Tensor:
        """Map joined levels of ``width`` channels to distances (B, P', 2), zero where padded and between the levels."""
        bins = self.bins
        # Beyond the end of a level, and of a video, all positions look alike: they give 0.
        likely = joined.with_gap(self.boundaries(joined), bins)
        before = F.pad(likely[..., 0], (bins, 0)).unfold(1, bins + 1, 1)
        after = F.pad(likely[..., 1], (0, bins)).unfold(1, bins + 1, 1)
        around = torch.stack((before, after), dim=2)  # (B, P'', 2, bins + 1)
        around = join_tensors(split_levels(around, joined.lengths, bins), joined.gap)
        shares = (around + self.tower(joined).unflatten(-1, (2, bins + 1))).softmax(-1)
        factors = joined.per_level([squareplus(scale()) for scale in self.scales])
        return apply_mask((shares * self.distances).sum(-1) * factors, joined.mask)
