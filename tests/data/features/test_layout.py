# SPDX-License-Identifier: Apache-2.0
"""Arrays that lie the other way round: found out and said, or told by the manifest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from asl_fast.check_data import main as check_data
from asl_fast.data.custom.data import open_own_data
from asl_fast.data.features.array_files import read_array
from asl_fast.data.features.folder_store import FolderFeatureStore
from asl_fast.data.features.hdf5_store import Hdf5FeatureStore
from asl_fast.data.features.manifest_file import read_manifest
from tests.own_recordings import write_recordings

RNG = np.random.default_rng(0)
ARRAYS = {f"v{index}": RNG.normal(size=(9 + index, 4)).astype(np.float32) for index in range(3)}


def test_the_layout_is_found_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "f").mkdir()
    for name, array in ARRAYS.items():
        np.save(tmp_path / "f" / f"{name}.npy", array.T)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        for name, array in ARRAYS.items():
            file[name] = array.T[None]
    for store in (FolderFeatureStore(tmp_path / "f"), Hdf5FeatureStore(tmp_path / "all.h5")):
        assert store.transposed and store.dim == 4 and store.length("v1") == 10
        np.testing.assert_array_equal(store.load("v2"), ARRAYS["v2"])
        assert caplog.text.count("all arrays have 4 rows and differ in their columns, so they are read as") == 1
        caplog.clear()
    assert not FolderFeatureStore(tmp_path / "f", transposed=False).transposed and not caplog.text


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((73, 64, 1, 1), (73, 64)), ((73, 64, 1), (73, 64)), ((1, 73, 64, 1, 1), (73, 64)), ((1, 64, 1, 1), (1, 64))],
)
def test_dimensions_that_pooling_leaves(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.float32))
    assert read_array(tmp_path / "a.npy").shape == expected


@pytest.mark.parametrize("told", [False, True])
def test_own_data_of_channels_by_time(tmp_path: Path, told: bool, capsys: pytest.CaptureFixture[str]) -> None:
    annotations, features = write_recordings(tmp_path)
    straight = open_own_data(annotations, [features])
    expected = straight.source.store.load("clip03")
    for file in features.iterdir():
        np.save(file, np.load(file).T)
    manifest = tmp_path / "layout.json"
    manifest.write_text(json.dumps({"stride_frame": 8, "window_frame": 16, "prefix": "v_", "layout": "CT"}))
    turned = open_own_data(annotations, [features], manifest=str(manifest) if told else None)
    assert turned.steps == straight.steps and turned.source.store.dim == 8 and turned.source.layout.layout == "CT"
    np.testing.assert_array_equal(turned.source.store.load("clip03"), expected)
    words = ["--annotations", str(annotations), "--features", str(features)]
    assert check_data([*words, *(["--manifest", str(manifest)] if told else [])]) == 0
    assert "features of width 8" in capsys.readouterr().out


def test_other_layouts_are_refused(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"stride_frame": 8, "dim": 4, "layout": "NCT"}')
    with pytest.raises(ValueError, match=r"m\.json: .*layout must be TC \(time, channels\) or CT"):
        read_manifest(tmp_path / "m.json")


def test_arrays_of_one_shape_may_lie_either_way(tmp_path: Path) -> None:
    annotations, features = write_recordings(tmp_path)
    for file in features.iterdir():
        np.save(file, np.ones((64, 100), np.float32))
    words = " ".join(map(str, open_own_data(annotations, [features]).decisions))
    assert "all arrays are (time, channels) = (64, 100); --layout CT if it is the other way" in words


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pkl", "1 .pkl file; pickles can run"),
        ("a.mp4", "asl_fast.extract makes them"),
        ("a.txt", "name them .csv"),
        ("b/a.txt", "holds no .npy"),
    ],
)
def test_folders_of_other_files_say_what_to_do(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(FileNotFoundError, match=message):
        FolderFeatureStore(tmp_path)
