# SPDX-License-Identifier: Apache-2.0
"""Recordings of sensors in files: tables with or without time stamps, and plain arrays."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_files import EXTENSIONS, read_array, read_shape
from asl_fast.data.features.feature_files import feature_files
from asl_fast.data.features.store import LARGEST_VALUE, first_beyond
from asl_fast.data.features.text_arrays import TEXTS, read_text_table
from asl_fast.data.signals.resampling import resample
from asl_fast.data.signals.time_columns import find_time_column
from asl_fast.wording import examples, say_once

logger = logging.getLogger(__name__)

_CHECKED_SAMPLES = 1 << 16


class SignalFile(NamedTuple):
    """A recording as it lies in its file.

    Attributes:
        values: (N, C); float32 where they are mapped from the file.
        times_sec: (N,) time stamps; None where the file has none.
        names: Of the channels; None where the file has none.
    """

    values: NDArray[np.float64]
    times_sec: NDArray[np.float64] | None
    names: tuple[str, ...] | None

    @property
    def usual_rate_hz(self) -> float | None:
        """Samples per second by the median distance of time stamps; None where these do not tell it."""
        if self.times_sec is None or len(self.times_sec) < 2:
            return None
        step = float(np.median(np.diff(self.times_sec)))
        return 1 / step if step > 0 else None

    @property
    def likely_rate_hz(self) -> float | None:
        """The usual rate, or the mean one where so many stamps are rounded to the same that there is no usual one."""
        if self.times_sec is None or self.usual_rate_hz is not None:
            return self.usual_rate_hz
        span = float(self.times_sec[-1] - self.times_sec[0])
        return (len(self.times_sec) - 1) / span if span > 0 else None

    def even(self, rate_hz: float) -> NDArray[np.float64]:
        """Bring the samples to an even rate; without time stamps they are taken to have it already.

        Raises:
            ValueError: As `resample`.
        """
        return self.values if self.times_sec is None else resample(self.times_sec, self.values, rate_hz).values

    def in_order_of(self, usual: tuple[str, ...], key: str, of: str) -> tuple[SignalFile, str | None]:
        """Bring channels that bear the usual names into the usual order.

        Args:
            usual: The names, in their order.
            key: What this recording is called.
            of: Whose order that is, such as "most" or "training".

        Returns:
            The recording, and what is to be said of its names; None where they are the usual ones or there are none.
        """
        names = self.names
        if names is None or names == usual or len(names) != len(usual):
            return self, None
        if len(set(usual)) == len(usual) and set(names) == set(usual):
            ordered = self._replace(values=self.values[:, [names.index(name) for name in usual]], names=usual)
            return ordered, f"columns of {key} are in another order than of {of}: taken by their names"
        other = f"{examples(names)} in {key}, {examples(usual)} in {of}"
        return self, f"columns have other names: {other}; taken by their places"


def read_signal(path: Path, *, mapped: bool = False) -> SignalFile:
    """Read one recording, a line or row per sample.

    In a table (``.csv``, ``.tsv``) with a header the column named time, timestamp, t, seconds_elapsed or the like holds
    time stamps in seconds, or in the unit that its name ends with, as ``time_ms``, ``Time (ms)`` and ``timestamp [ns]``
    do; see `find_time_column`. All other columns, and arrays (``.npy``, ``.mat``, ``.npz``, ``.h5``, ``.pt``) as a
    whole, are channels.

    Args:
        path: The file.
        mapped: Leave the float32 values of a ``.npy`` of (samples, channels) where they are: they are read when they
            are asked for, and may be more than the memory holds.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: Naming the file, for one that is damaged, or holds no channel, or a value that is not finite or
            beyond ``store.LARGEST_VALUE``.
    """
    names: tuple[str, ...] | None = None
    times: NDArray[np.float64] | None = None
    if path.suffix.lower() in TEXTS:
        names, values = read_text_table(path)
        if names is not None and (found := find_time_column(names)) is not None:
            stamps = values[:, found.place]
            # Epochs in milliseconds have too many digits for differences in float32.
            times = (stamps - stamps[0]) * found.unit_sec
            kept = [index for index in range(len(names)) if index not in (found.place, *found.others)]
            if found.others:
                further = examples([names[index] for index in found.others])
                text = f"column {names[found.place]!r} holds the time stamps; {further} would tell the same: left out"
                say_once(logger, str(path.parent), text)
            names, values = tuple(names[index] for index in kept), values[:, kept]
    elif mapped and (array := _mapped(path)) is not None:
        values = array
    else:
        array = read_array(path)
        values = np.asarray(array, np.float64)[:, None] if array.ndim == 1 else np.asarray(array, np.float64)
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(f"{path}: a recording must be (samples, channels), found {values.shape}")
    _check_values(path, "value", values)
    if times is not None:
        _check_values(path, "time stamp", times)
    return SignalFile(values, times, names)


def _check_values(path: Path, what: str, numbers: NDArray[Any]) -> None:
    for start in range(0, len(numbers), _CHECKED_SAMPLES):
        part = numbers[start : start + _CHECKED_SAMPLES]
        if (place := first_beyond(part, LARGEST_VALUE)) is None:
            continue
        found = f"{what} of sample {start + place[0]}"
        if not np.isfinite(part[place]):
            raise ValueError(f"{path}: {found} is not finite; fill gaps before training")
        channel = f", channel {place[1]}," if len(place) > 1 else ""
        raise ValueError(f"{path}: {found}{channel} is {part[place]:g}, beyond all reason; correct it")


def _mapped(path: Path) -> NDArray[Any] | None:
    """Map an array of float32 from its file; None for one that has to be converted."""
    if path.suffix.lower() != ".npy":
        return None
    shape = read_shape(path)
    values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return values if values.shape == shape and values.ndim == 2 and values.dtype == np.float32 else None


def signal_files(path: Path) -> dict[str, Path]:
    """Find recordings by name: one file, or those of a folder.

    Raises:
        FileNotFoundError: When there is none.
        ValueError: When a folder holds several kinds of files, or the file is none that can be read.
    """
    if path.is_dir():
        return feature_files(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    if path.suffix.lower() not in EXTENSIONS:
        raise ValueError(f"{path}: recordings of signals are {', '.join(EXTENSIONS)} files")
    return {path.stem: path}
