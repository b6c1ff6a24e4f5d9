# SPDX-License-Identifier: Apache-2.0
"""Choosing few sets of features that together have them all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Features = frozenset[tuple[Any, ...]]


def covering(candidates: Iterable[Features]) -> list[Features]:
    """Choose ``candidates`` that hold every feature of any of them, each time the one that adds most."""
    left, chosen = list(candidates), []
    missing = frozenset[tuple[Any, ...]]().union(*left)
    while missing:
        best = max(left, key=lambda features: len(features & missing))
        chosen.append(best)
        missing -= best
    return chosen
