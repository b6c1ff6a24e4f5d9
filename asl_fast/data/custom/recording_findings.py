# SPDX-License-Identifier: Apache-2.0
"""What is odd about one's own recordings: time stamps in another unit than those of the others."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np

from asl_fast.data.finding import Finding
from asl_fast.data.signals.files import SignalFile
from asl_fast.data.signals.stamp_units import stamps_too_large, too_large_in_words
from asl_fast.wording import count, examples


def own_rates(found: Mapping[str, SignalFile]) -> dict[str, float]:
    """Find the samples per second of each recording that has time stamps, by these."""
    return {key: rate for key, each in found.items() if (rate := each.usual_rate_hz) is not None}


def in_other_units(rates: Mapping[str, float], told: float | None) -> dict[str, float]:
    """Find recordings whose time stamps are in another unit than expected.

    Args:
        rates: By recording, as `own_rates`.
        told: Samples per second that somebody said; None takes what is usual among the recordings.

    Returns:
        By which factor they are too large, see `stamps_too_large`.
    """
    if not rates:
        return {}
    # One that occurs, of two the higher: the mean of 50 and 0.05 is neither, and milliseconds are the usual slip.
    usual = told or float(np.quantile(list(rates.values()), 0.5, method="higher"))
    return {key: factor for key, rate in rates.items() if (factor := stamps_too_large(rate, usual)) is not None}


def unit_findings(
    odd: Mapping[str, float],
    rates: Mapping[str, float],
    rate_hz: float,
    files: Mapping[str, Path],
    used: Collection[str],
) -> Iterator[Finding]:
    """Name the recordings whose time stamps are in another unit.

    Args:
        odd: As `in_other_units`.
        rates: As `own_rates`.
        rate_hz: What is expected.
        files: Of the recordings.
        used: Recordings that are annotated.
    """
    keys = [key for key in odd if key in used]
    if keys:
        first = keys[0]
        yield Finding(
            "recordings in another unit",
            "problem",
            f"{count(len(keys), 'recording')} of {len(rates)} with time stamps of another unit: {examples(keys)}; "
            f"{first} has {rates[first]:.6g} samples a second where {rate_hz:.6g} are expected: "
            f"{too_large_in_words(odd[first])}",
            f"correct the time stamps of {files[first]}, or say their unit in the name of their column, as time_ms or "
            "timestamp [ns]",
            tuple(keys),
        )
