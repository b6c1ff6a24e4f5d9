# SPDX-License-Identifier: Apache-2.0
"""One feature array from one file, whatever the format, and its shape without reading it."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

EXTENSIONS = (".npy", ".npz", ".pt", ".pth", ".h5", ".hdf5")
_HDF5 = (".h5", ".hdf5")
_USUAL_KEYS = ("feats", "features", "feat", "feature", "arr_0", "data")


def read_array(path: Path, key: str | None = None) -> NDArray[np.float32]:
    """Read the array in a file as float32, with dimensions of size one removed until it is (T, D).

    Args:
        path: ``.npy``, ``.npz``, ``.pt`` (tensor or dictionary of tensors) or ``.h5``.
        key: Entry of a file that holds several; None takes the only one, or one of the usual names.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: Naming the file, when it is truncated, of another format, or holds no array of numbers.
    """
    try:
        values = _read(path, key)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except _Unusable as error:
        raise ValueError(f"{path}: {error}") from None
    except (OSError, EOFError, ValueError, RuntimeError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read, it is truncated or damaged ({error}); copy it again") from error
    if values.dtype.kind != "f":
        raise ValueError(f"{path}: features must be floating point, found {values.dtype}")
    shape = squeezed(values.shape)
    return np.ascontiguousarray(values.reshape(shape), dtype=np.float32)


def read_shape(path: Path, key: str | None = None) -> tuple[int, ...]:
    """Shape that `read_array` will return, from the header alone for ``.npy``, ``.npz`` and ``.h5``.

    Raises:
        FileNotFoundError, ValueError: As `read_array`; a ``.npy`` shorter than its header promises is found out too.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return squeezed(_npy_shape(path))
        if suffix == ".npz":
            return squeezed(_npz_shape(path, key))
        if suffix in _HDF5:
            with open_hdf5(path) as file:
                return squeezed(tuple(hdf5_array(file, key).shape))
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist") from None
    except _Unusable as error:
        raise ValueError(f"{path}: {error}") from None
    except (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read, it is truncated or damaged ({error}); copy it again") from error
    return read_array(path, key).shape


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape without dimensions of size one, from the right, until two are left: (T, 1, 1, D) is a common layout."""
    sizes = list(shape)
    for axis in range(len(sizes) - 2, -1, -1):
        if len(sizes) > 2 and sizes[axis] == 1:
            del sizes[axis]
    return tuple(sizes)


def open_hdf5(path: Path) -> Any:
    """Open the file for reading.

    Raises:
        FileNotFoundError: When there is no such file.
        ImportError: Saying how to install h5py when it is missing.
        ValueError: When it is no HDF5 file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"reading {path} needs h5py: pip install h5py") from error
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} is not a complete HDF5 file ({error}); copy it again") from error


def hdf5_array(group: Any, key: str | None) -> Any:
    """Find the data set to read of an HDF5 file or group, chosen as `choose_key` does.

    Raises:
        ValueError: Listing the entries when that is not clear, or when it is a group.
    """
    name = choose_key(group, key)
    if not hasattr(group[name], "shape"):
        inside = ", ".join(map(repr, list(group[name])[:8])) or "nothing"
        raise _Unusable(f"entry {name!r} is a group with {inside} inside, not an array; set key to {name}/NAME")
    return group[name]


def choose_key(entries: Mapping[str, Any], key: str | None) -> str:
    """Entry to read: the one asked for, the only one, or one with a usual name.

    Raises:
        ValueError: Listing the entries when that is not clear.
    """
    names = list(entries)
    if key is not None:
        if key not in entries:
            raise _Unusable(f"no entry {key!r}, found {', '.join(map(repr, names[:8])) or 'nothing'}")
        return key
    if len(names) == 1:
        return names[0]
    usual = [name for name in _USUAL_KEYS if name in names]
    if not usual:
        raise _Unusable(f"which of its entries holds the features? Set key to one of {', '.join(map(repr, names[:8]))}")
    return usual[0]


class _Unusable(ValueError):
    """The file is intact but not what is needed."""


def _read(path: Path, key: str | None) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        _npy_shape(path)
        return np.asarray(np.load(path, allow_pickle=False))
    if suffix == ".npz":
        with np.load(path, allow_pickle=False) as entries:
            return np.asarray(entries[choose_key(entries, key)])
    if suffix in (".pt", ".pth"):
        return _read_tensor(path, key)
    if suffix in _HDF5:
        with open_hdf5(path) as file:
            return np.asarray(hdf5_array(file, key)[()])
    raise _Unusable(f"unknown format {suffix!r}; features can be {', '.join(EXTENSIONS)}")


def _read_tensor(path: Path, key: str | None) -> NDArray[Any]:
    if not path.is_file():
        raise FileNotFoundError(path)
    # Imported here because the other formats need no torch.
    import torch

    try:
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch reports damage and refused pickles by many types
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _Unusable(
            f"cannot be read as tensors alone ({first}); it is damaged, or holds other objects: "
            "save the feature tensor itself"
        ) from error
    if isinstance(value, dict):
        value = value[choose_key(value, key)]
    if isinstance(value, torch.Tensor):
        # NumPy has no bfloat16.
        return np.asarray((value.float() if value.dtype == torch.bfloat16 else value).detach().numpy())
    raise _Unusable(f"holds a {type(value).__name__}, not a tensor")


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(file)
    if dtype.hasobject:
        raise _Unusable("holds Python objects; save a plain float array")
    return shape, dtype


def _npy_shape(path: Path) -> tuple[int, ...]:
    with path.open("rb") as file:
        shape, dtype = _npy_header(file)
        promised = file.tell() + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    size = path.stat().st_size
    if size < promised:
        raise _Unusable(f"truncated, {size} bytes of the {promised} that its header promises; copy it again")
    return shape


def _npz_shape(path: Path, key: str | None) -> tuple[int, ...]:
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): name for name in archive.namelist()}
        with archive.open(members[choose_key(members, key)]) as file:
            return _npy_header(file)[0]
