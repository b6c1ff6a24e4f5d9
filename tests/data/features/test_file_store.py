# SPDX-License-Identifier: Apache-2.0
"""Feature files of every format, whole and damaged."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from asl_fast.data.features.array_files import read_array, read_shape, squeezed
from asl_fast.data.features.concatenated_store import ConcatenatedFeatureStore
from asl_fast.data.features.folder_store import FolderFeatureStore
from asl_fast.data.features.hdf5_store import Hdf5FeatureStore
from asl_fast.data.features.opening import open_store
from asl_fast.data.features.store import FeatureStore, InMemoryFeatureStore

h5py = pytest.importorskip("h5py")
FEATURES = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)


def write_h5(path: Path, values: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["features"] = values


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    ".npy": np.save,
    ".npz": lambda path, values: np.savez(path, feats=values),
    ".pt": lambda path, values: torch.save(torch.from_numpy(values), path),
    ".h5": write_h5,
}
each_format = pytest.mark.parametrize("extension", sorted(WRITERS))


def folder_of(path: Path, extension: str, values: np.ndarray = FEATURES, count: int = 2) -> Path:
    path.mkdir(exist_ok=True)
    for index in range(count):
        WRITERS[extension](path / f"video{index}{extension}", values)
    return path


@each_format
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_formats_and_precisions(tmp_path: Path, extension: str, dtype: type) -> None:
    store = FolderFeatureStore(folder_of(tmp_path, extension, FEATURES.astype(dtype)))
    assert isinstance(store, FeatureStore)
    assert store.dim == 4 and store.length("video1") == 7 and store.video_ids == ("video0", "video1")
    assert "video0" in store and "video2" not in store
    found = store.load("video0")
    assert found.dtype == np.float32 and found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, FEATURES.astype(dtype).astype(np.float32))


@each_format
def test_missing_file_is_named(tmp_path: Path, extension: str) -> None:
    store = FolderFeatureStore(folder_of(tmp_path, extension))
    for call in (store.load, store.length):
        with pytest.raises(FileNotFoundError, match=rf"'gone'.*gone\{extension} does not exist"):
            call("gone")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_array(tmp_path / f"gone{extension}")
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_shape(tmp_path / f"gone{extension}")


@each_format
@pytest.mark.parametrize("share", [0.0, 0.3, 0.97])
def test_truncated_file_is_named(tmp_path: Path, extension: str, share: float) -> None:
    big = np.random.default_rng(1).normal(size=(300, 4)).astype(np.float32)
    file = folder_of(tmp_path, extension, big) / f"video1{extension}"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    store = FolderFeatureStore(tmp_path, dim=4)
    with pytest.raises(ValueError, match=rf"video1\{extension}"):
        store.load("video1")


def test_truncation_of_npy_is_seen_in_the_header(tmp_path: Path) -> None:
    file = folder_of(tmp_path, ".npy") / "video1.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"video1\.npy: truncated, 239 bytes of the 240"):
        FolderFeatureStore(tmp_path).length("video1")


def test_flipped_bytes_in_a_compressed_file(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", feats=np.random.default_rng(0).normal(size=(200, 4)))
    data = bytearray((tmp_path / "a.npz").read_bytes())
    data[1000:1100] = bytes(100)
    (tmp_path / "a.npz").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.npz cannot be read"):
        read_array(tmp_path / "a.npz")


@each_format
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite(tmp_path: Path, extension: str, bad: float) -> None:
    values = FEATURES.copy()
    values[5, 2] = bad
    store = FolderFeatureStore(folder_of(tmp_path, extension, values))
    with pytest.raises(ValueError, match=rf"video0\{extension}: value {bad} at step 5, channel 2"):
        store.load("video0")


@each_format
def test_wrong_width(tmp_path: Path, extension: str) -> None:
    store = FolderFeatureStore(folder_of(tmp_path, extension), dim=5)
    for call in (store.load, store.length):
        with pytest.raises(ValueError, match=rf"video0\{extension}: features have width 4, expected 5$"):
            call("video0")


@each_format
def test_transposed_files(tmp_path: Path, extension: str) -> None:
    folder = folder_of(tmp_path, extension, np.ascontiguousarray(FEATURES.T))
    store = FolderFeatureStore(folder, dim=4)
    for call in (store.load, store.length):
        with pytest.raises(ValueError, match="it looks transposed"):
            call("video0")
    store = FolderFeatureStore(folder, transposed=True)
    assert store.dim == 4 and store.length("video0") == 7
    np.testing.assert_array_equal(store.load("video0"), FEATURES)


@each_format
@pytest.mark.parametrize("shape", [(7, 1, 1, 4), (1, 7, 4), (7, 1, 4)])
def test_dimensions_of_size_one(tmp_path: Path, extension: str, shape: tuple[int, ...]) -> None:
    store = FolderFeatureStore(folder_of(tmp_path, extension, FEATURES.reshape(shape)))
    assert store.dim == 4 and store.length("video0") == 7
    np.testing.assert_array_equal(store.load("video0"), FEATURES)


@pytest.mark.parametrize(
    ("shape", "expected"), [((1, 1, 4), (1, 4)), ((1, 4), (1, 4)), ((7, 1), (7, 1)), ((2, 3, 4), (2, 3, 4)), ((), ())]
)
def test_squeezed(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert squeezed(shape) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((0, 4), np.float32), r"got shape \(0, 4\)"),
        (np.zeros(4, np.float32), r"got shape \(4,\)"),
        (np.zeros((2, 3, 4), np.float32), r"got shape \(2, 3, 4\)"),
        (np.zeros((2, 4), np.int64), "must be floating point, found int64"),
        (np.zeros((2, 4), np.complex64), "must be floating point, found complex64"),
    ],
)
def test_other_arrays(tmp_path: Path, values: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(ValueError, match=message):
        FolderFeatureStore(tmp_path, dim=4).load("a")


def test_no_code_is_run_from_pickles(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a\.npy: holds Python objects"):
        read_array(tmp_path / "a.npy")
    torch.save({"model": Path("x")}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: cannot be read as tensors alone"):
        read_array(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps([1, 2], protocol=2))
    with pytest.raises(ValueError, match=r"b\.pt"):
        read_array(tmp_path / "b.pt")


def test_entries_of_files_that_hold_several(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", rgb=FEATURES, flow=-FEATURES)
    with pytest.raises(ValueError, match=r"a\.npz: which of its entries.*'rgb', 'flow'"):
        read_array(tmp_path / "a.npz")
    np.testing.assert_array_equal(read_array(tmp_path / "a.npz", "flow"), -FEATURES)
    assert read_shape(tmp_path / "a.npz", "flow") == (7, 4)
    with pytest.raises(ValueError, match=r"no entry 'depth', found 'rgb', 'flow'"):
        read_shape(tmp_path / "a.npz", "depth")
    torch.save({"features": torch.from_numpy(FEATURES), "frames": torch.zeros(7)}, tmp_path / "a.pt")
    np.testing.assert_array_equal(read_array(tmp_path / "a.pt"), FEATURES)
    torch.save({"features": 3}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match="holds a int, not a tensor"):
        read_array(tmp_path / "b.pt")


def test_bfloat16_tensor(tmp_path: Path) -> None:
    torch.save(torch.from_numpy(FEATURES).bfloat16(), tmp_path / "a.pt")
    np.testing.assert_array_equal(read_array(tmp_path / "a.pt"), torch.from_numpy(FEATURES).bfloat16().float().numpy())


def test_prefix_and_suffix(tmp_path: Path) -> None:
    np.save(tmp_path / "v_abc_rgb.npy", FEATURES)
    store = FolderFeatureStore(tmp_path, prefix="v_", suffix="_rgb")
    assert store.video_ids == ("abc",)
    np.testing.assert_array_equal(store.load("abc"), FEATURES)
    with pytest.raises(FileNotFoundError, match=r"v_abc_rgb\.npy is there: see --feature-prefix"):
        FolderFeatureStore(tmp_path).load("abc")


def test_ids_with_dots_and_upper_case_extensions(tmp_path: Path) -> None:
    np.save(tmp_path / "clip.v2.npy", FEATURES)
    assert FolderFeatureStore(tmp_path).length("clip.v2") == 7


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        FolderFeatureStore(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="holds no"):
        FolderFeatureStore(tmp_path)
    folder_of(tmp_path, ".npy")
    folder_of(tmp_path, ".pt")
    with pytest.raises(ValueError, match="choose with --feature-extension"):
        FolderFeatureStore(tmp_path)
    assert FolderFeatureStore(tmp_path, extension=".pt").length("video0") == 7
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match="unknown format"):
        read_array(tmp_path / "a.txt")


class TestHdf5:
    """One file for all videos."""

    def store(self, path: Path, **options: object) -> Hdf5FeatureStore:
        with h5py.File(path / "all.h5", "w") as file:
            file["a"] = FEATURES
            file["b/features"] = FEATURES[:3]
            file["b/length"] = np.zeros(1)
        return Hdf5FeatureStore(path / "all.h5", **options)  # type: ignore[arg-type]

    def test_read(self, tmp_path: Path) -> None:
        store = self.store(tmp_path)
        assert isinstance(store, FeatureStore)
        assert (store.dim, store.length("a"), store.length("b"), store.video_ids) == (4, 7, 3, ("a", "b"))
        np.testing.assert_array_equal(store.load("b"), FEATURES[:3])
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).load("a"), FEATURES)
        assert isinstance(open_store(tmp_path / "all.h5"), Hdf5FeatureStore)

    def test_errors(self, tmp_path: Path) -> None:
        store = self.store(tmp_path, dim=5)
        with pytest.raises(FileNotFoundError, match=r"'c'.*all\.h5 has no such entry"):
            store.load("c")
        for call in (store.load, store.length):
            with pytest.raises(ValueError, match=r"all\.h5, entry 'a': features have width 4, expected 5"):
                call("a")
        with pytest.raises(ValueError, match=r"all\.h5, entry 'b': no entry 'rgb'"):
            self.store(tmp_path, key="rgb").load("b")
        with pytest.raises(FileNotFoundError, match=r"'b' is there: see --feature-prefix"):
            self.store(tmp_path, prefix="v_").load("b")

    def test_bad_files(self, tmp_path: Path) -> None:
        self.store(tmp_path)
        data = (tmp_path / "all.h5").read_bytes()
        (tmp_path / "cut.h5").write_bytes(data[: len(data) // 2])
        with pytest.raises(ValueError, match=r"cut\.h5 is not a complete HDF5 file"):
            Hdf5FeatureStore(tmp_path / "cut.h5")
        with pytest.raises(FileNotFoundError, match="does not exist"):
            Hdf5FeatureStore(tmp_path / "gone.h5")
        h5py.File(tmp_path / "empty.h5", "w").close()
        with pytest.raises(ValueError, match="holds no entries"):
            Hdf5FeatureStore(tmp_path / "empty.h5")

    def test_without_h5py(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store(tmp_path)
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(ImportError, match="pip install h5py"):
            Hdf5FeatureStore(tmp_path / "all.h5")


def test_open_store(tmp_path: Path) -> None:
    assert isinstance(open_store(folder_of(tmp_path / "f", ".npy")), FolderFeatureStore)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        open_store(tmp_path / "gone")
    with pytest.raises(ValueError, match=r"must be \.h5"):
        open_store(tmp_path / "f" / "video0.npy")


class TestConcatenated:
    """Several extractors."""

    def test_cut_to_the_shortest(self) -> None:
        stores = [
            InMemoryFeatureStore({"a": FEATURES}),
            InMemoryFeatureStore({"a": FEATURES[:6, :2], "b": FEATURES[:, :2]}),
        ]
        both = ConcatenatedFeatureStore(stores)
        assert isinstance(both, FeatureStore)
        assert both.dim == 6 and both.length("a") == 6 and "a" in both and "b" not in both
        np.testing.assert_array_equal(both.load("a"), np.concatenate([FEATURES[:6], FEATURES[:6, :2]], axis=1))

    def test_lengths_too_far_apart(self) -> None:
        stores = [InMemoryFeatureStore({"a": FEATURES}), InMemoryFeatureStore({"a": FEATURES[:2]})]
        for call in (ConcatenatedFeatureStore(stores).load, ConcatenatedFeatureStore(stores).length):
            with pytest.raises(ValueError, match=r"'a': the extractors give \[7, 2\] feature vectors"):
                call("a")
        assert ConcatenatedFeatureStore(stores, tolerance=5).length("a") == 2

    def test_none(self) -> None:
        with pytest.raises(ValueError, match="no stores"):
            ConcatenatedFeatureStore([])


class TestInMemory:
    """Features that were computed, not read."""

    def test_read(self) -> None:
        store = InMemoryFeatureStore({"a": FEATURES.T[:, ::2].T.astype(np.float64), "b": FEATURES})
        assert store.dim == 4 and store.length("a") == 4 and store.load("a").dtype == np.float32

    @pytest.mark.parametrize("values", [np.zeros((2, 3)), np.zeros((0, 4)), np.zeros(4), np.full((2, 4), np.nan)])
    def test_bad_values(self, values: np.ndarray) -> None:
        with pytest.raises(ValueError, match="video 'b'"):
            InMemoryFeatureStore({"a": FEATURES, "b": values})

    def test_missing(self) -> None:
        with pytest.raises(KeyError, match="'b'"):
            InMemoryFeatureStore({"a": FEATURES}).load("b")
        with pytest.raises(ValueError, match="no videos"):
            InMemoryFeatureStore({})
