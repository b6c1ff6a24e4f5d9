# SPDX-License-Identifier: Apache-2.0
"""Recordings larger than memory: of a training crop as much is read as the crop has, of a check one part at a time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest

from asl_fast.data.annotations.video import Video
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.check import count_steps
from asl_fast.data.features.folder_store import FolderFeatureStore
from asl_fast.data.features.hdf5_store import Hdf5FeatureStore
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.packed_store import PackedFeatureStore
from asl_fast.data.features.packing import pack_features
from asl_fast.data.features.rows import PART_STEPS
from asl_fast.data.features.store import FeatureStore, InMemoryFeatureStore
from benchmarks.memory import peak_bytes

STEPS, DIM = 1 << 17, 64  # 34 MB
MOST_BYTES = 10_000_000
LAYOUT = FeatureManifest("long", DIM, 1, 1, fps=1)
STARTS = np.arange(0, STEPS - 40, 400.0)
VIDEO = Video("a", "train", float(STEPS), np.stack([STARTS, STARTS + 30], 1), np.zeros(len(STARTS), np.int64), 1.0)
FEATURES = (np.arange(STEPS * DIM) % 2039).reshape(STEPS, DIM).astype(np.float32)  # float16 has these numbers, too


def npy(folder: Path, dtype: str = "float32") -> FeatureStore:
    np.save(folder / "a.npy", FEATURES.astype(dtype))
    return FolderFeatureStore(folder)


def transposed(folder: Path) -> FeatureStore:
    np.save(folder / "a.npy", np.ascontiguousarray(FEATURES.T))
    return FolderFeatureStore(folder, transposed=True)


def packed(folder: Path, dtype: str = "float32") -> FeatureStore:
    pack_features(InMemoryFeatureStore({"a": FEATURES}), ["a"], folder / "packed", dtype=dtype)
    return PackedFeatureStore(folder / "packed")


def hdf5(folder: Path, transposed: bool = False) -> FeatureStore:
    with h5py.File(folder / "all.h5", "w") as file:
        file["a"] = FEATURES.T if transposed else FEATURES
    return Hdf5FeatureStore(folder / "all.h5", transposed=transposed)


STORES: dict[str, Callable[[Path], FeatureStore]] = {
    "npy": npy,
    "npy float16": partial(npy, dtype="float16"),
    "npy transposed": transposed,
    "packed": packed,
    "packed float16": partial(packed, dtype="float16"),
    "hdf5": hdf5,
    "hdf5 transposed": partial(hdf5, transposed=True),
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory on the CPU is measured on Linux only")
@pytest.mark.parametrize("kind", STORES)
def test_a_crop_reads_what_it_has(tmp_path: Path, kind: str) -> None:
    store = STORES[kind](tmp_path)
    assert store.dim == DIM  # which looks at the file for the first time
    # Of a transposed map the system keeps what lies between the rows as well, for as long as it has the memory.
    most = np.inf if kind == "npy transposed" else MOST_BYTES
    assert peak_bytes(lambda: count_steps(VIDEO, store, LAYOUT, verify=True), "cpu") < most
    assert count_steps(VIDEO, store, LAYOUT, verify=True) == STEPS
    dataset = DetectionDataset([VIDEO], store, LAYOUT, training=True, max_length=512)
    assert len(dataset[0].features) == 512  # modules are imported with the first sample
    dataset.set_epoch(1)
    assert peak_bytes(lambda: dataset[0], "cpu") < most / 4

    # It is the crop that is cut out of the whole.
    expected = DetectionDataset([VIDEO], InMemoryFeatureStore({"a": FEATURES}), LAYOUT, training=True, max_length=512)
    expected.set_epoch(1)
    np.testing.assert_array_equal(dataset[0].features, expected[0].features)
    np.testing.assert_array_equal(dataset[0].segments, expected[0].segments)
    assert len(dataset[0].segments)


def test_what_is_wrong_with_a_part_names_file_and_step(tmp_path: Path) -> None:
    array = np.zeros((2 * PART_STEPS, 3), np.float32)
    array[PART_STEPS + 7, 1] = np.nan
    np.save(tmp_path / "a.npy", array)
    store = FolderFeatureStore(tmp_path)
    wanted = rf"a\.npy: value nan at step {PART_STEPS + 7}, channel 1"
    layout = FeatureManifest("short", 3, 1, 1, fps=1)
    with pytest.raises(ValueError, match=wanted):
        count_steps(VIDEO, store, layout, verify=True)
    assert count_steps(VIDEO, store, layout, verify=False) == 2 * PART_STEPS
    np.save(tmp_path / "a.npy", np.float32(1))
    with pytest.raises(ValueError, match=r"a\.npy: features must be \(T, D\) with T, D > 0, got shape \(\)"):
        store.rows("a")
