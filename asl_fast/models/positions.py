# SPDX-License-Identifier: Apache-2.0
"""Absolute position encodings."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Place(NamedTuple):
    """Where the window of a long sequence lies in it, in grid steps.

    Attributes:
        start_grid: Index in the sequence of the window's first step.
        valid_grid: Valid steps of the whole sequence.
        padded_grid: Steps of the whole sequence with its padding.
    """

    start_grid: int
    valid_grid: int
    padded_grid: int


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

    def forward(self, x: Tensor, mask: Tensor, place: Place | None = None) -> Tensor:
        """Add positions to x (B, T, D) where its mask (B, T) is True; ``place`` says of which part x is the window."""
        length = x.shape[1]
        if self.resample_padded:
            encoding = (self._resampled(length) if place is None else self._window(place, length)).unsqueeze(0)
        else:
            valid = (
                mask.sum(1, keepdim=True).clamp(min=1)
                if place is None
                else mask.new_tensor([[place.valid_grid]], dtype=torch.int64)
            )
            first = 0 if place is None else place.start_grid
            ratio = (self.max_length / valid.double()).clamp(max=1.0)
            steps = torch.arange(first, first + length, device=x.device)
            encoding = sinusoids(steps * ratio, self.dim) / self.dim**0.5
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

    def _window(self, place: Place, length: int) -> Tensor:
        """Return the rows (length, dim) of `_resampled` for the whole sequence that a window of it has."""
        stop = place.start_grid + length
        if place.padded_grid <= self.max_length:
            return self.table[place.start_grid : stop]
        # As F.interpolate places the rows: both tables cover the same time in equal shares.
        rows = torch.arange(place.start_grid, stop, device=self.table.device, dtype=torch.float64)
        at = ((rows + 0.5) * (self.max_length / place.padded_grid) - 0.5).clamp(min=0.0)
        before = at.floor().long().clamp(max=self.max_length - 1)
        after = (before + 1).clamp(max=self.max_length - 1)
        share = (at - before).unsqueeze(1)
        return (self.table[before] * (1.0 - share) + self.table[after] * share).to(self.table.dtype)
