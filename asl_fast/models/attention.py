# SPDX-License-Identifier: Apache-2.0
"""Multi-head self-attention whose queries, keys and values come from depthwise convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asl_fast.models.primitives import Pointwise, TemporalConv, apply_mask, downsample_mask
from asl_fast.ops.local_attention import local_attention


class ConvAttention(nn.Module):
    """ActionFormer's attention (section 3.2): depthwise k=3 convolutions replace position encodings, and downsample.

    Args:
        dim: Channels D.
        num_heads: Number of heads.
        window: Odd attention window in positions after downsampling; 0 is full attention.
        stride: 1 or 2.
        relative_positions: Learn a bias per head and relative position (windowed attention only).
        dropout: Dropout after the output projection.
    """

    def __init__(
        self, dim: int, num_heads: int, *, window: int, stride: int, relative_positions: bool, dropout: float
    ) -> None:
        super().__init__()
        self.num_heads, self.window, self.stride = num_heads, window, stride
        self.query_conv = TemporalConv(dim, dim, 3, stride=stride, groups=dim, bias=False)
        self.key_conv = TemporalConv(dim, dim, 3, stride=stride, groups=dim, bias=False)
        self.value_conv = TemporalConv(dim, dim, 3, stride=stride, groups=dim, bias=False)
        self.query_norm, self.key_norm, self.value_norm = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value = Pointwise(dim, dim), Pointwise(dim, dim), Pointwise(dim, dim)
        self.projection, self.dropout = Pointwise(dim, dim), nn.Dropout(dropout)
        self.relative_bias = nn.Parameter(torch.empty(num_heads, window)) if relative_positions and window else None
        if self.relative_bias is not None:
            nn.init.trunc_normal_(self.relative_bias, std=(2.0 / dim) ** 0.5)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attend within every sequence.

        Args:
            x: (B, T, D).
            mask: (B, T) bool, True where valid.

        Returns:
            (B, T / stride, D), zero where padded, and the mask of that length.
        """
        out_mask = downsample_mask(mask) if self.stride == 2 else mask
        q = self._heads(self.query(self.query_norm(apply_mask(self.query_conv(x), out_mask))))
        k = self._heads(self.key(self.key_norm(apply_mask(self.key_conv(x), out_mask))))
        v = self._heads(self.value(self.value_norm(apply_mask(self.value_conv(x), out_mask))))
        if self.window:
            out = local_attention(q, k, v, out_mask, window=self.window, bias=self.relative_bias)
        else:
            # Softmax over nothing would be NaN: a sequence without a valid position attends everywhere, masked below.
            keys = out_mask | ~out_mask.any(1, keepdim=True)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=keys[:, None, None, :])
        out = self.dropout(self.projection(out.transpose(1, 2).flatten(2)))
        return apply_mask(out, out_mask), out_mask

    def _heads(self, x: Tensor) -> Tensor:
        """Reshape (B, T, D) to (B, heads, T, D / heads)."""
        return x.view(x.shape[0], x.shape[1], self.num_heads, -1).transpose(1, 2)
