# SPDX-License-Identifier: Apache-2.0
"""Ranges of numbers that options may have, and how a message says them."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Numbers from ``low`` to ``high``.

    Attributes:
        low: Lower end.
        high: Upper end.
        without_low: Whether the lower end is left out.
        without_high: Whether the upper end is left out.
    """

    low: float
    high: float = math.inf
    without_low: bool = False
    without_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.without_low else value >= self.low
        return above and (value < self.high if self.without_high else value <= self.high)

    def __str__(self) -> str:
        if self.low == -math.inf:
            return "be finite"
        if self.high == math.inf:
            finite = " and finite" if self.without_high else ""
            positive = "be positive" if self.low == 0 else f"be more than {self.low:g}"
            return (positive if self.without_low else f"be at least {self.low:g}") + finite
        return (
            f"lie in {'(' if self.without_low else '['}{self.low:g}, {self.high:g}{')' if self.without_high else ']'}"
        )


FROM_0, FROM_1 = Interval(0), Interval(1)
NOT_NEGATIVE = Interval(0, without_high=True)
POSITIVE = Interval(0, without_low=True, without_high=True)
SHARE = Interval(0, 1)
SHARE_BELOW_1 = Interval(0, 1, without_high=True)
SHARE_ABOVE_0 = Interval(0, 1, without_low=True)
BETWEEN = Interval(0, 1, without_low=True, without_high=True)
FINITE = Interval(-math.inf, without_low=True, without_high=True)
