# SPDX-License-Identifier: Apache-2.0
"""Classification and regression heads, shared by all levels and applied to all in one call."""

from __future__ import annotations

import math
import statistics

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asl_fast.layers.joined_levels import JoinedLevels
from asl_fast.models.config import UNBOUNDED_GRID, DetectorConfig
from asl_fast.models.primitives import MaskedNorm, Scale, TemporalConv, apply_mask

RARE_PROBABILITY = 1e-6

SOFTNESS = 0.5
"""Half-width of the bend of `squareplus`, in strides: it is this at 0, and about the larger of x and 0 beyond."""


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
            x = F.relu(norm(conv(x), mask, unmasked=True))
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


def squareplus(x: Tensor) -> Tensor:
    """Map any number to a positive one such that a gradient always comes back (Barron 2021, arXiv 2112.11687).

    (x + sqrt(x^2 + 4 b^2)) / 2 with b = `SOFTNESS`. A ReLU has no gradient below 0: where training once pushes an
    output below 0 at every point, it stays there for good. What is positive and grows with x must have a small gradient
    far below 0, but it need not vanish quickly: that of softplus falls like exp(x), this one like (b / x)^2.

    Args:
        x: Any shape, floating point.

    Returns:
        The same shape, above 0.
    """
    # The part above max(x, 0), as a quotient: a difference of two large numbers would be 0 far away, and its slope too.
    # At 0 itself clamp has the slope 1, where a ReLU has 0.
    bend = 2.0 * SOFTNESS**2 / ((x * x + 4.0 * SOFTNESS**2).sqrt() + x.abs())
    return x.clamp(min=0.0) + bend


class RegressionHead(nn.Module):
    """Positive distances to start and end per point, in units of the level's stride.

    They start about where the distances lie that the levels are responsible for. With ActionFormer's ReLU instead, they
    start at 0 and can stay there: a head that is 0 at every point has no gradient.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.tower = Tower(config, 2)
        self.scales = nn.ModuleList(Scale() for _ in range(config.first_level, config.num_levels))
        self.activation = F.relu if config.offset_activation == "relu" else squareplus
        if self.activation is squareplus:
            bias, initial = self.tower.output.bias, typical_offset(config)
            assert bias is not None
            nn.init.constant_(bias, initial - SOFTNESS**2 / initial)  # what squareplus maps to it

    def forward(self, joined: JoinedLevels) -> Tensor:
        """Map joined levels of ``width`` channels to distances (B, P', 2), zero where padded and between the levels."""
        x = self.tower(joined)
        scales = joined.per_level([scale() for scale in self.scales])
        return apply_mask(self.activation(x * scales), joined.mask)


def typical_offset(config: DetectorConfig) -> float:
    """Return the middle of a level's regression range, in its strides; the median over the levels that have an end."""
    levels = enumerate(config.ranges_grid, config.first_level)
    middles = [(low + high) / 2.0 / 2.0**level for level, (low, high) in levels if high < UNBOUNDED_GRID]
    return max(statistics.median(middles), SOFTNESS) if middles else 1.0


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))
