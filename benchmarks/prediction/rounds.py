# SPDX-License-Identifier: Apache-2.0
"""How many rounds loops take whose length only the data of another kernel knows: what no count can find.

Stated by op, part of a case's name, and kernel, of the outermost such loop; the mean over blocks and warps. Everything
else is counted.
"""

from __future__ import annotations

from collections.abc import Mapping

# How often PyTorch's operators go over their data: a radix sort of 32-bit keys reads and writes everything in 4 passes,
# of 64-bit keys in 8, and looks at the keys once before.
PASSES: Mapping[str, int] = {"sort": 6}

STATED: Mapping[tuple[str, str], Mapping[str, float]] = {
    # A round selects one detection, and 200 of a video are kept.
    ("soft_nms", ""): {"nms_select": 200, "soft_nms_select_kernel": 200},
}


def rounds_of(op: str, case: str) -> Mapping[str, float]:
    """Return what is stated for a case, by the kernel's name."""
    found: dict[str, float] = {}
    for (which, part), rounds in STATED.items():
        if which == op and part in case:
            found |= rounds
    return found


def passes(name: str) -> int:
    """Return how often an operator of PyTorch goes over its data; 1 unless stated."""
    return PASSES.get(name, 1)
