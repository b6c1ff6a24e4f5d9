# SPDX-License-Identifier: Apache-2.0
"""Columns of numbers as text that a page can hold: integers, byte planes, deflated, base64."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]


def pack(columns: Mapping[str, Column], *, differences: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Pack columns of one length.

    The bytes of a column lie in planes, all lowest bytes first: neighbours in a plane are alike, which deflate likes
    better than numbers one after the other. ``page/unpack.js`` reads it.

    Args:
        columns: (N,) unsigned integers of 1, 2 or 4 bytes, or int32.
        differences: Names of int32 columns of which each number is stored as what it adds to the one before.

    Returns:
        ``count``: N; ``columns``: name, bytes and whether differences are stored, of each; ``data``: raw deflate in
        base64. Ready for JSON.

    Raises:
        ValueError: Naming a column of another length or type.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"columns must have one length, found {sorted(lengths)}")
    planes, described = [], []
    for name, column in columns.items():
        if column.dtype.kind not in "iu" or column.dtype.itemsize > 4 or column.dtype in (np.int8, np.int16):
            raise ValueError(f"column {name!r} must hold uint8, uint16, uint32 or int32, found {column.dtype}")
        size = column.dtype.itemsize
        if name in differences:
            # Modulo 2**32, as the page adds them up again.
            column = np.diff(column.astype(np.int64), prepend=0).astype(np.uint32)
        little = column.astype(f"<u{size}", casting="unsafe", copy=False)
        planes.append(np.frombuffer(little.tobytes(), np.uint8).reshape(-1, size).T.tobytes())
        described.append([name, size, int(name in differences)])
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = deflate.compress(b"".join(planes)) + deflate.flush()
    count = lengths.pop() if lengths else 0
    return {"count": count, "columns": described, "data": base64.b64encode(data).decode("ascii")}


def shares(values: Column, kind: type[np.unsignedinteger[Any]]) -> Column:
    """Return numbers in [0, 1] as integers up to the largest of a type; what lies outside is clipped."""
    largest = np.iinfo(kind).max
    return np.asarray(np.rint(np.clip(np.nan_to_num(values), 0.0, 1.0) * largest), dtype=kind)
