# SPDX-License-Identifier: Apache-2.0
"""Time stamps in another unit than they are taken for: recordings then seem a thousand times as long, or as short."""

from __future__ import annotations

import math

# Up to a factor of three either way: recordings of one unit may differ in their rates as well.
_NEAR_DECADES = 0.5
_LARGEST_POWER = 9


def stamps_too_large(rate_hz: float, usual_hz: float) -> float | None:
    """Say by which factor time stamps are too large where a rate is about 10^3, 10^6 or 10^9 from the usual one.

    Args:
        rate_hz: Of the recording by its time stamps, positive.
        usual_hz: What is expected, positive.

    Returns:
        A power of 1000, below 1 where they are too small; None where the rates may both be true.
    """
    decades = math.log10(usual_hz / rate_hz)
    power = 3 * round(decades / 3)
    near = power and abs(power) <= _LARGEST_POWER and abs(decades - power) <= _NEAR_DECADES
    return 10.0**power if near else None


def too_large_in_words(factor: float) -> str:
    """Say ``1,000 times too large`` or ``1,000 times too small``."""
    size = f"{factor:,.0f} times too large" if factor > 1 else f"{1 / factor:,.0f} times too small"
    return f"its time stamps look {size}"
