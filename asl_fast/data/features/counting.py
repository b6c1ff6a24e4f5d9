# SPDX-License-Identifier: Apache-2.0
"""Columns that count rows or hold time: no measurement, and a network that sees them learns where in a file it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_ARRAYS = 32
"""Arrays of a data set that are looked at: what counts does so in the first ones."""
MOST_ROWS = 4096
"""Rows of an array that are looked at."""
_LEAST_ROWS = 16
# Of a step: what rounding leaves of even time stamps. No measurement keeps that close to a line for so many rows.
_OFF_LINE = 0.05


class Climbing(NamedTuple):
    """Columns that are likely no measurement.

    Attributes:
        counting: Those that go on by one step from row to row, in every array.
        rising: Those that rise from row to row in every array, by uneven steps.
    """

    counting: tuple[int, ...]
    rising: tuple[int, ...]


def climbing_columns(arrays: Iterable[NDArray[Any]]) -> Climbing:
    """Find the columns that count, or do nothing but rise.

    Args:
        arrays: (N, C) each, the same C for all; the first rows of as many as are to be looked at. Arrays of few rows
            say nothing. No more of them are taken than it needs to find out that no column does.
    """
    counting: NDArray[np.bool_] | None = None
    rising: NDArray[np.bool_] | None = None
    for array in arrays:
        if len(array) < _LEAST_ROWS:
            continue
        counts: NDArray[np.bool_] = _counts(array)
        rises: NDArray[np.bool_] = np.all(np.diff(array, axis=0) > 0, axis=0)
        counting = counts if counting is None else counting & counts
        rising = rises if rising is None else rising & rises
        if not (counting.any() or rising.any()):
            break
    if counting is None or rising is None:
        return Climbing((), ())
    return Climbing(tuple(np.flatnonzero(counting).tolist()), tuple(np.flatnonzero(rising & ~counting).tolist()))


def _counts(array: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the columns of (N, C) that lie on a line, which is not level, as far as their numbers are exact."""
    exact = np.finfo(array.dtype if array.dtype.kind == "f" else np.float64).eps * np.abs(array).max(0).astype(float)
    values = array.astype(np.float64)
    step = (values[-1] - values[0]) / (len(values) - 1)
    off = np.abs(values - values[0] - step * np.arange(len(values))[:, None]).max(0)
    counts: NDArray[np.bool_] = (np.abs(step) > 8 * exact) & (off <= _OFF_LINE * np.abs(step) + 4 * exact)
    return counts
