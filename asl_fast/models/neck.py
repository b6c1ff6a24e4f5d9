# SPDX-License-Identifier: Apache-2.0
"""What happens to the pyramid between backbone and heads, for both heads together or for each."""

from __future__ import annotations

from torch import Tensor, nn

from asl_fast.models.blocks import make_block, zero_biases
from asl_fast.models.config import DetectorConfig
from asl_fast.models.primitives import MaskedNorm, Pointwise, TemporalConv, apply_mask


class IdentityNeck(nn.Module):
    """A LayerNorm on every level."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.norms = nn.ModuleList(
            MaskedNorm(config.width, enabled=config.neck_norm, mask_padding=config.mask_norms)
            for _ in range(config.first_level, config.num_levels)
        )

    def forward(self, features: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        """Normalise every level (B, T_l, width) with its mask (B, T_l)."""
        return [norm(x, mask) for norm, x, mask in zip(self.norms, features, masks, strict=True)]


class FeaturePyramid(nn.Module):
    """Feature pyramid network (Lin et al. 2017): coarse levels are added to the finer ones, then smoothed."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        width = config.neck_width or config.width
        bias = not config.neck_norm
        levels = range(config.first_level, config.num_levels)
        self.lateral = nn.ModuleList(Pointwise(config.width, width, bias=bias) for _ in levels)
        self.smooth = nn.ModuleList(TemporalConv(width, width, 3, groups=width, bias=bias) for _ in levels)
        self.norms = nn.ModuleList(
            MaskedNorm(width, enabled=config.neck_norm, mask_padding=config.mask_norms) for _ in levels
        )

    def forward(self, features: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        """Map levels (B, T_l, width) with their masks (B, T_l) to levels (B, T_l, neck_width)."""
        merged = [apply_mask(lateral(x), mask) for lateral, x, mask in zip(self.lateral, features, masks, strict=True)]
        for level in range(len(merged) - 1, 0, -1):
            upsampled = merged[level].repeat_interleave(2, dim=1)
            merged[level - 1] = merged[level - 1] + upsampled
        out = []
        for x, mask, smooth, norm in zip(merged, masks, self.smooth, self.norms, strict=True):
            out.append(norm(smooth(x), mask, unmasked=True))
        return out


class HeadBlocks(nn.Module):
    """The blocks that one head has for itself, the same for all levels; none where heads share all features."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            make_block(config, level=config.first_level, stride=1) for _ in range(config.head_blocks)
        )
        zero_biases(self)

    def forward(self, features: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
        """Map levels (B, T_l, width) with their masks (B, T_l) to others of the same shape."""
        for block in self.blocks:
            features = [block(x, mask)[0] for x, mask in zip(features, masks, strict=True)]
        return features


def make_neck(config: DetectorConfig) -> nn.Module:
    """Make a feature pyramid network, or a norm on every level."""
    return FeaturePyramid(config) if config.fpn else IdentityNeck(config)
