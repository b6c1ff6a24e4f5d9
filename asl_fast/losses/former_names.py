# SPDX-License-Identifier: Apache-2.0
"""Names that parameters of the loss had in older files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Weight = TypeVar("Weight")

_FORMER = {"raw_mu": "mu_bias", "raw_sigma": "sigma_bias"}


def with_present_names(weights: Mapping[str, Weight]) -> dict[str, Weight]:
    """Return weights by the names that their parameters have now; those of other modules stay as they are.

    Args:
        weights: By dotted name, such as ``gaussians.raw_mu``.
    """
    found: dict[str, Weight] = {}
    for name, weight in weights.items():
        module, dot, last = name.rpartition(".")
        found[f"{module}{dot}{_FORMER.get(last, last)}"] = weight
    return found
