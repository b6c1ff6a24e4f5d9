# SPDX-License-Identifier: Apache-2.0
"""Raw recordings larger than memory: a crop reads its own samples, and is that of the features made all at once."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data import transform as transform_module
from asl_fast.data.channels import ChannelGroup, Preparation
from asl_fast.data.custom.signals import SignalReading, open_own_signals
from asl_fast.data.signals.mapped_store import MappedSignalStore
from asl_fast.data.transform import FeatureTransform
from benchmarks.memory import peak_bytes

HAND = (ChannelGroup("scalar", 1), ChannelGroup("skeleton", 6))


def recording(folder: Path, samples: int, width: int = 7) -> np.ndarray:
    array = np.random.default_rng(samples).standard_normal((samples, width), dtype=np.float32)
    np.save(folder / f"r{samples}.npy", array)
    return array


@pytest.mark.parametrize("preparation", [None, *(Preparation(HAND, centre, True) for centre in ("none", "joint"))])
@pytest.mark.parametrize("samples", [1, 2, 9, 200])
def test_any_part_is_that_of_the_whole(tmp_path: Path, preparation: Preparation | None, samples: int) -> None:
    raw = recording(tmp_path, samples)
    transform = FeatureTransform.fit([raw], 4, preparation, clip_sd=2.0)
    store = MappedSignalStore({"a": tmp_path / f"r{samples}.npy"}, {"a": samples}, transform)
    whole = transform(raw)
    assert store.length("a") == len(whole) == -(-samples // 4) and store.dim == whole.shape[1]
    for start in range(len(whole)):
        for stop in {start + 1, min(start + 3, len(whole)), len(whole)}:
            np.testing.assert_array_equal(store.rows("a").read(start, stop), whole[start:stop])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).load("a"), whole)


def test_a_recording_is_fitted_to_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    signals = [np.random.default_rng(i).standard_normal((50 + i, 7)) for i in range(3)]
    expected = FeatureTransform.fit(signals, 2, Preparation(HAND, "recording", True))
    monkeypatch.setattr(transform_module, "_PART_BYTES", 8 * 13 * 16)
    found = FeatureTransform.fit(signals, 2, Preparation(HAND, "recording", True))
    np.testing.assert_allclose(found.mean, expected.mean, atol=1e-12)
    np.testing.assert_allclose(found.std, expected.std, rtol=1e-12)


def own_data(folder: Path, lengths: list[int], rate: float = 50.0) -> Path:
    (folder / "signals").mkdir()
    database = {}
    for number, samples in enumerate(lengths):
        recording(folder / "signals", samples)
        actions = [{"segment": [second, second + 2.0], "label": "a"} for second in range(1, int(samples / rate) - 3, 8)]
        subset = "training" if number % 2 == 0 else "testing"
        database[f"r{samples}"] = {"duration": samples / rate, "subset": subset, "annotations": actions}
    (folder / "own.json").write_text(json.dumps({"database": database}))
    return folder / "own.json"


def test_own_recordings_in_arrays_stay_in_their_files(tmp_path: Path) -> None:
    annotations, reading = own_data(tmp_path, [1500, 1600, 1701]), SignalReading(rate_hz=50.0, samples_per_step=3)
    mapped = open_own_signals(annotations, tmp_path / "signals", reading=reading).source
    assert isinstance(mapped.store, MappedSignalStore)
    assert mapped.store.source_files("r1500") == (tmp_path / "signals" / "r1500.npy",)
    expected = {name: mapped.store.load(name) for name in mapped.store.video_ids}
    assert list(expected) == ["r1500", "r1600", "r1701"]
    # In float64 they have to be converted, which is done once for all.
    for path in (tmp_path / "signals").iterdir():
        np.save(path, np.load(path).astype(np.float64))
    held = open_own_signals(annotations, tmp_path / "signals", reading=reading).source
    assert not isinstance(held.store, MappedSignalStore)
    for name, features in expected.items():
        np.testing.assert_array_equal(held.store.load(name), features)
    np.save(tmp_path / "signals" / "r1500.npy", np.zeros((3, 7), np.float32))
    with pytest.raises(ValueError, match=r"r1500\.npy has changed: it had 1500 samples, now \(3, 7\)"):
        mapped.store.load("r1500")
    with pytest.raises(KeyError, match="no recording 'x'"):
        mapped.store.length("x")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory on the CPU is measured on Linux only")
def test_training_holds_the_crop_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform_module, "_PART_BYTES", 1 << 21)
    annotations = own_data(tmp_path, [1_500_000, 5000, 900_000])  # 42 and 25 MB, of float64 twice as many
    reading = SignalReading(rate_hz=50.0, samples_per_step=4)

    def opened() -> MappedSignalStore:
        store = open_own_signals(annotations, tmp_path / "signals", reading=reading).source.store
        assert isinstance(store, MappedSignalStore)
        return store

    store = opened()
    # Pages of an open map, which the system may take back at any time, are all that grows with the recordings.
    assert peak_bytes(opened, "cpu") < 100_000_000
    read = store.rows("r1500000").read
    assert peak_bytes(lambda: read(200_000, 200_512), "cpu") < 6_000_000
