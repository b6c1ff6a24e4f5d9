# SPDX-License-Identifier: Apache-2.0
"""What is odd about one's own recordings: time stamps in another unit than the others', channels that count."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.counting import MOST_ARRAYS, MOST_ROWS, climbing_columns
from asl_fast.data.finding import Finding
from asl_fast.data.signals.files import SignalFile
from asl_fast.data.signals.stamp_units import stamps_too_large, too_large_in_words
from asl_fast.wording import count, examples


def own_rates(found: Mapping[str, SignalFile]) -> dict[str, float]:
    """Find the samples per second of each recording that has time stamps, by these."""
    return {key: rate for key, each in found.items() if (rate := each.likely_rate_hz) is not None}


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


def stamp_findings(
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


def climbing_findings(signals: Sequence[NDArray[Any]], names: tuple[str, ...] | None, path: Path) -> Iterator[Finding]:
    """Name channels that count samples or hold time: they tell the network where it is in a recording.

    Args:
        signals: (N, C) of the recordings as read, before they are brought to an even rate.
        names: Of the channels; None where the files have none.
        path: Where the recordings are.
    """
    found = climbing_columns(signal[:MOST_ROWS] for signal in signals[:MOST_ARRAYS])

    def named(columns: Sequence[int]) -> str:
        known = names if names is not None and max(columns) < len(names) else None
        words = examples([str(column) if known is None else repr(known[column]) for column in columns])
        return f"{'channel' if len(columns) == 1 else 'channels'} {words}" + " (counted from 0)" * (known is None)

    remedy = "where it holds time stamps, name it time (time_ms, timestamp [ns], ... in other units)"
    if found.counting:
        yield Finding(
            "channels that count",
            "problem",
            f"{named(found.counting)} of {path}, from sample to sample one step further in every recording looked "
            "at: no measurement, but it would tell the network where in a recording it is",
            f"remove it from the files; {remedy}",
        )
    if found.rising:
        yield Finding(
            "channels that only rise",
            "note",
            f"{named(found.rising)} of {path}, rising from sample to sample in every recording looked at: is it a "
            "measurement?",
            f"{remedy}; remove it where it tells no more than how late it is",
        )
