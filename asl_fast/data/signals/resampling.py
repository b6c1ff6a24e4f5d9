# SPDX-License-Identifier: Apache-2.0
"""From samples at uneven times to an even rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_SAMPLES = 50_000_000
"""No recording becomes longer: at 50 Hz this is more than 11 days."""


class Resampled(NamedTuple):
    """An evenly sampled signal (M, C), and the N + 1 borders of the original samples in seconds of its time.

    Sample k stands for the time from k / rate to (k + 1) / rate, so second 0 is where the first original sample begins.
    """

    values: NDArray[np.float64]
    borders_sec: NDArray[np.float64]


def sample_borders(times_sec: NDArray[np.float64], *, alone_sec: float = 0.04) -> NDArray[np.float64]:
    """Borders (N + 1,) between samples: each lasts from the midpoint with the one before to that with the next.

    The first and the last, which have one neighbour, reach as far outward as inward. Second 0 is the first border.

    Args:
        times_sec: (N,), rising.
        alone_sec: Length of a sample that has no neighbour.
    """
    if len(times_sec) == 1:
        return np.array([0.0, alone_sec])
    first, last = 2 * times_sec[0] - times_sec[1], 2 * times_sec[-1] - times_sec[-2]
    around = np.concatenate([[first], times_sec, [last]])
    borders: NDArray[np.float64] = (around[1:] + around[:-1]) / 2
    borders -= borders[0]
    return borders


def resample(times_sec: NDArray[np.float64], values: NDArray[Any], rate_hz: float) -> Resampled:
    """Interpolate linearly at the middles of even samples; before the first and after the last original, its value.

    Args:
        times_sec: (N,) time stamps, never falling; where some are equal, the last of these samples counts.
        values: (N, C).
        rate_hz: Samples per second of the result.

    Raises:
        ValueError: For no samples, times that fall, are not finite or all the same, or a result beyond all reason.
    """
    times = np.asarray(times_sec, np.float64)
    if len(times) == 0 or times.shape != (len(values),):
        raise ValueError(f"expected one time stamp per sample, found {times.shape} for {len(values)} samples")
    if not np.isfinite(times).all():
        raise ValueError(f"time stamp {int(np.argmin(np.isfinite(times)))} is not finite")
    steps = np.diff(times)
    if (steps < 0).any():
        back = int(np.argmin(steps >= 0))
        raise ValueError(f"time runs backwards after sample {back}: {times[back]:g} s, then {times[back + 1]:g} s")
    if len(times) > 1 and times[0] == times[-1]:
        raise ValueError(f"all {len(times)} time stamps are the same")
    borders = sample_borders(times, alone_sec=1 / rate_hz)
    number = max(1, round(borders[-1] * rate_hz))
    if number > MOST_SAMPLES:
        raise ValueError(
            f"{borders[-1]:.6g} s at {rate_hz:g} samples a second are {number} samples; are the time stamps seconds?"
        )
    middles = (np.arange(number) + 0.5) / rate_hz
    # A sample's own time, counted from the first border like everything else.
    own = times - times[0] + (times[1] - times[0]) / 2 if len(times) > 1 else np.array([0.5 / rate_hz])
    last_of_equal = np.append(steps > 0, True)
    own, kept = own[last_of_equal], np.asarray(values, np.float64)[last_of_equal]
    return Resampled(np.stack([np.interp(middles, own, channel) for channel in kept.T], axis=1), borders)


def frames_to_sec(borders_sec: NDArray[np.float64], first: int, last: int) -> tuple[float, float]:
    """Where the original samples ``first`` to ``last``, inclusive, begin and end, in seconds."""
    return float(borders_sec[first]), float(borders_sec[last + 1])
