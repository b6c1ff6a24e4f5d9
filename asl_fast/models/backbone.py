# SPDX-License-Identifier: Apache-2.0
"""From features to a pyramid of levels, each at half the temporal resolution of the one before."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asl_fast.models.blocks import make_block, zero_biases
from asl_fast.models.config import DetectorConfig
from asl_fast.models.front_end import FrontEnd
from asl_fast.models.positions import AbsolutePositions, Place
from asl_fast.models.primitives import MaskedNorm, Pointwise, TemporalConv, apply_mask


class Embedding(nn.Module):
    """Front-end or projections, convolutions and positions: from features of one or several streams to ``width``."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.front_end = FrontEnd(config.front_end, config.feature_dim) if config.front_end else None
        self.splits = config.input_splits
        self.projections = nn.ModuleList(
            Pointwise(i, o) for i, o in zip(config.input_splits, config.projection_dims, strict=True)
        )
        in_dim = config.width if self.splits else (self.front_end.out_dim if self.front_end else config.feature_dim)
        self.convs = nn.ModuleList(
            TemporalConv(
                in_dim if i == 0 else config.width, config.width, config.kernel_size, bias=not config.embedding_norm
            )
            for i in range(config.embedding_layers)
        )
        self.norms = nn.ModuleList(
            MaskedNorm(config.width, enabled=config.embedding_norm, mask_padding=config.mask_norms) for _ in self.convs
        )
        self.positions = (
            AbsolutePositions(config.max_length_grid, config.width, resample_padded=not config.mask_norms)
            if config.positions == "absolute"
            else None
        )

    def forward(self, x: Tensor, mask: Tensor, place: Place | None = None) -> Tensor:
        """Map x (B, T, feature_dim), zero where its mask (B, T) says, to (B, T, width); ``place`` is for positions."""
        x = x if self.front_end is None else self.front_end(x, mask)
        if self.splits:
            streams = x.split(list(self.splits), dim=-1)
            x = torch.cat([apply_mask(p(s), mask) for p, s in zip(self.projections, streams, strict=True)], dim=-1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x), mask, unmasked=True))
        return x if self.positions is None else self.positions(x, mask, place)


class Backbone(nn.Module):
    """Embedding, stem at full resolution, and one downsampling block per further level."""

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.embedding = Embedding(config)
        self.stem = nn.ModuleList(make_block(config, level=0, stride=1) for _ in range(config.stem_blocks))
        self.branch = nn.ModuleList(make_block(config, level=level, stride=2) for level in range(1, config.num_levels))
        zero_biases(self)

    def forward(self, x: Tensor, mask: Tensor, place: Place | None = None) -> tuple[list[Tensor], list[Tensor]]:
        """Map features to a pyramid.

        Args:
            x: (B, T, feature_dim), zero where padded, T a multiple of 2 ** (levels - 1).
            mask: (B, T) bool, True where valid.
            place: Where in a longer sequence x lies; None where it is the whole.

        Returns:
            Per level, finest first, features (B, T_l, width) and masks (B, T_l).
        """
        x = self.embedding(x, mask, place)
        for block in self.stem:
            x, mask = block(x, mask)
        features, masks = [x], [mask]
        for block in self.branch:
            x, mask = block(x, mask)
            features.append(x)
            masks.append(mask)
        return features, masks
