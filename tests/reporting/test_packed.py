# SPDX-License-Identifier: Apache-2.0
"""Packed columns come back as they were, by the rules that the page's script follows."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import pytest

from asl_fast.reporting.packed import pack, shares


def unpack(packed: dict[str, Any]) -> dict[str, np.ndarray]:
    """Do what page/unpack.js does."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"]), -15), np.uint8)
    columns, begin, count = {}, 0, packed["count"]
    for name, size, differences in packed["columns"]:
        part = planes[begin : begin + size * count].reshape(size, count).astype(np.uint64)
        values = sum(part[byte] << np.uint64(8 * byte) for byte in range(size))
        values = np.asarray(values, np.uint64)
        if differences:
            values = np.cumsum(values) & np.uint64(0xFFFFFFFF)
        columns[name] = values.astype(np.uint32).view(np.int32) if differences else values.astype(f"u{size}")
        begin += size * count
    assert begin == len(planes)
    return columns


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_columns_come_back(count: int) -> None:
    rng = np.random.default_rng(0)
    columns = {
        "start": rng.integers(-(2**31), 2**31, count).astype(np.int32),
        "length": rng.integers(0, 2**32, count).astype(np.uint32),
        "score": rng.integers(0, 2**16, count).astype(np.uint16),
        "kind": rng.integers(0, 2**8, count).astype(np.uint8),
    }
    found = unpack(pack(columns, differences=frozenset({"start"})))
    assert {name: column.tolist() for name, column in found.items()} == {k: v.tolist() for k, v in columns.items()}


def test_what_cannot_be_packed_is_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        pack({"a": np.zeros(1, np.uint8), "b": np.zeros(2, np.uint8)})
    with pytest.raises(ValueError, match=r"'a' must hold .* found float64"):
        pack({"a": np.zeros(1)})


def test_shares_keep_their_ends_and_clip_the_rest() -> None:
    values = np.array([0.0, 1.0, 0.5, -1.0, 2.0, np.nan])
    assert shares(values, np.uint8).tolist() == [0, 255, 128, 0, 255, 0]
    assert shares(values, np.uint16).dtype == np.uint16
