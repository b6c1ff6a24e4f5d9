# SPDX-License-Identifier: Apache-2.0
"""All features of a data set in one memory-mapped file, with a checksum per video; `packing` writes it.

A packed store is a folder with two files. ``features.bin`` holds the (T, D) arrays of all videos one after the other,
little-endian, without headers. ``packed.json`` is written last and says what lies where::

    {"format", "version", "dtype", "dim", "manifest", "source", "videos": {video: [first row, T, CRC-32 of its bytes]},
     "files": {file that was packed: [bytes, time of its last change]}}

Where the files that were packed are still there and have changed since, a warning says so when the store is opened.
"""

from __future__ import annotations

import contextlib
import logging
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.manifest_file import parse_manifest
from asl_fast.data.features.rows import Rows
from asl_fast.files import read_json
from asl_fast.wording import say_once

INDEX, DATA = "packed.json", "features.bin"
FORMAT, VERSION = "asl_fast packed features", 1
DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "float16": np.dtype("<f2")}
_CHECKED_ROWS = 16384
_REPAIR = "pack the data set again"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackedVideo:
    """Where one video lies: its first row, its number of rows, and the CRC-32 of their bytes."""

    offset: int
    length: int
    crc32: int


class PackedFeatureStore:
    """Features of many videos, read from a packed store.

    A float32 store gives back the bits that were packed; arrays are views of the file, so that a crop reads its own
    part of it alone. A float16 store is converted to float32 when read. The first time a video is read its checksum is
    compared.

    Args:
        folder: The packed store.
        dim: Width that is expected of it; None takes what it has.
        prefix: Text before the video id, in a store that was packed from a folder whose files all have it; a data set
            is packed under its video ids.

    Raises:
        FileNotFoundError: When it, or one of its two files, is not there.
        ValueError: Naming the file, when it is truncated, of another version, contradicts itself or has another width.
    """

    def __init__(self, folder: str | Path, *, dim: int | None = None, prefix: str = "") -> None:
        self.folder = Path(folder)
        index_path, self._data = self.folder / INDEX, self.folder / DATA
        index = _read_index(index_path)
        self.dtype: str = index["dtype"]
        self.dim: int = index["dim"]
        self.source: str = index["source"]
        self.manifest: FeatureManifest | None = index["manifest"]
        self._names = tuple(sorted(index["videos"]))
        cut = len(prefix) if all(name.startswith(prefix) for name in self._names) else 0
        self._videos = {name[cut:]: PackedVideo(*entry) for name, entry in index["videos"].items()}
        self._verified: set[str] = set()
        if dim is not None and dim != self.dim:
            raise ValueError(f"{index_path}: features have width {self.dim}, expected {dim}")
        if not self._data.is_file():
            raise FileNotFoundError(f"{self._data} is missing, {index_path} needs it; {_REPAIR}")
        self._check_size(self._data.stat().st_size)
        self.changed_sources = _changed(index["files"])
        if self.changed_sources:
            say_once(
                logger,
                str(self.folder),
                f"{len(self.changed_sources)} of the {len(index['files'])} files that were packed have changed since, "
                f"such as {self.changed_sources[0]}; {_REPAIR} if their features did",
            )

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos that are in the store, sorted."""
        return tuple(sorted(self._videos))

    @property
    def names(self) -> tuple[str, ...]:
        """Names that the features are stored by, sorted."""
        return self._names

    @property
    def num_bytes(self) -> int:
        """Size of the features."""
        return sum(entry.length for entry in self._videos.values()) * self.dim * DTYPES[self.dtype].itemsize

    def load(self, video_id: str) -> NDArray[np.float32]:
        """Features (T, dim) float32, read-only where they are a view of the file.

        Raises:
            FileNotFoundError: For a video that was not packed.
            ValueError: Naming file and video, when its bytes are not those that were packed.
        """
        rows = self._rows(video_id)
        if video_id not in self._verified:
            self._check_sum(video_id)
        return np.asarray(rows, np.float32)

    def rows(self, video_id: str) -> Rows:
        """Open the features of one video, to be read in parts, of which float32 are views of the file; as `load`."""
        entry = self._entry(video_id)
        if video_id not in self._verified:
            self._check_sum(video_id)
        return Rows(entry.length, lambda start, stop: np.asarray(self._rows(video_id)[start:stop], np.float32))

    def verify(self, video_id: str) -> None:
        """Compare a video's checksum, whether or not that was done before; raises as `load`."""
        self._check_sum(video_id)

    def length(self, video_id: str) -> int:
        """Count feature vectors, from the index."""
        return self._entry(video_id).length

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._videos

    def _entry(self, video_id: str) -> PackedVideo:
        if video_id not in self._videos:
            alike = [name for name in self._videos if video_id in name]
            hint = f"{min(alike)!r} is there: set prefix, or pack with the annotations" if alike else _REPAIR
            raise FileNotFoundError(
                f"no features for video {video_id!r}: it is not among the {len(self._videos)} of "
                f"{self.folder / INDEX}; {hint}"
            )
        return self._videos[video_id]

    def _rows(self, video_id: str) -> NDArray[Any]:
        entry, dtype = self._entry(video_id), DTYPES[self.dtype]
        start = entry.offset * self.dim * dtype.itemsize
        # Mapped anew at each call, which costs microseconds: no handle to lose in a fork, nothing to pickle.
        try:
            return np.memmap(self._data, dtype, "r", offset=start, shape=(entry.length, self.dim))
        except (OSError, ValueError) as error:
            raise ValueError(f"{self._data}, video {video_id!r} cannot be read ({error}); {_REPAIR}") from error

    def _check_sum(self, video_id: str) -> None:
        entry, found = self._entry(video_id), 0
        for start in range(0, entry.length, _CHECKED_ROWS):
            # Mapped anew, so that no more than this part counts as the process's memory.
            found = zlib.crc32(self._rows(video_id)[start : start + _CHECKED_ROWS].data, found)
        expected = entry.crc32
        if found != expected:
            raise ValueError(
                f"{self._data}, video {video_id!r} is damaged: its checksum is {found:08x}, packed was {expected:08x}; "
                f"copy the store again, or {_REPAIR}"
            )
        self._verified.add(video_id)

    def _check_size(self, size: int) -> None:
        row, end = self.dim * DTYPES[self.dtype].itemsize, 0
        for name, entry in sorted(self._videos.items(), key=lambda item: item[1].offset):
            if entry.offset != end or entry.length < 1:
                raise ValueError(
                    f"{self.folder / INDEX}, video {name!r}: rows {entry.offset} to {entry.offset + entry.length} do "
                    f"not follow row {end}; {_REPAIR}"
                )
            end += entry.length
            if end * row > size:
                total = self.num_bytes
                raise ValueError(
                    f"{self._data} is truncated, {size} bytes of {total}: video {name!r} and what follows is cut; copy "
                    f"the store again, or {_REPAIR}"
                )
        if end * row != size:
            raise ValueError(f"{self._data} has {size} bytes, {INDEX} says {end * row}; {_REPAIR}")


