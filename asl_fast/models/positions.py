# SPDX-License-Identifier: Apache-2.0
"""Absolute position encodings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoids(positions: Tensor, dim: int) -> Tensor:
    """Encode real positions (...) as sinusoids (..., dim) (Vaswani et al. 2017, section 3.5), float64."""
    pair = torch.div(torch.arange(dim, device=positions.device), 2, rounding_mode="floor")
    angle = positions.double().unsqueeze(-1) / 10000.0 ** (2.0 * pair.double() / dim)
    even = torch.arange(dim, device=positions.device) % 2 == 0
    return torch.where(even, angle.sin(), angle.cos())


class AbsolutePositions(nn.Module):
    """Adds sinusoids, scaled by dim ** -0.5; the positions of longer sequences are compressed to ``max_length``.

    A sequence is compressed by its own valid length, so that neither padding nor the rest of the batch matters.

    Args:
        max_length: Longest sequence that is not compressed, in grid steps.
        dim: Channels.
        resample_padded: Compress by the padded length instead, and in evaluation only, as ActionFormer does.
    """

    table: Tensor

    def __init__(self, max_length: int, dim: int, *, resample_padded: bool) -> None:
        super().__init__()
        self.max_length, self.dim, self.resample_padded = max_length, dim, resample_padded
        table = sinusoids(torch.arange(max_length), dim) / dim**0.5
        self.register_buffer("table", table.float(), persistent=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Add positions to x (B, T, D) where its mask (B, T) is True."""
        length = x.shape[1]
        if self.resample_padded:
            encoding = self._resampled(length).unsqueeze(0)
        else:
            valid = mask.sum(1, keepdim=True).clamp(min=1)
            ratio = (self.max_length / valid.double()).clamp(max=1.0)
            encoding = sinusoids(torch.arange(length, device=x.device) * ratio, self.dim) / self.dim**0.5
        return x + encoding.to(x.dtype) * mask.unsqueeze(-1).to(x.dtype)

    def _resampled(self, length: int) -> Tensor:
        """Return the table as (length, dim), cut or stretched."""
        if length < self.max_length:
            return self.table[:length]
        if self.training and length > self.max_length:
            raise ValueError(
                f"a training sequence has {length} steps, more than model.max_length_grid {self.max_length}; crop it"
            )
        return F.interpolate(self.table.T.unsqueeze(0), length, mode="linear", align_corners=False)[0].T
