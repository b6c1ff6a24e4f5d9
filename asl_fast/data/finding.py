# SPDX-License-Identifier: Apache-2.0
"""One thing that a check of a data set found, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """A problem, or something worth knowing.

    Args:
        kind: Short name, stable for scripts.
        severity: "problem" where training or its score would suffer, otherwise "note".
        message: What was found: numbers, and the first example with its file or video.
        fix: What to do about it.
        videos: The videos concerned; empty where it is the data set as a whole.
    """

    kind: str
    severity: Literal["problem", "note"]
    message: str
    fix: str = ""
    videos: tuple[str, ...] = ()
