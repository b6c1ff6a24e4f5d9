# SPDX-License-Identifier: Apache-2.0
"""Channels-last building blocks: (B, T, D) in, (B, T, D) out, masks (B, T) bool."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asl_fast.layers.convolution import convolve


def apply_mask(x: Tensor, mask: Tensor) -> Tensor:
    """Zeroes the padded positions of x (B, T, D)."""
    return x * mask.unsqueeze(-1)


class Pointwise(nn.Linear):
    """A linear layer over channels; on CPU it runs as a 1x1 convolution, up to twice as fast there."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.dim() == 3 and x.dtype == torch.float32 and x.shape[1] > 1:
            return convolve(x, self.weight.unsqueeze(-1), self.bias)
        return super().forward(x)


class TemporalConv(nn.Module):
    """Odd 1-D convolution, zero-padded to keep the length, strided by taking every ``stride``-th output; no masking."""

    def __init__(
        self, in_dim: int, out_dim: int, kernel_size: int, *, stride: int = 1, groups: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.stride, self.groups = stride, groups
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim // groups, kernel_size))
        self.bias = nn.Parameter(torch.zeros(out_dim)) if bias else None
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, in_dim) -> (B, ceil(T / stride), out_dim)."""
        return convolve(x, self.weight, self.bias, self.stride, self.groups)


class MaskedNorm(nn.Module):
    """LayerNorm over channels that can keep padded positions at zero: its bias would leak into neighbours."""

    def __init__(self, dim: int, *, enabled: bool = True, mask_padding: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim) if enabled else None
        self.mask_padding = mask_padding

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.norm is None:
            return x
        x = self.norm(x)
        return apply_mask(x, mask) if self.mask_padding else x


class DropPath(nn.Module):
    """Drops a residual branch per sample in training; optionally scales it per channel (LayerScale, from 1e-4)."""

    def __init__(self, dim: int, probability: float, *, layer_scale: bool) -> None:
        super().__init__()
        self.probability = probability
        self.scale = nn.Parameter(torch.full((dim,), 1e-4)) if layer_scale else None

    def forward(self, x: Tensor) -> Tensor:
        if self.scale is not None:
            x = x * self.scale
        if self.probability == 0.0 or not self.training:
            return x
        keep = 1.0 - self.probability
        kept = torch.rand(x.shape[0], 1, 1, device=x.device) < keep
        return x * (kept.to(x.dtype) / keep)


class Scale(nn.Module):
    """One learnable factor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self) -> Tensor:
        """()."""
        return self.scale


def downsample_mask(mask: Tensor) -> Tensor:
    """Validity of every second position: (B, T) -> (B, T / 2)."""
    return mask[:, ::2]


def max_pool_skip(x: Tensor, mask: Tensor, *, ignore_padding: bool) -> Tensor:
    """Max over a window of three, every second position: (B, T, D) -> (B, T / 2, D).

    With ``ignore_padding`` padded positions never win, as positions beyond the end of the tensor never do.
    """
    if ignore_padding:
        x = x.masked_fill(~mask.unsqueeze(-1), torch.finfo(x.dtype).min)
    return F.max_pool1d(x.transpose(1, 2), 3, stride=2, padding=1).transpose(1, 2)
