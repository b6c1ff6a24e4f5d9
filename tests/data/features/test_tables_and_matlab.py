# SPDX-License-Identifier: Apache-2.0
"""Arrays in text and in MATLAB's files, nested folders, groups in HDF5, and streams side by side."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from asl_fast.data.features.array_files import read_array, read_shape
from asl_fast.data.features.opening import open_features, open_store, rows_of_features

ARRAY = np.random.default_rng(0).normal(size=(5, 3)).round(4).astype(np.float32)
TEXT = [",".join(map(str, row)) for row in ARRAY.tolist()]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("plain.csv", TEXT),
        ("header.csv", ["f0,f1,f2", *TEXT]),
        ("counted.csv", ["0,1,2", *TEXT]),
        ("pandas.csv", [",0,1,2", *(f"{i},{line}" for i, line in enumerate(TEXT))]),
        ("spaces.csv", [line.replace(",", "  ") for line in TEXT]),
        ("tabs.tsv", [line.replace(",", "\t") for line in TEXT]),
        ("comma.csv", [line.replace(",", ";").replace(".", ",") for line in TEXT]),
        ("blank.csv", ["\ufeff" + TEXT[0], "", *TEXT[1:], "", ""]),
    ],
)
def test_text(tmp_path: Path, name: str, lines: list[str]) -> None:
    (tmp_path / name).write_text("\n".join(lines))
    assert read_shape(tmp_path / name) == (5, 3)
    np.testing.assert_array_equal(read_array(tmp_path / name), ARRAY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no numbers"),
        ("a,b\n", "holds a header and no numbers: 'a,b'"),
        ("1,2\n3,x\n", "line 2: expected 2 numbers, found '3,x'"),
        ("a,b\n1,2\n3\n", "line 3: expected 2 numbers, found '3'"),
    ],
)
def test_text_that_is_no_array(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(ValueError, match=message) as found:
        read_array(tmp_path / "a.csv")
    assert "a.csv" in str(found.value)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_matlab(tmp_path: Path, compressed: bool, dtype: type) -> None:
    scipy_io = pytest.importorskip("scipy.io")
    content = {"info": "text", "feat": ARRAY.astype(dtype), "ids": np.arange(3), "cells": np.array([1, "a"], object)}
    scipy_io.savemat(tmp_path / "a.mat", content, do_compression=compressed)
    assert read_shape(tmp_path / "a.mat") == (5, 3)
    np.testing.assert_array_equal(read_array(tmp_path / "a.mat"), ARRAY)
    with pytest.raises(ValueError, match="floating point, found int64"):
        read_array(tmp_path / "a.mat", "ids")
    with pytest.raises(ValueError, match="no entry 'info', found 'feat', 'ids'"):
        read_array(tmp_path / "a.mat", "info")
    # Whole numbers are stored in fewer bytes than they have in MATLAB.
    scipy_io.savemat(tmp_path / "b.mat", {"x": np.array([[1.0, 2.0, 3.0]])})
    np.testing.assert_array_equal(read_array(tmp_path / "b.mat"), [[1, 2, 3]])


def test_matlab_7_3_is_hdf5_with_axes_exchanged(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
        file["feat"] = ARRAY.T
        file.create_group("#refs#")
    with (tmp_path / "a.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")
    np.testing.assert_array_equal(read_array(tmp_path / "a.mat"), ARRAY)


def _element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def _mat(*elements: bytes) -> bytes:
    return b"MATLAB 5.0".ljust(124) + struct.pack("<H", 256) + b"IM" + b"".join(elements)


def _matrix(shape: tuple[int, int], numbers: bytes) -> bytes:
    parts = (struct.pack("<II", 6, 0), struct.pack("<2i", *shape), b"x", numbers)
    return _element(14, b"".join(_element(kind, part) for kind, part in zip((6, 5, 1, 9), parts, strict=True)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no MATLAB file of version 5"),
        (b"x" * 200, "no MATLAB file of version 5"),
        (_mat(), "which of its entries|no entry|holds the features"),
        (_mat(_matrix((2**30, 2**30), bytes(16))), "has 2 numbers for the shape"),
        (_mat(_matrix((1, 2), bytes(16))[:40]), "truncated"),
        (_mat(struct.pack("<II", 14, 2**31)), "truncated"),
        (_mat(struct.pack("<II", 15, 4) + b"abcd"), "damaged"),
        (
            _mat(_element(15, zlib.compress(struct.pack("<II", 14, 2**31 - 1) + bytes(1000)))),
            "would take 2048 MB unpacked",
        ),
    ],
)
def test_matlab_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_array(tmp_path / "a.mat")


def _nested(folder: Path) -> None:
    for index, part in enumerate(("training", "validation")):
        (folder / part).mkdir()
        np.save(folder / part / f"v{index}.npy", ARRAY + index)


def _streams(folder: Path) -> None:
    for part in ("rgb", "flow"):
        (folder / part).mkdir()
        for index in range(2):
            np.save(folder / part / f"v{index}.npy", ARRAY + index + 10 * (part == "flow"))


def test_folders_of_splits_and_of_streams(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    _nested(tmp_path / "a")
    (tmp_path / "a" / "training" / "round").symlink_to(tmp_path / "a")
    store = open_store(tmp_path / "a")
    assert store.video_ids == ("v0", "v1")
    np.testing.assert_array_equal(store.load("v1"), ARRAY + 1)

    (tmp_path / "b").mkdir()
    _streams(tmp_path / "b")
    assert open_store(tmp_path / "b").names == ("flow/v0", "flow/v1", "rgb/v0", "rgb/v1")
    both = open_store(tmp_path / "b", prefix="rgb/+flow/")
    assert both.video_ids == ("v0", "v1") and both.dim == 6 and "v1" in both and both.length("v0") == 5
    np.testing.assert_array_equal(both.load("v1"), np.hstack((ARRAY + 1, ARRAY + 11)))
    each = open_features([tmp_path / "b" / "rgb", tmp_path / "b" / "flow"], {})
    np.testing.assert_array_equal(each.load("v1"), both.load("v1"))


def test_one_affix_for_each_path(tmp_path: Path) -> None:
    for part in ("rgb", "flow"):
        (tmp_path / part).mkdir()
        np.save(tmp_path / part / f"v0_{part}.npy", ARRAY + (part == "flow"))
    store = open_features([tmp_path / "rgb", tmp_path / "flow"], {"suffix": "_rgb+_flow"})
    np.testing.assert_array_equal(store.load("v0"), np.hstack((ARRAY, ARRAY + 1)))


def _npz(path: Path) -> None:
    np.savez(path, rgb=ARRAY, flow=ARRAY + 1)


def _pt(path: Path) -> None:
    torch.save({"rgb": torch.from_numpy(ARRAY), "flow": torch.from_numpy(ARRAY + 1)}, path)


@pytest.mark.parametrize(("name", "write"), [("v0.npz", _npz), ("v0.pt", _pt)])
def test_streams_of_one_file(tmp_path: Path, name: str, write: Callable[[Path], None]) -> None:
    write(tmp_path / name)
    expected = np.hstack((ARRAY, ARRAY + 1))
    np.testing.assert_array_equal(open_store(tmp_path, key="rgb+flow").load("v0"), expected)
    np.testing.assert_array_equal(rows_of_features(tmp_path / name, "rgb+flow").all(), expected)
    with pytest.raises(ValueError, match=r"--feature-key NAME .*NAME\+NAME puts several side by side"):
        open_store(tmp_path).load("v0")


def test_streams_of_different_lengths_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "v0.npz", rgb=ARRAY, flow=np.zeros((20, 3), np.float32))
    for read in (
        lambda: open_store(tmp_path, key="rgb+flow").load("v0"),
        lambda: rows_of_features(tmp_path / "v0.npz", "rgb+flow"),
    ):
        with pytest.raises(ValueError, match=r"give \[5, 20\] feature vectors"):
            read()


@pytest.mark.parametrize(
    ("places", "options", "names"),
    [
        (["v0", "v1"], {}, ("v0", "v1")),
        (["v0/feats", "v1/feats"], {}, ("v0", "v1")),
        (["v0/other", "v1/other"], {}, ("v0", "v1")),
        (["training/v0", "validation/v1"], {}, ("v0", "v1")),
        (["features/v0", "features/v1"], {}, ("v0", "v1")),
        (["v0/rgb", "v0/flow", "v1/rgb", "v1/flow"], {"key": "rgb"}, ("v0", "v1")),
        (["v0/rgb", "v0/flow", "v1/rgb", "v1/flow"], {"key": "rgb+flow"}, ("v0", "v1")),
        ([f"{part}/v{i}" for part in ("rgb", "flow") for i in range(3)], {"prefix": "rgb/"}, ("v0", "v1", "v2")),
        ([f"{part}/v{i}" for part in ("rgb", "flow") for i in range(3)], {"prefix": "rgb/+flow/"}, ("v0", "v1", "v2")),
    ],
)
def test_groups_of_hdf5(tmp_path: Path, places: list[str], options: dict[str, str], names: tuple[str, ...]) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for place in places:
            file[place] = ARRAY + ("flow" in place)
    store = open_store(tmp_path / "a.h5", **options)
    assert store.video_ids == names
    both = any("+" in text for text in options.values())
    np.testing.assert_array_equal(store.load("v1"), np.hstack((ARRAY, ARRAY + 1)) if both else ARRAY)
