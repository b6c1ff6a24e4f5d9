# SPDX-License-Identifier: Apache-2.0
"""Times as tables write them, in seconds."""

from __future__ import annotations

import re

from asl_fast.data.annotations.columns import Columns
from asl_fast.files import number

_CLOCK = re.compile(r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)")


def units_per_second(columns: Columns, rate: str) -> float:
    """Return how many of the units that a table counts times in make a second.

    Args:
        columns: Say which unit that is.
        rate: The cell of the frame rate, which frames need.

    Raises:
        ValueError: When the rate is no number.
    """
    return number(rate, "fps") if columns.in_frames else 1000 if columns.in_milliseconds else 1


def read_seconds(text: str, columns: Columns, rate: str) -> float | str:
    """Read a time; what is none stays text, for its reader to refuse.

    Args:
        text: The cell.
        columns: As of `units_per_second`.
        rate: Likewise.
    """
    clock = _CLOCK.fullmatch(text)
    if clock is not None:
        return int(clock[1] or 0) * 3600 + int(clock[2]) * 60 + float(clock[3])
    try:
        return number(text, "time") / units_per_second(columns, rate)
    except (ValueError, ZeroDivisionError):
        return f"{text} frames at {rate or 'no'} frames per second" if columns.in_frames else text
