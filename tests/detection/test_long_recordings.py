# SPDX-License-Identifier: Apache-2.0
"""``detect`` on recordings that are longer than what is looked at in one pass."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.features.packing import pack_features
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.detect import main
from asl_fast.detection.trained import TrainedDetector, load_trained
from asl_fast.evaluation.activitynet_json import SegmentFile, read_detections
from asl_fast.models import windows
from asl_fast.models.config import DetectorConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.training import inference
from asl_fast.training.inference import one_pass_bytes
from asl_fast.training.run_folder import RunFolder
from tests.training.tiny import finished_run, tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
STEPS, DIM = 700, 6


@pytest.fixture(scope="module")
def bundle() -> DatasetBundle:
    return tiny_bundle()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bundle: DatasetBundle) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("run"), bundle)


@pytest.fixture
def short_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the tiny detector take a recording of some hundred steps for a long one."""
    monkeypatch.setattr(windows, "CORE_GRID", 64)


def features() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((STEPS, DIM)).astype(np.float32)


def detect(run: RunFolder, folder: Path, *words: str) -> SegmentFile:
    output = folder / "out.json"
    assert main(["--run", str(run.path), "--output", str(output), *words]) == 0
    return read_detections(output, strict=True)


def assert_same(found: SegmentFile, expected: SegmentFile) -> None:
    """Expect the same detections, in an order that rounding does not change."""
    one, two = (
        sorted(zip(c["labels"].tolist(), c["scores"].tolist(), c["segments"].tolist(), strict=True), key=str)
        for c in (found.columns, expected.columns)
    )
    assert len(one) == len(two) > 0
    by_time = [sorted((label, *segment, score) for label, score, segment in rows) for rows in (one, two)]
    for (label, *numbers), (other, *others) in zip(*by_time, strict=True):
        assert label == other
        assert numbers == pytest.approx(others, rel=1e-4, abs=1e-3)


@pytest.mark.parametrize("kind", ["npy", "transposed", "npz", "h5", "packed", "side by side"])
def test_windows_read_parts_of_every_kind_of_file(
    run: RunFolder, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    array, folder = features(), tmp_path / "features"
    folder.mkdir()
    words: list[str] = []
    if kind == "npy":
        np.save(folder / "long.npy", array.astype(np.float64))
    elif kind == "transposed":
        np.save(folder / "long.npy", array.T)
        words = ["--layout", "CT"]
    elif kind == "npz":
        np.savez(folder / "long.npz", features=array)
    elif kind == "h5":
        folder = folder / "all.h5"
        with pytest.importorskip("h5py").File(folder, "w") as file:
            file["long"] = array
    elif kind == "packed":
        pack_features(InMemoryFeatureStore({"long": array}), ["long"], folder / "packed")
        folder = folder / "packed"
    paths = [folder]
    if kind == "side by side":
        paths = [folder / "left", folder / "right"]
        for path, part in zip(paths, (array[:, :2], array[:-1, 2:]), strict=True):
            path.mkdir()
            np.save(path / "long.npy", part)
    words = ["--features", *map(str, paths), *words]
    whole = detect(run, tmp_path, *words)
    request.getfixturevalue("short_windows")
    assert_same(detect(run, tmp_path, *words), whole)


def test_a_batch_with_a_long_sample_gives_the_same(
    run: RunFolder, bundle: DatasetBundle, request: pytest.FixtureRequest
) -> None:
    trained = load_trained(run.path)
    samples = [bundle.test[0], replace(bundle.test[1], features=torch.from_numpy(features()), duration_sec=700.0)]
    before = [found for _, found in trained.detect(samples)]
    request.getfixturevalue("short_windows")
    after = [found for _, found in trained.detect(samples)]
    for one, two in zip(after, before, strict=True):
        assert len(one.scores) == len(two.scores) > 0
        torch.testing.assert_close(one.scores.sort().values, two.scores.sort().values, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("short_windows")
def test_a_value_that_cannot_be_used_is_found_in_its_window_and_costs_its_recording(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    array = features()
    np.save(folder / "good.npy", array)
    array[501, 2] = np.nan
    np.save(folder / "bad.npy", array)
    assert detect(run, tmp_path, "--features", str(folder)).videos == ("good",)
    err = capsys.readouterr().err
    assert "1 of 2 recordings" in err and "bad.npy: value nan at step 501, channel 2" in err


def test_full_attention_says_what_it_would_need(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = load_trained(run.path)
    full = replace(trained.config.model, attention_windows=(0,))
    detector = ActionDetector(full).eval()
    monkeypatch.setattr(
        "asl_fast.detection.trained.load_trained",
        lambda *_, **__: TrainedDetector(detector, trained.config, trained.dataset, 1, trained.path),
    )
    monkeypatch.setattr(inference, "free_memory_of", lambda device: one_pass_bytes(full, STEPS) - 1)
    np.save(tmp_path / "long.npy", features())
    words = ["--run", str(run.path), "--features", str(tmp_path / "long.npy"), "--output", str(tmp_path / "out.json")]
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "long: the detector has a level of full attention" in err and "GB of memory" in err
    monkeypatch.setattr(inference, "free_memory_of", lambda device: None)
    assert main(words) == 0


def test_the_need_of_one_pass_grows_with_length_and_width() -> None:
    config = DetectorConfig(feature_dim=2048, num_classes=20, attention_windows=(0,))
    assert one_pass_bytes(config, 5_000_000) > 200e9 > one_pass_bytes(config, 100_000) > 1e9


MEASURE = """
import resource, sys
import numpy as np
from asl_fast.detect import main
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
folder, run, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
assert main(["--run", run, "--features", folder + "/short.npy", "--output", folder + "/short.json"]) == 0
before = peak()
assert main(["--run", run, "--features", folder + "/long.npy", "--output", folder + "/long.json"]) == 0
print("grown", peak() - before, peak())
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak memory as Linux counts it")
def test_memory_does_not_grow_with_the_length(run: RunFolder, tmp_path: Path) -> None:
    """A recording of five million steps, 120 MB, is looked at with a few MB more than one of 16,000."""
    steps = int(os.environ.get("ASL_FAST_LONG_STEPS", "5000000"))
    generator = np.random.default_rng(0)
    np.save(tmp_path / "short.npy", generator.standard_normal((16_000, DIM)).astype(np.float32))
    values = np.lib.format.open_memmap(tmp_path / "long.npy", "w+", np.float32, (steps, DIM))
    for start in range(0, steps, 1 << 20):
        part = values[start : start + (1 << 20)]
        part[:] = generator.standard_normal(part.shape)
    del values
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", MEASURE, str(tmp_path), str(run.path), str(steps)]
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    grown_mb, peak_mb = map(int, done.stdout.split("grown")[1].split())
    assert grown_mb < 40 and peak_mb < 1500, done.stdout
