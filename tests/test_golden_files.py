# SPDX-License-Identifier: Apache-2.0
"""The golden files that travel with the project: small, of stated origin, written the same way every time."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest

from tests import shared


def test_every_file_has_its_origin_stated_and_all_are_small() -> None:
    files = [path for path in shared.GOLDEN.iterdir() if path.name.endswith((".tar.xz", ".json"))]
    patterns = re.findall(r"`([\w*.]+)`", (shared.GOLDEN / "README.md").read_text().partition("| code |")[0])
    names = {path.name: path.name.removesuffix(".tar.xz") for path in files}
    assert [name for name, short in names.items() if not any(fnmatch(short, pattern) for pattern in patterns)] == []
    assert len(files) > 20 and sum(path.stat().st_size for path in files) < 700_000


def test_a_packed_file_reads_back_and_is_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "GOLDEN", tmp_path)
    arrays = {"a__b": np.arange(6.0).reshape(2, 3), "flag": np.array(True), "configs": np.array('[{"µ": 1}]')}
    shared.pack("one", arrays)
    shared.pack("two", arrays)
    assert (tmp_path / "one.tar.xz").read_bytes() == (tmp_path / "two.tar.xz").read_bytes()
    found = shared.golden_arrays("one")
    assert list(found) == list(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(found[key], array)
        assert found[key].dtype == array.dtype and found[key].shape == array.shape


def test_what_is_nowhere_is_skipped_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "SHARED", tmp_path)
    with pytest.raises(pytest.skip.Exception, match=r"needs \.\./shared/golden/no_such\.npz"):
        shared.golden_arrays("no_such")
