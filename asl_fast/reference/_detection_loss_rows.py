# SPDX-License-Identifier: Apache-2.0
"""The points that a loss of positives looks at."""

from __future__ import annotations

import torch
from torch import Tensor


class Rows:
    """The points that count as positive, as rows of flat tensors.

    Every point is a row, and rows of background hold a constant, so that no shape depends on values. Where reading
    a value costs nothing, on a CPU, :class:`PositiveRows` holds the positive points alone, which are few.

    Args:
        positive: (B, P) bool.
    """

    def __init__(self, positive: Tensor) -> None:
        self.shape = positive.shape
        self.positive = positive.flatten()

    def take(self, values: Tensor) -> Tensor:
        """Return rows (N, ...) of (B, P, ...)."""
        return values.flatten(0, 1)

    def keep(self, values: Tensor, otherwise: float = 0) -> Tensor:
        """Return rows (N, ...) with ``otherwise`` in those of background."""
        return torch.where(_over(self.positive, values), values, otherwise)

    def spread(self, values: Tensor, otherwise: float = 0) -> Tensor:
        """Return (B, P, ...) with rows (N, ...) on the positive points and ``otherwise`` on background."""
        return self.keep(values, otherwise).view(*self.shape, *values.shape[1:])

    def scale(self, values: Tensor, positive: Tensor, background: Tensor) -> Tensor:
        """Multiply (B, P, ...) by one factor () on positive points and another on background."""
        factor = torch.where(self.positive, positive, background).view(self.shape)
        return values * _over(factor, values)


class PositiveRows(Rows):
    """The positive points alone; their number is read from the device."""

    def __init__(self, positive: Tensor) -> None:
        super().__init__(positive)
        self.index = self.positive.nonzero().squeeze(1)

    def take(self, values: Tensor) -> Tensor:
        return values.flatten(0, 1).index_select(0, self.index)

    def keep(self, values: Tensor, otherwise: float = 0) -> Tensor:
        return values

    def spread(self, values: Tensor, otherwise: float = 0) -> Tensor:
        full = values.new_full((self.positive.shape[0], *values.shape[1:]), otherwise)
        return full.index_copy_(0, self.index, values).view(*self.shape, *values.shape[1:])

    def scale(self, values: Tensor, positive: Tensor, background: Tensor) -> Tensor:
        scaled = values * background
        scaled.flatten(0, 1).index_copy_(0, self.index, self.take(values) * positive)
        return scaled


def _over(per_row: Tensor, values: Tensor) -> Tensor:
    """View ``per_row`` with as many dimensions as ``values``."""
    return per_row.view(*per_row.shape, *(1,) * (values.dim() - per_row.dim()))
