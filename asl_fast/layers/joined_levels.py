# SPDX-License-Identifier: Apache-2.0
"""The levels of a pyramid in one tensor, so that a convolution which they share is one call for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class JoinedLevels(NamedTuple):
    """Levels one after the other with ``gap`` zeros between them.

    The zeros are the padding that a convolution of one level sees beyond its end.

    Attributes:
        x: (B, P', D), P' the sum of the levels' lengths and of the gaps between them.
        mask: (B, P') bool, True where valid; False in the gaps.
        lengths: Lengths of the levels.
        gap: Half the width of the widest convolution that these levels go through.
    """

    x: Tensor
    mask: Tensor
    lengths: tuple[int, ...]
    gap: int

    def per_level(self, values: Sequence[Tensor]) -> Tensor:
        """Spread one scalar per level: (P', 1), each on the places of its level, 0 in the gaps."""
        return _with_gaps(
            [value.expand(length, 1) for value, length in zip(values, self.lengths, strict=True)], self.gap, 0
        )

    def split(self, x: Tensor) -> list[Tensor]:
        """Return the levels of a tensor (B, P', ...), as views."""
        sizes = [size for length in self.lengths for size in (length, self.gap)][:-1]
        return list(torch.split(x, sizes, 1))[::2]


def join_levels(levels: Sequence[Tensor], masks: Sequence[Tensor], gap: int) -> JoinedLevels:
    """Join levels (B, T_l, D) and their masks (B, T_l) bool, finest first, with ``gap`` zeros between them."""
    lengths = tuple(level.shape[1] for level in levels)
    return JoinedLevels(_with_gaps(levels, gap, 1), _with_gaps(masks, gap, 1), lengths, gap)


def _with_gaps(parts: Sequence[Tensor], gap: int, dim: int) -> Tensor:
    """Concatenate along ``dim`` with ``gap`` zeros between each two parts."""
    shape = list(parts[0].shape)
    shape[dim] = gap
    zeros = parts[0].new_zeros(shape)
    return torch.cat([piece for part in parts for piece in (part, zeros)][:-1], dim)
