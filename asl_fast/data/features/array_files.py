# SPDX-License-Identifier: Apache-2.0
"""One feature array from one file, whatever the format, and its shape without reading it."""

from __future__ import annotations

import contextlib
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_entries import Unusable, choose_key
from asl_fast.data.features.hdf5_files import HDF5, hdf5_array, open_hdf5
from asl_fast.data.features.matlab_files import MATLAB, read_matlab
from asl_fast.data.features.tensor_files import TENSORS, read_tensor
from asl_fast.data.features.text_arrays import TEXTS, read_text_array, text_shape
from asl_fast.files import TooLarge, check_unpacked, require_file

TABLES = (*TEXTS, MATLAB)
"""Read where a folder holds nothing else: such files often lie beside features and are none."""
EXTENSIONS = (".npy", ".npz", *TENSORS, *HDF5, *TABLES)
NAMELESS = (".npy", *TEXTS)
"""Files that hold one array, which has no name."""
WHOLE = (*TENSORS, MATLAB)
"""Files whose shape is known only when they are read."""


def read_array(path: Path, key: str | None = None) -> NDArray[np.float32]:
    """Read the array in a file as float32, with dimensions of size one removed until it is (T, D).

    Args:
        path: ``.npy``, ``.npz``, ``.pt`` (tensor or dictionary of tensors), ``.h5``, ``.mat``, or a table as text with
            a line per feature vector, ``.csv`` or ``.tsv``.
        key: Entry of a file that holds several; None takes the only one, or one of the usual names.

    Raises:
        FileNotFoundError: When there is no such file.
        ValueError: Naming the file, when it is truncated, of another format, or holds no array of numbers.
    """
    with _named(path):
        values = _read(path, key)
        _require_floats(values.dtype)
        # What is beyond float32 becomes infinite, which is said where features are checked.
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(values.reshape(squeezed(values.shape)), dtype=np.float32)


def read_shape(path: Path, key: str | None = None) -> tuple[int, ...]:
    """Shape that `read_array` will return, from the header alone for ``.npy``, ``.npz`` and ``.h5``.

    Raises:
        FileNotFoundError, ValueError: As `read_array`; a ``.npy`` shorter than its header promises is found out too.
    """
    suffix = path.suffix.lower()
    with _named(path):
        if suffix == ".npy":
            return squeezed(_npy_shape(path))
        if suffix == ".npz":
            return squeezed(_npz_shape(path, key))
        if suffix in HDF5:
            with open_hdf5(path) as file:
                array = hdf5_array(file, key)
                _require_floats(array.dtype)
                return squeezed(tuple(array.shape))
        if suffix in TEXTS:
            return squeezed(text_shape(path))
    return read_array(path, key).shape


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape without dimensions of size one, from the right, until two are left.

    (T, 1, 1, D), (1, T, D) and (T, D, 1, 1), which pooling leaves, are common layouts.
    """
    sizes = list(shape)
    for axis in range(len(sizes) - 1, -1, -1):
        if len(sizes) > 2 and sizes[axis] == 1:
            del sizes[axis]
    return tuple(sizes)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Have whatever goes wrong within name the file, and only regular files read."""
    require_file(path)
    try:
        yield
    except ImportError:
        raise
    except (Unusable, TooLarge) as error:
        raise ValueError(f"{path}: {error}") from None
    except MemoryError:
        raise ValueError(f"{path}: there is too little memory for this array") from None
    except PermissionError as error:
        raise PermissionError(f"{path} cannot be read: {error.strerror}") from None
    except Exception as error:  # NumPy, zipfile and h5py report damage by many types
        text = str(error) or type(error).__name__
        if str(path) in text:
            raise ValueError(text) from error
        raise ValueError(f"{path} cannot be read, it is truncated or damaged ({text}); copy it again") from error


def _require_floats(dtype: np.dtype[Any]) -> None:
    if dtype.kind != "f":
        raise Unusable(f"features must be floating point, found {dtype}")


def _read(path: Path, key: str | None) -> NDArray[Any]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        _npy_shape(path)
        return np.asarray(np.load(path, allow_pickle=False))
    if suffix == ".npz":
        with zipfile.ZipFile(path) as archive, _npz_member(archive, path, key) as file:
            values = np.lib.format.read_array(file, allow_pickle=False)
            # The checksum is compared at the end of the entry.
            file.read(1)
            return np.asarray(values)
    if suffix in TENSORS:
        return read_tensor(path, key)
    if suffix in HDF5:
        with open_hdf5(path) as opened:
            array = hdf5_array(opened, key)
            _require_floats(array.dtype)
            return np.asarray(array[()])
    if suffix == MATLAB:
        return read_matlab(path, key)
    if suffix in TEXTS:
        return read_text_array(path)
    raise Unusable(f"unknown format {suffix!r}; features can be {', '.join(EXTENSIONS)}")


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], int]:
    """Shape and number of bytes of the array that a header promises; it is an array of floating point numbers."""
    version = np.lib.format.read_magic(file)
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = reader(file)
    if dtype.hasobject:
        raise Unusable("holds Python objects; save a plain float array")
    _require_floats(dtype)
    if min(shape, default=0) < 0:
        raise Unusable(f"its header promises the shape {shape}")
    # By Python's integers, which do not overflow.
    return shape, math.prod(shape) * dtype.itemsize


def _npy_shape(path: Path) -> tuple[int, ...]:
    with path.open("rb") as file:
        shape, num_bytes = _npy_header(file)
        promised = file.tell() + num_bytes
    _require_bytes(path.stat().st_size, promised)
    return shape


def _npz_shape(path: Path, key: str | None) -> tuple[int, ...]:
    with zipfile.ZipFile(path) as archive, _npz_member(archive, path, key) as file:
        return _npy_header(file)[0]


def _npz_member(archive: zipfile.ZipFile, path: Path, key: str | None) -> IO[bytes]:
    """Open an entry whose size has been checked against its header and against what is stored."""
    members = {name.removesuffix(".npy"): name for name in archive.namelist()}
    name = choose_key(members, key)
    entry = archive.getinfo(members[name])
    stored = min(entry.compress_size, path.stat().st_size)
    check_unpacked(entry.file_size, stored, f"entry {name!r}")
    with archive.open(entry) as file:
        _, num_bytes = _npy_header(file)
        _require_bytes(entry.file_size, file.tell() + num_bytes)
    return archive.open(entry)


def _require_bytes(size: int, promised: int) -> None:
    if size < promised:
        raise Unusable(f"truncated, {size} bytes of the {promised} that its header promises; copy it again")
