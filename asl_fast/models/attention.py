# SPDX-License-Identifier: Apache-2.0
"""Multi-head self-attention whose queries, keys and values come from depthwise convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asl_fast.models.primitives import Pointwise, TemporalConv, apply_mask, downsample_mask
from asl_fast.ops.local_attention import local_attention

HIDDEN = -1e4
"""Added to the score of a key that a head does not see: no other score comes near, so that exp() of it is 0 exactly.

Unlike minus infinity it leaves a query that sees no valid key at all without NaN.
"""


class ConvAttention(nn.Module):
    """ActionFormer's attention (section 3.2): depthwise k=3 convolutions replace position encodings, and downsample.

    Args:
        dim: Channels D.
        num_heads: Number of heads.
        window: Odd attention window in positions after downsampling; 0 is full attention.
        stride: 1 or 2.
        relative_positions: Learn a bias per head and relative position (windowed attention only).
        split_sides: The first half of the heads sees a position and what came before it, the other half the position
            and what comes after, as in CausalTAD (Liu et al. 2024, arXiv 2407.17792).
        dropout: Dropout after the output projection.
    """

    sides: Tensor | None

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        window: int,
        stride: int,
        relative_positions: bool,
        split_sides: bool = False,
        dropout: float,
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
        self.split_sides = split_sides
        hidden = (
            HIDDEN * ~_seen_by_side(num_heads, torch.arange(window) - window // 2) if split_sides and window else None
        )
        self.register_buffer("sides", hidden, persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Attend within every sequence.

        Args:
            x: (B, T, D).
            mask: (B, T) bool, True where valid.

        Returns:
            (B, T / stride, D), zero where padded, and the mask of that length.
        """
        # What the convolutions give in padded positions is not set to zero: no key there is seen.
        out_mask = downsample_mask(mask) if self.stride == 2 else mask
        q = self._heads(self.query(self.query_norm(self.query_conv(x))))
        k = self._heads(self.key(self.key_norm(self.key_conv(x))))
        v = self._heads(self.value(self.value_norm(self.value_conv(x))))
        if self.window:
            out = local_attention(q, k, v, out_mask, window=self.window, bias=self._bias())
        else:
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=self._seen(out_mask))
        out = self.dropout(self.projection(out.transpose(1, 2).flatten(2)))
        return apply_mask(out, out_mask), out_mask

    def _bias(self) -> Tensor | None:
        """Return what is added to the scores by head and relative position, (heads, window) or None."""
        if self.sides is None or self.relative_bias is None:
            return self.relative_bias if self.sides is None else self.sides
        return self.relative_bias + self.sides

    def _seen(self, mask: Tensor) -> Tensor:
        """Return which keys a query of full attention sees, (B, 1 or heads, 1 or T, T) bool; never none at all."""
        if not self.split_sides:
            # Softmax over nothing would be NaN: a sequence without a valid position attends everywhere, masked later.
            return (mask | ~mask.any(1, keepdim=True))[:, None, None, :]
        steps = torch.arange(mask.shape[1], device=mask.device)
        relative = steps - steps.unsqueeze(1)
        return mask[:, None, None, :] & _seen_by_side(self.num_heads, relative) | (relative == 0)

    def _heads(self, x: Tensor) -> Tensor:
        """Reshape (B, T, D) to (B, heads, T, D / heads)."""
        return x.view(x.shape[0], x.shape[1], self.num_heads, -1).transpose(1, 2)


def _seen_by_side(num_heads: int, relative: Tensor) -> Tensor:
    """Tell which keys the heads see, by position of the key minus that of the query (...): (heads, ...) bool."""
    half = num_heads // 2
    return torch.stack([relative <= 0] * half + [relative >= 0] * (num_heads - half))