def is_packed(path: str | Path) -> bool:
    """Whether a folder is a packed store."""
    return (Path(path) / INDEX).is_file()


def find_packed(root: Path) -> Path | None:
    """Find the packed store of a data root: a folder directly inside of it.

    Raises:
        ValueError: Naming them, when there are several.
    """
    found = sorted(path.parent for path in root.glob(f"*/{INDEX}") if not path.parent.name.startswith("."))
    if len(found) > 1:
        raise ValueError(
            f"{root} holds {len(found)} packed stores, {', '.join(path.name for path in found)}: give the path of the "
            "one to use in the place of the data root"
        )
    return found[0] if found else None


def store_note(store: object) -> str:
    """Say what a description adds about a store: nothing, or that it is packed and how."""
    return f" packed as {store.dtype}" if isinstance(store, PackedFeatureStore) else ""


def _read_index(path: Path) -> Mapping[str, Any]:
    index = read_json(path)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ValueError(f"{path}: not the index of a packed store, its 'format' is not {FORMAT!r}")
    if index.get("version") != VERSION:
        raise ValueError(f"{path}: version {index.get('version')!r}, this asl_fast reads {VERSION}; {_REPAIR}")
    if not isinstance(index.get("dtype"), str) or index["dtype"] not in DTYPES:
        raise ValueError(f"{path}: 'dtype' must be {' or '.join(DTYPES)}, found {index.get('dtype')!r}; {_REPAIR}")
    if not _is_count(index.get("dim")) or index["dim"] < 1:
        raise ValueError(f"{path}: 'dim' must be a positive whole number, found {index.get('dim')!r}; {_REPAIR}")
    videos = index.get("videos")
    if not isinstance(videos, dict) or not videos:
        raise ValueError(f"{path}: 'videos' must list at least one video, found {videos!r:.80}; {_REPAIR}")
    for name, entry in videos.items():
        if not isinstance(entry, list) or len(entry) != 3 or not all(map(_is_count, entry)):
            raise ValueError(f"{path}, video {name!r}: expected [first row, rows, CRC-32], found {entry!r}; {_REPAIR}")
    files = index.get("files", {})
    if not isinstance(files, dict) or not all(
        isinstance(stamp, list) and len(stamp) == 2 and all(map(_is_count, stamp)) for stamp in files.values()
    ):
        raise ValueError(f"{path}: 'files' must be {{file: [bytes, time]}}, found {files!r:.80}; {_REPAIR}")
    source, manifest = index.get("source", ""), index.get("manifest")
    if not isinstance(source, str):
        raise ValueError(f"{path}: 'source' must be text, found {source!r:.80}; {_REPAIR}")
    if manifest is not None:
        manifest = parse_manifest(manifest, f"{path}, 'manifest'", index["dim"])
        if manifest.dim != index["dim"]:
            raise ValueError(f"{path}: 'manifest' has width {manifest.dim}, but 'dim' is {index['dim']}; {_REPAIR}")
    return {**index, "files": files, "source": source, "manifest": manifest}


def _changed(files: Mapping[str, list[int]]) -> tuple[str, ...]:
    changed = []
    for path, stamp in files.items():
        # Moved or removed since: nothing to compare with.
        with contextlib.suppress(OSError, ValueError):
            state = os.stat(path)
            if [state.st_size, state.st_mtime_ns] != stamp:
                changed.append(path)
    return tuple(changed)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
