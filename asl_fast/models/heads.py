# SPDX-License-Identifier: Apache-2.0
"""Classification and regression heads, shared by all levels and applied to all in one call."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asl_fast.layers.joined_levels import JoinedLevels
from asl_fast.models.config import DetectorConfig
from asl_fast.models.primitives import MaskedNorm, Scale, TemporalConv, apply_mask

RARE_PROBABILITY = 1e-6


class Tower(nn.Module):
    """The convolutions of a head, output convolution included, with the same weights for all levels."""

    def __init__(self, config: DetectorConfig, out_dim: int) -> None:
        super().__init__()
        in_dim, width = config.neck_width or config.width, config.head_width or config.width
        self.convs = nn.ModuleList(
            TemporalConv(in_dim if i == 0 else width, width, config.kernel_size, bias=not config.head_norm)
            for i in range(config.head_layers - 1)
        )
        self.norms = nn.ModuleList(
            MaskedNorm(width, enabled=config.head_norm, mask_padding=config.mask_norms) for _ in self.convs
        )
        self.output = TemporalConv(width if self.convs else in_dim, out_dim, config.kernel_size)
        self.norms_leak = config.head_norm and not config.mask_norms

    def forward(self, joined: JoinedLevels) -> Tensor:
        """Map joined levels (B, P', width) to (B, P', out_dim), zero where padded and between the levels."""
        x, mask = joined.x, joined.mask
        # As in ActionFormer, a norm without mask sets padded positions to its bias, which the next convolution sees.
        # Between the levels there must be zeros all the same, as at the end of a level that is convolved alone.
        inside = joined.per_level([x.new_ones(())] * len(joined.lengths)) if self.norms_leak else None
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(apply_mask(conv(x), mask), mask))
            x = x if inside is None else x * inside
        return apply_mask(self.output(x), mask)


class ClassificationHead(nn.Module):
    """Class logits per point; the bias starts at the prior probability (Lin et al. 2017, focal loss, section 4.1)."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.tower = Tower(config, config.num_classes)
        bias = self.tower.output.bias
        assert bias is not None
        with torch.no_grad():
            if config.prior_probability > 0:
                bias.fill_(_logit(config.prior_probability))
            bias[list(config.rare_classes)] = _logit(RARE_PROBABILITY)

    def forward(self, joined: JoinedLevels) -> Tensor:
        """Map joined levels of ``width`` channels to logits (B, P', C)."""
        logits: Tensor = self.tower(joined)
        return logits


class RegressionHead(nn.Module):
    """Non-negative distances to start and end per point, in units of the level's stride."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.tower = Tower(config, 2)
        self.scales = nn.ModuleList(Scale() for _ in range(config.first_level, config.num_levels))

    def forward(self, joined: JoinedLevels) -> Tensor:
        """Map joined levels of ``width`` channels to distances (B, P', 2)."""
        x = self.tower(joined)
        scales = joined.per_level([scale() for scale in self.scales])
        return F.relu(x * scales)


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))
