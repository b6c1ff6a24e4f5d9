# SPDX-License-Identifier: Apache-2.0
"""Features in files: one per video, or one HDF5 file for all; several extractors side by side."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_entries import Unusable
from asl_fast.data.features.array_files import EXTENSIONS, nothing_to_read, read_array, read_shape, squeezed
from asl_fast.data.features.hdf5_files import checked_array, hdf5_array, hdf5_entry, open_hdf5
from asl_fast.data.features.packed_store import PackedFeatureStore, is_packed
from asl_fast.data.features.store import NamedFeatureStore, check_features, check_shape
from asl_fast.data.features.tensor_files import TENSORS
from asl_fast.files import TooLarge

logger = logging.getLogger(__name__)
# Arrays that are looked at to find out how they lie; tensors have no header, so that each is read whole.
_COMPARED, _COMPARED_TENSORS = 32, 4
# Folders whose layout was said: one command opens a store several times.
_SAID: set[str] = set()


class FolderFeatureStore:
    """A folder with one file per video, ``<prefix><video id><suffix><extension>``.

    Args:
        folder: Where the files lie.
        dim: Width of a feature vector; None takes it from the first file.
        prefix: Text before the video id, e.g. ``"v_"`` for ActivityNet.
        suffix: Text after it.
        extension: One of ``array_files.EXTENSIONS``; None takes the one that occurs in the folder.
        key: Entry of files that hold several arrays.
        transposed: The files hold (D, T); None finds out, see `is_transposed`.

    Raises:
        FileNotFoundError: When the folder is not there or holds no feature file.
        ValueError: When the extension is not clear.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        dim: int | None = None,
        prefix: str = "",
        suffix: str = "",
        extension: str | None = None,
        key: str | None = None,
        transposed: bool | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.prefix = prefix
        self.suffix = suffix
        self.key = key
        self._transposed = transposed
        if not self.folder.is_dir():
            raise FileNotFoundError(f"feature folder {self.folder} does not exist")
        # What is named like a feature file and is none, such as a pipe, is a matter of its own video.
        named = (file for file in self.folder.iterdir() if file.suffix.lower() in EXTENSIONS)
        files = sorted(file for file in named if not file.is_dir())
        if not files:
            raise FileNotFoundError(nothing_to_read(self.folder))
        found = sorted({file.suffix for file in files})
        if extension is None and len(found) > 1:
            raise ValueError(
                f"feature folder {self.folder} holds {', '.join(found)} files: set extension to one of them"
            )
        self.extension = found[0] if extension is None else extension
        self._stems = {file.name.removesuffix(self.extension) for file in files if file.name.endswith(self.extension)}
        self._dim = dim

    @property
    def transposed(self) -> bool:
        """Whether the files hold (D, T)."""
        if self._transposed is None:
            stems = sorted(self._stems)[: _COMPARED if self.extension.lower() not in TENSORS else _COMPARED_TENSORS]
            shapes = (partial(read_shape, self.folder / (stem + self.extension), self.key) for stem in stems)
            self._transposed = is_transposed(_readable(shapes), f"feature folder {self.folder}")
        return self._transposed

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        if self._dim is None:
            shape = self._first_shape()
            self._dim = shape[0] if self.transposed else shape[-1]
        return self._dim

    def _first_shape(self) -> tuple[int, ...]:
        """Shape in the first file that can be read: a damaged one is a matter of its own video."""
        first: ValueError | OSError | None = None
        for stem in sorted(self._stems):
            try:
                return read_shape(self.folder / (stem + self.extension), self.key)
            except (ValueError, OSError) as error:
                first = first or error
        raise first or ValueError(f"feature folder {self.folder} holds no {self.extension} file")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the files without extension, whether or not they begin with the prefix."""
        return tuple(sorted(self._stems))

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos that have a file."""
        fits = (stem for stem in self._stems if stem.startswith(self.prefix) and stem.endswith(self.suffix))
        return tuple(sorted(stem[len(self.prefix) : len(stem) - len(self.suffix)] for stem in fits))

    def path(self, video_id: str) -> Path:
        """File that holds a video's features, whether or not it exists."""
        return self.folder / f"{self.prefix}{video_id}{self.suffix}{self.extension}"

    def source_files(self, video_id: str) -> tuple[Path, ...]:
        """Files that a video's features are read from."""
        return (self.path(video_id),)

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) float32.

        Raises:
            FileNotFoundError: Naming the file, and one that looks alike if there is one.
            ValueError: Naming the file, when it is damaged, of another width or holds values that are not finite.
        """
        path = self._existing(video_id)
        array = read_array(path, self.key)
        array = np.ascontiguousarray(array.T) if self.transposed else array
        check_features(array, self.dim, str(path))
        return array

    def length(self, video_id: str) -> int:
        """Count feature vectors, from the header where the format has one; the width is checked as well."""
        path = self._existing(video_id)
        shape = read_shape(path, self.key)
        return _check_shape(tuple(reversed(shape)) if self.transposed else shape, self.dim, str(path))

    def __contains__(self, video_id: object) -> bool:
        return f"{self.prefix}{video_id}{self.suffix}" in self._stems

    def _existing(self, video_id: str) -> Path:
        path = self.path(video_id)
        if video_id not in self:
            alike = [stem for stem in self._stems if video_id in stem]
            hint = f"; {min(alike)}{self.extension} is there: set prefix or suffix" if alike else ""
            raise FileNotFoundError(f"no features for video {video_id!r}: {path} does not exist{hint}")
        return path


class Hdf5FeatureStore:
    """One HDF5 file with an entry per video: a data set, or a group with the features inside.

    Args:
        path: The file.
        dim: Width of a feature vector; None takes it from the first entry.
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
        # Opened anew by each process: an HDF5 handle does not survive a fork.
        with open_hdf5(self.path) as file:
            try:
                self._names = frozenset(file)
            except (OSError, RuntimeError, KeyError) as error:
                raise ValueError(f"{self.path} cannot be read, it is damaged ({error}); copy it again") from error
        if not self._names:
            raise ValueError(f"{self.path} holds no entries")
        self._dim = dim

    @property
    def transposed(self) -> bool:
        """Whether the entries are (D, T)."""
        if self._transposed is None:
            with open_hdf5(self.path) as file:
                names = sorted(self._names)[:_COMPARED]
                shapes = (partial(lambda name: squeezed(tuple(self._entry(file, name).shape)), name) for name in names)
                self._transposed = is_transposed(_readable(shapes), str(self.path))
        return self._transposed

    @property
    def dim(self) -> int:
        """Width of a feature vector."""
        if self._dim is None:
            with open_hdf5(self.path) as file:
                shape = self._first_shape(file)
            self._dim = shape[0] if self.transposed else shape[-1]
        return self._dim

    def _first_shape(self, file: Any) -> tuple[int, ...]:
        """Shape of the first entry that can be read: a damaged one is a matter of its own video."""
        first: ValueError | None = None
        for name in sorted(self._names):
            try:
                return squeezed(tuple(self._entry(file, name).shape))
            except ValueError as error:
                first = first or error
        assert first is not None
        raise first

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the entries, whether or not they begin with the prefix."""
        return tuple(sorted(self._names))

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos that have an entry."""
        fits = (name for name in self._names if name.startswith(self.prefix) and name.endswith(self.suffix))
        return tuple(sorted(name[len(self.prefix) : len(name) - len(self.suffix)] for name in fits))

    def source_files(self, video_id: str) -> tuple[Path, ...]:
        """Files that a video's features are read from."""
        return (self.path,)

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) float32; raises as `FolderFeatureStore.load`."""
        name = self._name(video_id)
        with open_hdf5(self.path) as file:
            try:
                values = np.asarray(self._entry(file, name)[()])
            except (OSError, RuntimeError) as error:
                raise ValueError(f"{self.path}, entry {name!r} is damaged ({error}); copy the file again") from error
        values = values.reshape(squeezed(values.shape))
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(values.T if self.transposed else values, dtype=np.float32)
        check_features(array, self.dim, f"{self.path}, entry {name!r}")
        return array

    def length(self, video_id: str) -> int:
        """Count feature vectors; the width is checked as well."""
        name = self._name(video_id)
        with open_hdf5(self.path) as file:
            shape = squeezed(tuple(self._entry(file, name).shape))
        shape = tuple(reversed(shape)) if self.transposed else shape
        return _check_shape(shape, self.dim, f"{self.path}, entry {name!r}")

    def __contains__(self, video_id: object) -> bool:
        return f"{self.prefix}{video_id}{self.suffix}" in self._names

    def _name(self, video_id: str) -> str:
        if video_id not in self:
            alike = [name for name in self._names if video_id in name]
            hint = f"; {min(alike)!r} is there: set prefix or suffix" if alike else ""
            raise FileNotFoundError(f"no features for video {video_id!r}: {self.path} has no such entry{hint}")
        return f"{self.prefix}{video_id}{self.suffix}"

    def _entry(self, file: Any, name: str) -> Any:
        where = f"{self.path}, entry {name!r}"
        try:
            entry = hdf5_entry(file, name)
            array = hdf5_array(entry, self.key) if hasattr(entry, "keys") else checked_array(entry, name)
            kind = array.dtype.kind
        except (Unusable, TooLarge) as error:
            raise ValueError(f"{where}: {error}") from None
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where} is damaged ({error}); copy the file again") from error
        if kind != "f":
            raise ValueError(f"{where}: features must be floating point, found {array.dtype}")
        return array


class ConcatenatedFeatureStore:
    """Several extractors side by side, cut to the shortest.

    Args:
        stores: One store per extractor, in channel order.
        tolerance: Largest difference in length that is taken for an extractor's rounding at the end.

    Raises:
        ValueError: When no store is given.
    """

    def __init__(self, stores: Sequence[NamedFeatureStore], *, tolerance: int = 4) -> None:
        if not stores:
            raise ValueError("ConcatenatedFeatureStore: no stores")
        self.stores = tuple(stores)
        self.tolerance = tolerance

    @property
    def dim(self) -> int:
        """Width of a feature vector, all extractors together."""
        return sum(store.dim for store in self.stores)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the first extractor's files or entries."""
        return self.stores[0].names

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos that every extractor has."""
        return tuple(sorted(set.intersection(*(set(store.video_ids) for store in self.stores))))

    def source_files(self, video_id: str) -> tuple[Path, ...]:
        """Files that a video's features are read from, as far as the extractors' stores say."""
        known = [getattr(store, "source_files", None) for store in self.stores]
        return tuple(path for files in known if files is not None for path in files(video_id))

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) float32; raises ValueError when the extractors disagree on the length."""
        arrays = [store.load(video_id) for store in self.stores]
        steps = self._common(video_id, (len(array) for array in arrays))
        return np.concatenate([array[:steps] for array in arrays], axis=1)

    def length(self, video_id: str) -> int:
        """Count the feature vectors that all extractors have."""
        return self._common(video_id, (store.length(video_id) for store in self.stores))

    def __contains__(self, video_id: object) -> bool:
        return all(video_id in store for store in self.stores)

    def _common(self, video_id: str, lengths: Iterable[int]) -> int:
        steps = list(lengths)
        if max(steps) - min(steps) > self.tolerance:
            raise ValueError(
                f"video {video_id!r}: the extractors give {steps} feature vectors, more than {self.tolerance} apart; "
                "they were not extracted with the same stride"
            )
        return min(steps)


