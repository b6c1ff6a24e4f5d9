# SPDX-License-Identifier: Apache-2.0
"""``evaluate --redetect``: other post-processing of what the network found once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from asl_fast.data.bundle import DatasetBundle
from asl_fast.detection import candidates
from asl_fast.detection import redetect as module
from asl_fast.detection.candidates import Limits
from asl_fast.detection.trained import load_trained
from asl_fast.evaluate import main
from asl_fast.evaluation.activitynet_json import read_detections
from asl_fast.training.run_folder import RunFolder
from tests.training.tiny import finished_run, tiny_bundle


@pytest.fixture(scope="module")
def bundle() -> DatasetBundle:
    return tiny_bundle()


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory, bundle: DatasetBundle) -> RunFolder:
    return finished_run(tmp_path_factory.mktemp("run"), bundle)


@pytest.fixture
def run(trained_run: RunFolder, tmp_path: Path, bundle: DatasetBundle, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Give a run of its own, whose data set is loaded from memory."""
    monkeypatch.setattr(module, "load_data", lambda config: bundle)
    return RunFolder(shutil.copytree(trained_run.path, tmp_path / "run"))


def redetected(run: RunFolder, *words: str) -> dict[str, np.ndarray]:
    assert main(["--run", str(run.path), "--redetect", *words]) == 0
    return read_detections(run.redetected / "detections.json", strict=True).columns


def test_as_trained_gives_the_detections_of_training_and_leaves_them_alone(run: RunFolder) -> None:
    before = run.detections.read_bytes()
    scores = json.loads(run.evaluation.read_text())["measures"]["mAP"]["average_map"]
    found = redetected(run)
    expected = read_detections(run.detections, strict=True).columns
    assert len(found["scores"]) > 0
    for name in ("video", "labels", "segments", "scores"):
        np.testing.assert_array_equal(found[name], expected[name])
    assert run.detections.read_bytes() == before
    again = json.loads((run.redetected / "evaluation.json").read_text())["measures"]["mAP"]["average_map"]
    assert again == pytest.approx(scores, abs=1e-12)


def test_the_network_runs_once(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = redetected(run)

    def gone(config: object) -> DatasetBundle:
        raise AssertionError("the candidates are there")

    monkeypatch.setattr(module, "load_data", gone)
    fewer = redetected(run, "--max-segments", "3", "--nms", "hard", "--nms-iou-threshold", "0.2")
    assert 0 < len(fewer["scores"]) <= 3 * len(set(first["video"])) < len(first["scores"])


@pytest.mark.parametrize(
    "words",
    [
        ("--nms-sigma", "0.2"),
        ("--candidates-per-level", "5"),
        ("--score-threshold", "0.005", "--min-length-grid", "0.3"),
        ("--score-threshold", "0"),
        ("--class-agnostic", "yes", "--voting-threshold", "0.6"),
    ],
)
def test_equals_a_detector_with_these_options(
    run: RunFolder, bundle: DatasetBundle, words: tuple[str, ...], tmp_path: Path
) -> None:
    redetected(run)
    found = redetected(run, *words)
    # Where what was kept does not reach so far, the network runs again; a run without any finds the same.
    run.candidates.unlink()
    expected = redetected(run, *words)
    assert len(found["scores"]) > 0
    for name in ("video", "labels", "segments", "scores"):
        np.testing.assert_array_equal(found[name], expected[name])


def test_candidates_of_other_weights_or_a_damaged_file_are_found_anew(run: RunFolder, bundle: DatasetBundle) -> None:
    redetected(run)
    trained = load_trained(run.path)
    limits = Limits.of(trained.config.inference)
    assert candidates.load(run.candidates, trained, limits) is not None
    assert candidates.load(run.candidates, trained, replace(limits, score_threshold=0.0)) is None
    with torch.no_grad():
        next(trained.detector.parameters()).add_(1.0)
    assert candidates.load(run.candidates, trained, limits) is None
    content = bytearray(run.candidates.read_bytes())
    content[len(content) // 2] ^= 1
    run.candidates.write_bytes(bytes(content))
    assert candidates.load(run.candidates, load_trained(run.path), limits) is None
    assert len(redetected(run)["scores"]) > 0


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (
            ["--redetect", "--ground-truth", "a.json", "--predictions", "b.json", "--tiou", "0.5"],
            "--redetect needs --run",
        ),
        (["--run", "RUN", "--nms-sigma", "0.5"], "--nms-sigma changes detections"),
        (["--run", "RUN", "--redetect", "--nms-sigma", "0"], "nms_sigma"),
        (["--run", "RUN", "--redetect", "--max-segments", "-1"], "max_segments"),
    ],
)
def test_what_cannot_be_done_is_said(
    run: RunFolder, words: list[str], phrase: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run.path) if word == "RUN" else word for word in words]) == 2
    assert phrase in capsys.readouterr().err
