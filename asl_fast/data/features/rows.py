# SPDX-License-Identifier: Apache-2.0
"""Features of one video in parts, so that a recording may be longer than the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_files import read_array, read_shape
from asl_fast.data.features.store import FeatureStore, check_features, check_shape

Array = NDArray[np.float32]
PART_STEPS = 4096
"""Steps that are in memory together where all of a long recording is looked at: some ten MB."""


@dataclass(frozen=True)
class Rows:
    """Feature vectors that are read when asked for.

    Attributes:
        num_steps: Number of them, T.
        read: Gives those of steps ``[start, stop)``, (stop - start, D) float32; not to be written to, and checked for
            their values where whoever opened them says so.
    """

    num_steps: int
    read: Callable[[int, int], Array]

    def parts(self) -> Iterator[Array]:
        """Read them one part after the other, each (at most ``PART_STEPS``, D) float32."""
        for start in range(0, self.num_steps, PART_STEPS):
            yield self.read(start, min(start + PART_STEPS, self.num_steps))

    def all(self) -> Array:
        """Read them all, (T, D) float32."""
        return self.read(0, self.num_steps)


def rows_in_memory(array: Array) -> Rows:
    """Give the rows of an array (T, D)."""
    return Rows(len(array), lambda start, stop: array[start:stop])


def checked_rows(rows: Rows, dim: int, where: str) -> Rows:
    """Have what is read checked.

    Args:
        rows: Of a recording.
        dim: Width that they have to have.
        where: File and entry, for messages.

    Returns:
        Rows that raise ValueError as `check_features`, where a part of width and values is read that cannot be used.
    """

    def read(start: int, stop: int) -> Array:
        array = rows.read(start, stop)
        check_features(array, dim, where, first_step=start)
        return array

    return Rows(rows.num_steps, read)


def rows_of_file(path: Path, key: str | None = None, *, transposed: bool = False) -> Rows:
    """Open the rows of a file with one array; those of ``.npy`` stay on disk, other files are read whole.

    Args:
        path: One of ``array_files.EXTENSIONS``.
        key: Entry of a file that holds several.
        transposed: The file holds (D, T).

    Raises:
        FileNotFoundError, ValueError: As `asl_fast.data.features.array_files.read_array`.
    """
    if path.suffix.lower() != ".npy":
        array = read_array(path, key)
        return rows_in_memory(np.ascontiguousarray(array.T) if transposed else array)
    shape = read_shape(path)
    check_shape(shape, None, str(path))

    def read(start: int, stop: int) -> Array:
        # Mapped anew each time: what was read of an open map would count as this process's memory.
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False).reshape(shape)
        part = values[:, start:stop].T if transposed else values[start:stop]
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(part, np.float32)

    return Rows(shape[1] if transposed else shape[0], read)


def side_by_side(parts: Sequence[Rows], num_steps: int) -> Rows:
    """Put the first ``num_steps`` rows of several extractors beside each other."""
    return Rows(num_steps, lambda start, stop: np.concatenate([part.read(start, stop) for part in parts], axis=1))


def open_rows(store: FeatureStore, video_id: str) -> Rows:
    """Open the features of one video: in parts where the store can read parts, else in memory.

    Raises:
        FileNotFoundError, ValueError: As the store's ``load``.
    """
    opened: Callable[[str], Rows] | None = getattr(store, "rows", None)
    return rows_in_memory(store.load(video_id)) if opened is None else opened(video_id)
