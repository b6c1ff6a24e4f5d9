# SPDX-License-Identifier: Apache-2.0
"""Numbers in MATLAB's files: version 7.3, which is HDF5, and version 5, which is read here and runs no code."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.features.array_entries import Unusable, choose_key
from asl_fast.data.features.hdf5_files import hdf5_array, names_in, open_hdf5
from asl_fast.files import check_unpacked

MATLAB = ".mat"
_HEADER, _HDF5_MAGIC = 128, b"\x89HDF\r\n\x1a\n"
_MATRIX, _COMPRESSED = 14, 15
# Of the format's description: how numbers are stored, and what they are in MATLAB.
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX = 0x0800


class _Matrix(NamedTuple):
    """A variable: its name, its shape, what it is in MATLAB, and its numbers as stored."""

    name: str
    shape: tuple[int, ...]
    kind: str
    stored: NDArray[Any]


def read_matlab(path: Path, key: str | None) -> NDArray[Any]:
    """Read the matrix that `choose_key` chooses among those of numbers.

    Raises:
        Unusable: When the file is damaged, of version 4, or holds no such matrix.
        ImportError: For version 7.3 without h5py.
    """
    with path.open("rb") as file:
        start = file.read(_HEADER)
        is_hdf5 = start.startswith(_HDF5_MAGIC) or (file.seek(512) and file.read(8) == _HDF5_MAGIC)
    if is_hdf5:
        with open_hdf5(path) as opened:
            names = [name for name in names_in(opened) if not name.startswith("#")]
            array = hdf5_array(opened, key or choose_key(names, None))
            # MATLAB stores the first index fastest, HDF5 the last.
            values: NDArray[Any] = np.asarray(array[()]).T
            return values
    if len(start) < _HEADER or start[126:128] not in (b"IM", b"MI"):
        raise Unusable("is no MATLAB file of version 5 or 7.3; save it with save(name, 'features', '-v7')")
    order = "<" if start[126:128] == b"IM" else ">"
    try:
        found = {matrix.name: matrix for matrix in _matrices(path.read_bytes()[_HEADER:], order)}
    except (struct.error, zlib.error, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise Unusable(f"is damaged ({error}); copy it again") from None
    matrix = found[choose_key(found, key)]
    if math.prod(matrix.shape) != matrix.stored.size:
        raise Unusable(f"{matrix.name!r} has {matrix.stored.size} numbers for the shape {matrix.shape}; copy it again")
    return np.asarray(matrix.stored.astype(matrix.kind).reshape(matrix.shape, order="F"))


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Kind and content of the elements in a row."""
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        if kind >> 16:  # a small element: size and kind in one word, content in the other
            yield kind & 0xFFFF, data[place + 4 : place + 4 + min(kind >> 16, 4)]
            place += 8
            continue
        if place + 8 + size > len(data):
            raise Unusable(f"truncated, {len(data) - place - 8} bytes of {size}; copy it again")
        yield kind, data[place + 8 : place + 8 + size]
        place += 8 + size + (0 if kind == _COMPRESSED else -size % 8)


def _matrices(data: bytes, order: str) -> Iterator[_Matrix]:
    for kind, content in _elements(data, order):
        if kind == _COMPRESSED:
            kind, content = next(_elements(_unpacked(content, order), order), (0, b""))
        if kind == _MATRIX and (matrix := _matrix(content, order)) is not None:
            yield matrix


def _unpacked(content: bytes, order: str) -> bytes:
    stream = zlib.decompressobj()
    tag = stream.decompress(content, 8)
    size = struct.unpack_from(f"{order}I", tag, 4)[0]
    check_unpacked(size, len(content), "a compressed matrix")
    return tag + stream.decompress(stream.unconsumed_tail, size)


def _matrix(content: bytes, order: str) -> _Matrix | None:
    """Read a matrix of real numbers; None for text, cells, structures, complex and sparse ones."""
    parts = _elements(content, order)
    flags = struct.unpack_from(f"{order}I", next(parts, (0, b""))[1])[0]
    kind = _CLASSES.get(flags & 0xFF)
    if kind is None or flags & _COMPLEX:
        return None
    sizes, name = next(parts, (0, b""))[1], next(parts, (0, b""))[1].decode("ascii")
    shape = struct.unpack(f"{order}{len(sizes) // 4}i", sizes)
    stored, numbers = next(parts, (0, b""))
    if stored not in _STORED or min(shape, default=0) < 0:
        return None
    dtype = np.dtype(order + _STORED[stored])
    return _Matrix(name, shape, kind, np.frombuffer(numbers, dtype, count=len(numbers) // dtype.itemsize))
