# SPDX-License-Identifier: Apache-2.0
"""Features of all videos in one HDF5 file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_entries import USUAL_KEYS, Unusable
from asl_fast.data.features.array_files import squeezed
from asl_fast.data.features.feature_files import short_names
from asl_fast.data.features.hdf5_files import checked_array, hdf5_array, hdf5_entry, names_in, open_hdf5
from asl_fast.data.features.layout import COMPARED, is_transposed, readable_shapes, usual_width
from asl_fast.data.features.rows import Rows, checked_rows, rows_in_memory
from asl_fast.data.features.store import check_features, check_shape
from asl_fast.files import TooLarge


class Hdf5FeatureStore:
    """One HDF5 file with an entry per video: a data set, or a group with the features inside.

    The entries may lie in groups, one per split or stream; where these hold the same names, the group is part of the
    name, as in ``rgb/VIDEO``.

    Args:
        path: The file.
        dim: Width of a feature vector; None takes the one that most of the first entries have.
        prefix: Text before the video id in the entry's name.
        suffix: Text after it.
        key: Name of the data set inside a video's group.
        transposed: The entries are (D, T); None finds out, see `is_transposed`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        dim: int | None = None,
        prefix: str = "",
        suffix: str = "",
        key: str | None = None,
        transposed: bool | None = None,
    ) -> None:
        self.path = Path(path)
        self.prefix = prefix
        self.suffix = suffix
        self.key = key
        self._transposed = transposed
        self._known_shapes: list[tuple[int, ...]] | None = None
        # Opened anew by each process: an HDF5 handle does not survive a fork.
        with open_hdf5(self.path) as file:
            try:
                self._places = _named_places(file, key)
            except (OSError, RuntimeError, KeyError) as error:
                raise ValueError(f"{self.path} cannot be read, it is damaged ({error}); copy it again") from error
        if not self._places:
            raise ValueError(f"{self.path} holds no entries")
        self._dim = dim

    @property
    def transposed(self) -> bool:
        """Whether the entries are (D, T)."""
        if self._transposed is None:
            self._transposed = is_transposed(self._shapes(), str(self.path))
        return self._transposed

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        if self._dim is None:
            self._dim = usual_width(self._shapes(), transposed=self.transposed)
        return self._dim

    def _shapes(self) -> list[tuple[int, ...]]:
        """Shapes of the first entries; of all of them where none of those can be read."""
        if self._known_shapes is None:
            names = [name for name in sorted(self._places) if self._fits(name)] or sorted(self._places)
            with open_hdf5(self.path) as file:
                read = [partial(lambda name: squeezed(tuple(self._entry(file, name).shape)), name) for name in names]
                try:
                    self._known_shapes = readable_shapes(read[:COMPARED])
                except (ValueError, OSError):
                    self._known_shapes = readable_shapes(read)
        return self._known_shapes

    def _fits(self, name: str) -> bool:
        return name.startswith(self.prefix) and name.endswith(self.suffix)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the entries, whether or not they begin with the prefix."""
        return tuple(sorted(self._places))

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos that have an entry."""
        fits = (name for name in self._places if self._fits(name))
        return tuple(sorted(name[len(self.prefix) : len(name) - len(self.suffix)] for name in fits))

    def source_files(self, video_id: str) -> tuple[Path, ...]:
        """Files that a video's features are read from."""
        return (self.path,)

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) float32; raises as `FolderFeatureStore.load`."""
        name = self._name(video_id)
        array = self._read(name, ())
        check_features(array, self.dim, f"{self.path}, entry {name!r}")
        return array

    def rows(self, video_id: str) -> Rows:
        """Open the features of one video, to be read in parts, which raises as `load`."""
        name = self._name(video_id)
        with open_hdf5(self.path) as file:
            shape = tuple(self._entry(file, name).shape)
        if len(shape) != 2:
            return rows_in_memory(self.load(video_id))
        where = f"{self.path}, entry {name!r}"
        axis, shape = ((slice(None),), shape[::-1]) if self.transposed else ((), shape)
        check_shape(shape, self.dim, where)
        rows = Rows(shape[0], lambda start, stop: self._read(name, (*axis, slice(start, stop))))
        return checked_rows(rows, self.dim, where)

    def _read(self, name: str, part: tuple[slice, ...]) -> NDArray[np.float32]:
        with open_hdf5(self.path) as file:
            try:
                values = np.asarray(self._entry(file, name)[part])
            except (OSError, RuntimeError) as error:
                raise ValueError(f"{self.path}, entry {name!r} is damaged ({error}); copy the file again") from error
        values = values if part else values.reshape(squeezed(values.shape))
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(values.T if self.transposed else values, dtype=np.float32)

    def length(self, video_id: str) -> int:
        """Count feature vectors; the width is checked as well."""
        name = self._name(video_id)
        with open_hdf5(self.path) as file:
            shape = squeezed(tuple(self._entry(file, name).shape))
        shape = tuple(reversed(shape)) if self.transposed else shape
        check_shape(shape, self.dim, f"{self.path}, entry {name!r}")
        return shape[0]

    def __contains__(self, video_id: object) -> bool:
        return f"{self.prefix}{video_id}{self.suffix}" in self._places

    def _name(self, video_id: str) -> str:
        if video_id not in self:
            alike = [name for name in self._places if video_id in name]
            hint = f"; {min(alike)!r} is there: see --feature-prefix and --feature-suffix" if alike else ""
            raise FileNotFoundError(f"no features for video {video_id!r}: {self.path} has no such entry{hint}")
        return f"{self.prefix}{video_id}{self.suffix}"

    def _entry(self, file: Any, name: str) -> Any:
        where = f"{self.path}, entry {name!r}"
        try:
            entry = hdf5_entry(file, self._places[name])
            array = hdf5_array(entry, self.key) if hasattr(entry, "keys") else checked_array(entry, name)
            kind = array.dtype.kind
        except (Unusable, TooLarge) as error:
            raise ValueError(f"{where}: {error}") from None
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} is damaged ({error}); copy the file again") from error
        if kind != "f":
            raise ValueError(f"{where}: features must be floating point, found {array.dtype}")
        return array


def _named_places(file: Any, key: str | None) -> dict[str, str]:
    """Where the entry of each video lies, by its name."""
    names = names_in(file)
    groups = {name: _members(file, name) for name in names[:COMPARED]}
    if not names or any(members is None for members in groups.values()) or _are_videos(groups, key):
        return {name: name for name in names}
    inside = {f"{name}/{member}": f"{name}/{member}" for name in names for member in _members(file, name) or ()}
    return short_names(inside)


def _members(file: Any, name: str) -> list[str] | None:
    """Names in a group; None for an array, and for what cannot be read, which is a matter of its own video."""
    try:
        entry = hdf5_entry(file, name)
        return names_in(entry) if hasattr(entry, "keys") else None
    except (Unusable, OSError, RuntimeError, KeyError, ValueError):
        return None


def _are_videos(groups: Mapping[str, list[str] | None], key: str | None) -> bool:
    """Whether groups hold the arrays of one video each; otherwise they are splits or streams, with videos inside."""
    inside = [set(members or ()) for members in groups.values()]
    first = None if key is None else key.split("/")[0]
    if any(first in members if first is not None else members & set(USUAL_KEYS) for members in inside):
        return True
    if sum(map(len, inside)) < 2:
        return True
    common = set.intersection(*inside)
    return bool(common) and len(inside) > 1 and len(common) <= len(inside)
