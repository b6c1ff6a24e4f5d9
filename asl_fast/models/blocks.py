# SPDX-License-Identifier: Apache-2.0
"""The two kinds of block that a detector is built from; both may halve the temporal resolution."""

from __future__ import annotations

from torch import Tensor, nn

from asl_fast.models.attention import ConvAttention
from asl_fast.models.config import DetectorConfig
from asl_fast.models.primitives import (
    DropPath,
    MaskedNorm,
    Pointwise,
    TemporalConv,
    apply_mask,
    downsample_mask,
    max_pool_skip,
)


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP with residual connections; the skip of a downsampling block is a max-pool."""

    def __init__(self, config: DetectorConfig, *, window: int, stride: int) -> None:
        super().__init__()
        dim, hidden = config.width, round(config.width * config.mlp_ratio)
        self.stride, self.mask_norms = stride, config.mask_norms
        self.attention_norm = MaskedNorm(dim, mask_padding=config.mask_norms)
        self.attention = ConvAttention(
            dim,
            config.num_heads,
            window=window,
            stride=stride,
            relative_positions=config.positions == "relative",
            split_sides=config.attention_sides == "split",
            dropout=config.dropout,
        )
        self.mlp_norm = nn.LayerNorm(dim)
        self.expand, self.contract = Pointwise(dim, hidden), Pointwise(hidden, dim)
        self.activation, self.dropout = nn.GELU(), nn.Dropout(config.dropout)
        self.attention_path = DropPath(dim, config.drop_path, layer_scale=config.layer_scale)
        self.mlp_path = DropPath(dim, config.drop_path, layer_scale=config.layer_scale)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, T, D) and its mask (B, T) to both at length T / stride."""
        attended, out_mask = self.attention(self.attention_norm(x, mask), mask)
        skip = max_pool_skip(x, mask, ignore_padding=self.mask_norms) if self.stride == 2 else x
        x = apply_mask(skip, out_mask) + self.attention_path(attended)
        hidden = self.dropout(self.activation(self.expand(self.mlp_norm(x))))
        return x + self.mlp_path(apply_mask(self.dropout(self.contract(hidden)), out_mask)), out_mask


class ConvBlock(nn.Module):
    """Residual block of two k=3 convolutions, twice as wide inside."""

    def __init__(self, config: DetectorConfig, *, stride: int) -> None:
        super().__init__()
        dim = config.width
        self.stride = stride
        self.conv1 = TemporalConv(dim, 2 * dim, 3, stride=stride)
        self.conv2 = TemporalConv(2 * dim, dim, 3)
        self.downsample = TemporalConv(dim, dim, 1, stride=stride) if stride == 2 else None
        self.activation = nn.ReLU()

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map x (B, T, D) and its mask (B, T) to both at length T / stride."""
        out_mask = downsample_mask(mask) if self.stride == 2 else mask
        skip = x if self.downsample is None else apply_mask(self.downsample(x), out_mask)
        out = self.activation(apply_mask(self.conv1(x), out_mask))
        return self.activation(apply_mask(self.conv2(out), out_mask) + skip), out_mask


def make_block(config: DetectorConfig, *, level: int, stride: int) -> nn.Module:
    """Make a block of the configured kind with the attention window of ``level``."""
    if config.backbone == "conv":
        return ConvBlock(config, stride=stride)
    return TransformerBlock(config, window=config.windows[level], stride=stride)


def zero_biases(module: nn.Module) -> None:
    """Start the biases of all linear layers and convolutions within at zero."""
    for part in module.modules():
        if isinstance(part, (nn.Linear, TemporalConv)) and part.bias is not None:
            nn.init.zeros_(part.bias)
