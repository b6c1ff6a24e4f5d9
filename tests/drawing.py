# SPDX-License-Identifier: Apache-2.0
"""How many examples tests draw: a few in every run, many under ``make fuzz``."""

from __future__ import annotations

import os

LEAST = int(os.environ.get("ASL_FAST_FUZZ_DRAWS", "0"))


def draws(usual: int) -> int:
    """Return the number of examples of a test: ``usual``, or what ``ASL_FAST_FUZZ_DRAWS`` asks for if that is more."""
    return max(usual, LEAST)
