# SPDX-License-Identifier: Apache-2.0
"""Values so far from all others of their channel that scaling by the standard deviation would level these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.problems import Problems

FAR = 1e6
"""Median absolute deviations from the median; in a channel that hardly ever changes, so many times its usual size."""
_LOOKED_AT = 1 << 16
_PART_SAMPLES = 1 << 16


def note_outliers(signals: Mapping[str, NDArray[Any]], files: Mapping[str, Path], problems: Problems) -> None:
    """Note the first value of each recording that stands far from what its channel usually holds.

    Args:
        signals: (N, C) by recording, the same C for all; part by part is read of what is mapped from a file.
        files: Of the recordings, for messages.
        problems: Collects what is found; a strict one raises ValueError.
    """
    each = max(1, _LOOKED_AT // max(len(signals), 1))
    some = np.concatenate([signal[:: max(1, len(signal) // each)] for signal in signals.values()]).astype(np.float64)
    middle = np.median(some, axis=0)
    deviation = np.median(np.abs(some - middle), axis=0)
    deviation = np.where(deviation > 0, deviation, np.maximum(np.abs(middle), 1))
    low, high = middle - FAR * deviation, middle + FAR * deviation
    for key, signal in signals.items():
        for start in range(0, len(signal), _PART_SAMPLES):
            part = signal[start : start + _PART_SAMPLES]
            if (part.min(0) >= low).all() and (part.max(0) <= high).all():
                continue
            sample, channel = (int(place) for place in np.argwhere((part < low) | (part > high))[0])
            problems.note(
                "recording with a value far from all others",
                ValueError(
                    f"{files[key]}: sample {start + sample}, channel {channel} is {part[sample, channel]:g}, where "
                    f"{middle[channel]:g} is usual; scaling by it would make all other values alike: correct it"
                ),
            )
            break
