# SPDX-License-Identifier: Apache-2.0
"""Features of one video in parts, so that a recording may be longer than the memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_files import read_array, read_shape
from asl_fast.data.features.store import FeatureStore

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Rows:
    """Feature vectors that are read when asked for.

    Attributes:
        num_steps: Number of them, T.
        read: Gives those of steps ``[start, stop)``, (stop - start, D) float32, not checked for their values.
    """

    num_steps: int
    read: Callable[[int, int], Array]

    def all(self) -> Array:
        """Read them all, (T, D) float32."""
        return self.read(0, self.num_steps)


def rows_in_memory(array: Array) -> Rows:
    """Give the rows of an array (T, D)."""
    return Rows(len(array), lambda start, stop: array[start:stop])


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

    def read(start: int, stop: int) -> Array:
        # Mapped anew each time: what was read of an open map would count as this process's memory.
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False).reshape(shape)
        part = values[:, start:stop].T if transposed else values[start:stop]
        with np.errstate(over="ignore"):
            return np.array(part, np.float32, order="C")

    return Rows(shape[1] if transposed else shape[0], read) if len(shape) == 2 else rows_in_memory(read_array(path))


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