def is_transposed(shapes: Iterable[tuple[int, ...]], where: str) -> bool:
    """Find out whether arrays are (D, T): they then have as many rows each, and numbers of columns that differ.

    Args:
        shapes: Of several videos, without dimensions of size one.
        where: The folder or file, for the line that says so.
    """
    known = [shape for shape in shapes if len(shape) == 2]
    rows, columns = {shape[0] for shape in known}, {shape[1] for shape in known}
    found = len(rows) == 1 and len(columns) > 1
    if found and where not in _SAID:
        _SAID.add(where)
        logger.warning(
            '%s: all arrays have %d rows and differ in their columns, so they are read as (channels, time); "layout": '
            '"TC" in the manifest would read them as (time, channels)',
            where,
            next(iter(rows)),
        )
    return found


def _readable(shapes: Iterable[Callable[[], tuple[int, ...]]]) -> Iterator[tuple[int, ...]]:
    """Return the shapes of those that can be read."""
    for read in shapes:
        with contextlib.suppress(ValueError, OSError):
            yield read()


def open_store(path: str | Path, **options: Any) -> FolderFeatureStore | Hdf5FeatureStore | PackedFeatureStore:
    """Open the store at a path: a packed store, a folder of files, or one HDF5 file. Options are those of the store.

    Raises:
        FileNotFoundError: When the path does not exist.
        ValueError: For a file of another format, or options about files with a packed store.
    """
    path = Path(path)
    if is_packed(path):
        unused = sorted(key for key, value in options.items() if key not in ("dim", "prefix") and value)
        if unused:
            raise ValueError(f"{path} is a packed store, which has no {' and '.join(unused)}: leave it out")
        return PackedFeatureStore(path, dim=options.get("dim"), prefix=options.get("prefix", ""))
    if path.is_dir():
        return FolderFeatureStore(path, **options)
    if not path.exists():
        raise FileNotFoundError(f"feature path {path} does not exist")
    if path.suffix.lower() not in (".h5", ".hdf5"):
        raise ValueError(f"{path}: one file for all videos must be .h5; give the folder that holds the files")
    return Hdf5FeatureStore(path, **options)


def _check_shape(shape: tuple[int, ...], dim: int, where: str) -> int:
    check_shape(shape, dim, where)
    return shape[0]
