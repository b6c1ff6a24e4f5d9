# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.detect`` on feature files of every format and on raw recordings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.datasets.hapt import read_signals
from asl_fast.detect import main
from asl_fast.detection.trained import load_trained
from asl_fast.evaluation.activitynet_json import SegmentFile, read_detections
from asl_fast.train import main as train_main
from asl_fast.training.run_folder import RunFolder
from tests.shared import shared_file
from tests.training.tiny import TINY_OPTIONS, finished_run, small_hapt, tiny_bundle


@pytest.fixture(scope="module")
def bundle() -> DatasetBundle:
    return tiny_bundle()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, bundle: DatasetBundle) -> RunFolder:
    """Make a run on the tiny data set, with the files that training leaves."""
    return finished_run(tmp_path_factory.mktemp("run"), bundle)


@pytest.fixture
def features(tmp_path: Path, bundle: DatasetBundle) -> Path:
    """Write the test videos' features, one .npy each."""
    folder = tmp_path / "features"
    folder.mkdir()
    for video in bundle.test.videos:
        np.save(folder / f"{video.id}.npy", bundle.test.store.load(video.id))
    return folder


def detect(run: RunFolder, output: Path, *words: str) -> SegmentFile:
    """Read the detections that the command writes."""
    assert main(["--run", str(run.path), "--output", str(output), *words]) == 0
    return read_detections(output, strict=True)


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line that a refused command prints."""
    try:
        status = main(words)
    except SystemExit as stop:
        status = stop.code
    err = capsys.readouterr().err
    assert status == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def assert_same(found: SegmentFile, expected: SegmentFile) -> None:
    """Expect the same detections; scores within the rounding that another padding brings."""
    for name in ("video", "labels"):
        np.testing.assert_array_equal(found.columns[name], expected.columns[name])
    np.testing.assert_allclose(found.columns["scores"], expected.columns["scores"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.columns["segments"], expected.columns["segments"], rtol=1e-4, atol=1e-4)


def test_detections_are_those_of_training(
    run: RunFolder, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = detect(run, tmp_path / "out.json", "--features", str(features))
    assert_same(found, read_detections(run.detections))
    assert set(found.columns["labels"]) <= {"class 0", "class 1"}
    out = capsys.readouterr().out
    assert "detections in 3 recordings (120 s)" in out
    assert "trained on synthetic data" in out
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["external_data"]["checkpoint"] == str(run.last)


@pytest.mark.parametrize("batch_size", ["1", "2"])
def test_batch_size_does_not_matter(run: RunFolder, features: Path, tmp_path: Path, batch_size: str) -> None:
    found = detect(run, tmp_path / "out.json", "--features", str(features), "--batch-size", batch_size)
    assert set(found.videos) == {"video6", "video7", "video8"}
    assert len(found.columns["scores"]) == len(read_detections(run.detections).columns["scores"])


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "h5"])
def test_every_format(run: RunFolder, bundle: DatasetBundle, tmp_path: Path, kind: str) -> None:
    video = bundle.test.videos[0]
    array = bundle.test.store.load(video.id)
    path = tmp_path / f"{video.id}.{kind}"
    if kind == "npy":
        np.save(path, array)
    elif kind == "npz":
        np.savez(path, feats=array)
    elif kind == "pt":
        torch.save(torch.from_numpy(array), path)
    else:
        with pytest.importorskip("h5py").File(path, "w") as file:
            file[video.id] = array
    found = detect(run, tmp_path / "out.json", "--features", str(path))
    assert found.videos == (video.id,)
    expected = read_detections(run.detections)
    count = int((expected.columns["video"] == video.id).sum())
    assert len(found.columns["scores"]) == count > 0


def test_extractors_side_by_side(run: RunFolder, features: Path, tmp_path: Path) -> None:
    halves = [tmp_path / "left", tmp_path / "right"]
    for index, half in enumerate(halves):
        half.mkdir()
        for path in features.iterdir():
            np.save(half / path.name, np.load(path)[:, 3 * index : 3 * index + 3])
    whole = detect(run, tmp_path / "whole.json", "--features", str(features))
    parts = detect(run, tmp_path / "parts.json", "--features", *map(str, halves))
    assert_same(parts, whole)


@pytest.mark.parametrize("steps", [1, 2, 3, 41, 1000])
def test_any_length(run: RunFolder, tmp_path: Path, steps: int) -> None:
    path = tmp_path / "recording.npy"
    np.save(path, np.random.default_rng(0).standard_normal((steps, 6)).astype(np.float32))
    found = detect(run, tmp_path / "out.json", "--features", str(path))
    # One feature vector covers one second.
    assert len(found.columns["scores"]) == 0 or found.columns["segments"].max() <= steps
    assert found.videos == ("recording",)


def test_frame_rate_and_durations(run: RunFolder, features: Path, tmp_path: Path) -> None:
    one = detect(run, tmp_path / "a.json", "--features", str(features))
    half = detect(run, tmp_path / "b.json", "--features", str(features), "--fps", "2")
    np.testing.assert_allclose(half.columns["segments"], one.columns["segments"] / 2, rtol=1e-5, atol=1e-5)
    (tmp_path / "durations.json").write_text('{"video6": 20.0}')
    cut = detect(run, tmp_path / "c.json", "--features", str(features), "--durations", str(tmp_path / "durations.json"))
    assert cut.columns["segments"][cut.columns["video"] == "video6"].max() <= 20.0
    assert cut.columns["segments"][cut.columns["video"] == "video7"].max() > 20.0
    # What the length cuts off entirely is no detection.
    assert (np.diff(cut.columns["segments"]) > 0).all()
    assert (cut.columns["video"] == "video6").sum() < (one.columns["video"] == "video6").sum()


def test_post_processing_can_be_chosen(
    run: RunFolder, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(*words: str) -> SegmentFile:
        return detect(run, tmp_path / "out.json", "--features", str(features), *words)

    usual = found()
    scores = usual.columns["scores"]
    limit = float(np.sort(scores)[len(scores) // 2])
    # Each group keeps its best even below, as soft-NMS does.
    assert len(found("--min-score", str(limit)).columns["scores"]) < len(scores)
    assert (found("--score-threshold", str(limit)).columns["scores"].max()) == scores.max()
    few = found("--max-segments", "2")
    assert [int((few.columns["video"] == video).sum()) for video in few.videos] == [2, 2, 2]
    assert_same(found("--nms-sigma", "0.5", "--nms", "gaussian", "--class-agnostic", "no"), usual)
    assert found("--nms-sigma", "0.05").columns["scores"].sum() < scores.sum()
    assert len(found("--nms", "hard").columns["scores"]) < len(scores)
    assert len(found("--nms", "none", "--max-segments", "0").columns["scores"]) > len(scores)
    few = found("--nms", "none", "--max-segments", "2")
    assert [int((few.columns["video"] == video).sum()) for video in few.videos] == [2, 2, 2]
    voted, plain = found("--voting-threshold", "0.5"), found("--voting-threshold", "off")
    assert_same(plain, usual)
    assert not np.allclose(voted.columns["segments"], usual.columns["segments"])
    capsys.readouterr()
    good = ("--run", str(run.path), "--output", str(tmp_path / "none.json"), "--features", str(features))
    for words, message in (
        (("--voting-threshold", "7"), "inference.voting_threshold must lie in [0, 1], found 7.0"),
        (("--nms-sigma", "0"), "inference.nms_sigma must be positive"),
        (("--min-score", "-1"), "inference.min_score must lie in [0, 1), found -1.0"),
        (("--max-segments", "-1"), "inference.max_segments must be at least 0"),
        (("--candidates-per-level", "0"), "inference.candidates_per_level must be at least 1"),
        (("--nms", "none", "--class-agnostic", "no"), "--class-agnostic has no effect beside --nms none"),
        (("--nms", "none", "--voting-threshold", "0.5"), "--voting-threshold has no effect beside --nms none"),
        (("--nms", "hard", "--nms-sigma", "0.1"), "--nms-sigma has no effect beside --nms hard: leave it out, or take"),
        (("--nms-iou-threshold", "0.9"), "--nms-iou-threshold has no effect beside --nms gaussian"),
    ):
        assert message in failure(capsys, *good, *words)
    assert main([*good, "--score-threshold", "0.999"]) == 0
    assert "warning: no detection in any recording" in capsys.readouterr().err


def test_best_checkpoint_and_checkpoint_file(run: RunFolder, features: Path, tmp_path: Path) -> None:
    for run_path, words in ((run.path, ("--checkpoint", "best")), (run.best, ())):
        words = ("--run", str(run_path), "--features", str(features), "--output", str(tmp_path / "o.json"), *words)
        assert main(words) == 0
        assert json.loads((tmp_path / "o.json").read_text())["external_data"]["checkpoint"] == str(run.best)


def test_raw_recordings(tmp_path: Path) -> None:
    """A run on raw signals takes the download, one of its recordings, or an array of raw samples."""
    data = small_hapt(shared_file("data/hapt"), tmp_path / "data")
    folder = RunFolder(tmp_path / "run")
    words = ["--dataset", "hapt", "--data-root", str(data), *TINY_OPTIONS, "--output", str(folder.path)]
    assert train_main(words) == 0
    everything = detect(folder, tmp_path / "all.json", "--features", str(data))
    assert len(everything.videos) == 4
    trained = read_detections(folder.detections)
    for video in trained.videos:
        ours, theirs = (f.columns["scores"][f.columns["video"] == video] for f in (everything, trained))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)

    name = "exp03_user02"
    np.save(tmp_path / f"{name}.npy", read_signals(data)[name])
    expected = everything.columns["scores"][everything.columns["video"] == name]
    for path in (data / "RawData" / f"acc_{name}.txt", tmp_path / f"{name}.npy"):
        found = detect(folder, tmp_path / "one.json", "--features", str(path))
        assert found.videos == (name,)
        # An array is rounded to float32 before it is normalised.
        np.testing.assert_allclose(found.columns["scores"], expected, rtol=1e-3, atol=1e-5)


def test_the_download_has_more_channels_than_were_learned_from(tmp_path: Path) -> None:
    data = small_hapt(shared_file("data/hapt"), tmp_path / "data")
    folder = RunFolder(tmp_path / "run")
    words = ["--dataset", "hapt", "--data-root", str(data), *TINY_OPTIONS, "--data.num-channels", "3"]
    assert train_main([*words, "--output", str(folder.path)]) == 0
    everything = detect(folder, tmp_path / "all.json", "--features", str(data))
    trained = read_detections(folder.detections)
    for video in trained.videos:
        ours, theirs = (f.columns["scores"][f.columns["video"] == video] for f in (everything, trained))
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_wrong_requests_are_one_line(
    run: RunFolder, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = ("--output", str(tmp_path / "out.json"))
    good = ("--run", str(run.path), *output)
    assert "does not exist; train one" in failure(
        capsys, "--run", str(tmp_path / "none"), "--features", str(features), *output
    )
    (tmp_path / "empty").mkdir()
    assert "no checkpoint" in failure(capsys, "--run", str(tmp_path / "empty"), "--features", str(features), *output)
    assert "nothing.npy does not exist" in failure(capsys, *good, "--features", str(tmp_path / "nothing.npy"))
    assert "empty holds no .npy" in failure(capsys, *good, "--features", str(tmp_path / "empty"))
    assert "--batch-size must be at least 1" in failure(capsys, *good, "--features", str(features), "--batch-size", "0")
    assert "invalid choice 'bets' for argument '--checkpoint'" in failure(
        capsys, *good, "--features", str(features), "--checkpoint", "bets"
    )
    assert "--features" in failure(capsys, "--run", str(run.path), *output)
    assert "--features needs at least one" in failure(capsys, *good, "--features")
    elsewhere = ("--run", str(run.path), "--features", str(features), "--output")
    assert "does not exist" in failure(capsys, *elsewhere, str(tmp_path / "no" / "out.json"))
    assert "is a folder" in failure(capsys, *elsewhere, str(tmp_path))
    bad = tmp_path / "durations.json"
    bad.write_text("[1]")
    assert "must be JSON like" in failure(capsys, *good, "--features", str(features), "--durations", str(bad))
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 7), np.float32), "features have width 7, expected 6"),
        (np.zeros((6, 40), np.float32), "looks transposed"),
        (np.full((5, 6), np.nan, np.float32), "value nan at step 0, channel 0"),
        (np.zeros((0, 6), np.float32), "must be (T, D)"),
        (np.zeros((5, 6), np.int64), "must be floating point"),
    ],
    ids=["width", "transposed", "nan", "empty", "integers"],
)
def test_bad_features_are_named(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], array: np.ndarray, message: str
) -> None:
    path = tmp_path / "bad.npy"
    np.save(path, array)
    error = failure(capsys, "--run", str(run.path), "--features", str(path), "--output", str(tmp_path / "out.json"))
    assert message in error
    assert "bad.npy" in error


def test_a_truncated_file_and_a_truncated_checkpoint(
    run: RunFolder, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = features / "video6.npy"
    path.write_bytes(path.read_bytes()[:200])
    words = ("--features", str(features), "--output", str(tmp_path / "out.json"))
    error = failure(capsys, "--run", str(run.path), *words, "--strict")
    assert "video6.npy" in error and "truncated" in error
    assert detect(run, tmp_path / "out.json", "--features", str(features)).videos == ("video7", "video8")
    error = capsys.readouterr().err
    assert error.startswith("warning: 1 of 3 recordings are left out, the first: ") and "video6.npy" in error
    half = tmp_path / "half.pt"
    half.write_bytes(run.last.read_bytes()[:1000])
    error = failure(capsys, "--run", str(half), *words)
    assert "half.pt" in error and "truncated" in error


def test_a_trained_detector_in_python(run: RunFolder, bundle: DatasetBundle) -> None:
    trained = load_trained(run.path)
    assert trained.class_names == bundle.class_names
    assert trained.epoch == 3
    found = list(trained.detect((bundle.test[i] for i in range(len(bundle.test))), batch_size=2))
    assert [sample.video_id for sample, _ in found] == [video.id for video in bundle.test.videos]
    assert all((detections.scores.diff() <= 0).all() for _, detections in found)


def test_precision_can_be_chosen(
    run: RunFolder,
    features: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = ("--features", str(features), "--precision")
    exact = detect(run, tmp_path / "exact.json", *words, "fp32")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    rounded = detect(run, tmp_path / "rounded.json", *words, "bf16")
    assert set(rounded.videos) == set(exact.videos)
    assert not np.array_equal(rounded.columns["scores"][:20], exact.columns["scores"][:20])
    np.testing.assert_allclose(rounded.columns["scores"][:20], exact.columns["scores"][:20], rtol=0.05)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
    output = ("--output", str(tmp_path / "out.json"))
    assert "does not compute in bfloat16" in failure(capsys, "--run", str(run.path), *output, *words, "bf16")
    assert "invalid choice 'int8'" in failure(capsys, "--run", str(run.path), *output, *words, "int8")
    assert not (tmp_path / "out.json").exists()
