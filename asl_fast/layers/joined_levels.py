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
        spread = [value.expand(length, 1) for value, length in zip(values, self.lengths, strict=True)]
        return join_tensors(spread, self.gap, 0)

    def split(self, x: Tensor) -> list[Tensor]:
        """Return the levels of a tensor (B, P', ...), as views."""
        return split_levels(x, self.lengths, self.gap)

    def with_gap(self, x: Tensor, gap: int) -> Tensor:
        """Return a tensor (B, P', ...) with ``gap`` zeros between its levels; itself where it has as many."""
        return x if gap == self.gap else join_tensors(self.split(x), gap)


def split_levels(x: Tensor, lengths: Sequence[int], gap: int) -> list[Tensor]:
    """Return the levels of a tensor (B, P', ...), without the places between them, as views."""
    sizes = [size for length in lengths for size in (length, gap)][:-1]
    return list(torch.split(x, sizes, 1))[::2]


def join_levels(levels: Sequence[Tensor], masks: Sequence[Tensor], gap: int) -> JoinedLevels:
    """Join levels (B, T_l, D) and their masks (B, T_l) bool, finest first, with ``gap`` zeros between them."""
    lengths = tuple(level.shape[1] for level in levels)
    return JoinedLevels(join_tensors(levels, gap), join_tensors(masks, gap), lengths, gap)


def join_tensors(levels: Sequence[Tensor], gap: int, dim: int = 1) -> Tensor:
    """Join tensors (B, T_l, ...), or others along ``dim``, with ``gap`` zeros between each two."""
    shape = list(levels[0].shape)
    shape[dim] = gap
    zeros = levels[0].new_zeros(shape)
    return torch.cat([piece for level in levels for piece in (level, zeros)][:-1], dim)
