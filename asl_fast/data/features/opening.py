# SPDX-License-Identifier: Apache-2.0
"""One way to open features, wherever they lie: a folder, one HDF5 file, a packed store, or several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asl_fast.data.features.array_files import NAMELESS
from asl_fast.data.features.concatenated_store import ConcatenatedFeatureStore, common_length
from asl_fast.data.features.folder_store import FolderFeatureStore
from asl_fast.data.features.hdf5_files import HDF5
from asl_fast.data.features.hdf5_store import Hdf5FeatureStore
from asl_fast.data.features.packed_store import PackedFeatureStore, is_packed
from asl_fast.data.features.rows import Rows, rows_of_file, side_by_side
from asl_fast.data.features.store import NamedFeatureStore

JOIN = "+"
"""Between the keys, prefixes or suffixes of streams that are put side by side."""
_STREAMS = ("key", "prefix", "suffix")


def open_store(path: str | Path, **options: Any) -> NamedFeatureStore:
    """Open the store at a path: a packed store, a folder of files, or one HDF5 file.

    Args:
        path: Where the features lie.
        options: Those of the store. A ``key``, ``prefix`` or ``suffix`` with a ``+`` in it, such as ``rgb+flow``, names
            several streams, which are put side by side in this order.

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
    for option in _STREAMS:
        if JOIN in (options.get(option) or ""):
            parts = options[option].split(JOIN)
            return ConcatenatedFeatureStore([open_store(path, **{**options, option: part}) for part in parts])
    if path.is_dir():
        return FolderFeatureStore(path, **options)
    if not path.exists():
        raise FileNotFoundError(f"feature path {path} does not exist")
    if path.suffix.lower() not in HDF5:
        raise ValueError(f"{path}: one file for all videos must be .h5; give the folder that holds the files")
    options.pop("extension", None)
    return Hdf5FeatureStore(path, **options)


def open_features(
    paths: Sequence[str | Path], options: Mapping[str, Any], *, key_is_told: bool = True
) -> NamedFeatureStore:
    """Open several stores side by side, in this order.

    Args:
        paths: Where the features lie.
        options: Those of `open_store`; a packed store, which has none of its own, takes the prefix alone. Of keys,
            prefixes or suffixes joined by ``+`` each path takes one where there are as many as paths.
        key_is_told: Whether a key is said of these files; the one of other files means nothing where arrays have none.

    Raises:
        FileNotFoundError, ValueError: As `open_store`; ValueError for a stream that would lie beside itself, and for a
            key that is told of files whose arrays have no name.
    """
    stores = []
    known: list[tuple[Any, ...]] = []
    for index, path in enumerate(paths):
        own = dict(options)
        for option in _STREAMS:
            parts = (own.get(option) or "").split(JOIN)
            if len(parts) == len(paths):
                own[option] = parts[index] or ("" if option != "key" else None)
        stream = (Path(path).resolve(), *(own.get(option) for option in _STREAMS))
        if stream in known:
            raise ValueError(f"{path} is given twice: it would lie beside itself; several paths are several extractors")
        known.append(stream)
        if is_packed(Path(path)):
            own = {key: value for key, value in own.items() if key in ("dim", "prefix")}
        stores.append(open_store(path, **own))
    store = stores[0] if len(stores) == 1 else ConcatenatedFeatureStore(stores)
    if key_is_told and options.get("key") and _is_nameless(store):
        raise ValueError(nameless_message(options["key"], ", ".join(map(str, paths))))
    return store


def _is_nameless(store: NamedFeatureStore) -> bool:
    """Whether all files of a store hold one array each, without a name."""
    if isinstance(store, ConcatenatedFeatureStore):
        return all(map(_is_nameless, store.stores))
    return isinstance(store, FolderFeatureStore) and store.extension.lower() in NAMELESS


def nameless_message(key: str, where: str) -> str:
    """Say that a key was told of files that have none."""
    return f'--feature-key {key} ("key" in a manifest): {where} holds one array without a name a file; leave it out'


def rows_of_features(path: Path, key: str | None = None, *, transposed: bool = False) -> Rows:
    """Open the features of one video in one file, several streams side by side, not checked for their values.

    Args:
        path: The file.
        key: Entry of a file that holds several, or several joined by ``+``.
        transposed: The file holds (D, T).

    Raises:
        FileNotFoundError, ValueError: As `read_array`; when streams differ in length.
    """
    parts = [rows_of_file(path, part, transposed=transposed) for part in (key.split(JOIN) if key else [None])]
    if len(parts) == 1:
        return parts[0]
    return side_by_side(parts, common_length(str(path), [part.num_steps for part in parts]))
