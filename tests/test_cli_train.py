# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.train`` from its words to its run folder."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.evaluation.activitynet_json import read_detections, read_ground_truth
from asl_fast.evaluation.mean_ap import mean_average_precision
from asl_fast.serialization import read_config
from asl_fast.train import main
from asl_fast.training.config import TrainConfig
from asl_fast.training.description import git_revision
from asl_fast.training.metrics_log import read_metrics
from asl_fast.training.run_folder import RunFolder
from tests.shared import shared_file
from tests.training.tiny import TINY_OPTIONS, small_hapt

TINY_TWIN = ["--dataset", "thumos14", "--synthetic-scale", "0.02", *TINY_OPTIONS]


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line that a refused command prints."""
    status = main(words)
    out, err = capsys.readouterr()
    assert status == 2, out
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_a_run_from_start_to_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path / "run")
    assert main(["--dataset", "thumos14", *TINY_OPTIONS, "--output", str(folder.path), "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "SYNTHETIC twin of THUMOS14" in out.splitlines()[0]
    assert "this was the 'smoke' preset; the published size: --preset full" in out
    assert "on your own: python -m asl_fast.train --dataset thumos14 --data-root DIR" in out
    assert f"python -m asl_fast.evaluate --run {folder.path}" in out
    assert f"python -m asl_fast.detect --run {folder.path}" in out
    assert "mAP (%)" in out
    assert out.splitlines()[-1] == f"to look at: {folder.report}"
    assert "<!doctype html>" in folder.report.read_text()

    config = read_config(TrainConfig, folder.config)
    assert (config.seed, config.model.width, config.model.feature_dim, config.model.num_classes) == (3, 16, 128, 20)
    environment = json.loads(folder.environment.read_text())
    assert environment["synthetic"] is True
    assert environment["seed"] == 3
    assert {"torch", "numpy"} <= set(environment["versions"])
    assert "--seed" in environment["command"]
    assert json.loads(folder.dataset.read_text())["synthetic"] is True
    assert {record["kind"] for record in read_metrics(folder.metrics)} == {"step", "epoch", "evaluation"}
    assert folder.last.exists() and folder.best.exists()

    truth, found = read_ground_truth(folder.ground_truth), read_detections(folder.detections)
    assert set(found.videos) == set(truth.videos)
    assert found.columns["segments"].min() >= 0
    assert all(
        truth.durations_sec[v] >= s[1] for v, s in zip(found.columns["video"], found.columns["segments"], strict=True)
    )
    again = mean_average_precision(
        truth.columns, found.columns, config.evaluation.tiou_thresholds, convention="published"
    )
    recorded = json.loads(folder.evaluation.read_text())
    np.testing.assert_allclose(recorded["measures"]["mAP"]["map"], again.map, rtol=0, atol=1e-12)
    assert set(recorded["measures"]["mAP"]["per_class"]) == set(again.classes.tolist())
    assert json.loads(folder.summary.read_text())["average_map"] == recorded["average_map"]


def test_real_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_hapt(shared_file("data/hapt"), tmp_path / "data")
    folder = RunFolder(tmp_path / "run")
    words = ["--dataset", "hapt", "--data-root", str(data), *TINY_OPTIONS, "--output", str(folder.path)]
    assert main(words) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "real data: UCI HAPT, official split: 2 recordings to train on, 2 to test on" in first
    assert "SYNTHETIC" not in first
    assert json.loads(folder.summary.read_text())["synthetic"] is False
    record = json.loads(folder.dataset.read_text())
    assert record["class_names"][0] == "WALKING"
    assert len(record["transform"]["mean"]) == 6


def test_wrong_requests_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "run")
    assert "did you mean 'charades'?" in failure(capsys, "--dataset", "charade", "--output", output)
    assert "give data_root" in failure(capsys, "--dataset", "hapt", "--output", output)
    nowhere = str(tmp_path / "nowhere")
    assert "nowhere does not exist" in failure(capsys, "--dataset", "hapt", "--data-root", nowhere, "--output", output)
    assert "nowhere" in failure(capsys, "--dataset", "thumos14", "--data-root", nowhere, "--output", output)
    assert "is not one that torch knows" in failure(capsys, *TINY_TWIN, "--output", output, "--device", "gpu")
    assert "model.width 15 is not a multiple" in failure(capsys, *TINY_TWIN, "--output", output, "--model.width", "15")
    assert not Path(output).exists()


def test_a_folder_that_cannot_be_written_is_said_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    message = failure(capsys, *TINY_TWIN, "--output", str(tmp_path / "file" / "run"))
    assert "cannot create run folder" in message
    assert "choose another --output" in message


def test_a_damaged_checkpoint_is_named_on_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path / "run")
    assert main([*TINY_TWIN, "--output", str(folder.path)]) == 0
    data = folder.last.read_bytes()
    folder.last.write_bytes(data[: len(data) // 2])
    capsys.readouterr()
    message = failure(capsys, "--resume", "--output", str(folder.path))
    assert f"{folder.last}" in message
    assert "truncated" in message


def test_divergence_has_its_own_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--optimizer.lr", "1e38", "--optimizer.clip-norm", "0", "--warmup-epochs", "0", "--epochs", "3"]
    assert main([*TINY_TWIN, "--output", str(tmp_path / "run"), *words]) == 1
    assert "training diverged at step" in capsys.readouterr().err


def test_resuming_with_other_threads_or_batches_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path / "run")
    assert main([*TINY_TWIN, "--output", str(folder.path)]) == 0
    resume = ["--resume", "--output", str(folder.path), "--epochs"]
    capsys.readouterr()
    assert main([*resume, "2"]) == 0
    assert "bit-identical" not in capsys.readouterr().out
    assert main([*resume, "3", "--threads", "2", "--evaluation.batch-size", "3"]) == 0
    out = capsys.readouterr().out
    assert "threads: 1 before, 2 now; sums are rounded otherwise, so the result is not bit-identical" in out
    assert "videos per batch in inference: 4 before, 3 now; " in out


def test_a_huge_seed_and_what_scoring_alone_reads_are_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    for words, message in (
        (("--seed", str(2**64)), "seed must be at most 9223372036854775807"),
        (("--inference.voting-threshold", "7"), "inference.voting_threshold must lie in [0, 1], found 7.0"),
        (("--inference.nms-sigma", "0"), "inference.nms_sigma must be positive"),
        (("--inference.candidates-per-level", "-1"), "inference.candidates_per_level must be at least 1"),
        (("--evaluation.convention", "mine"), "evaluation.convention: unknown evaluation convention 'mine'"),
    ):
        assert message in failure(capsys, *TINY_TWIN, "--output", str(output), *words)
    assert not output.exists()


def test_asking_git_leaves_its_locks_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    ask = subprocess.run

    def watched(command: list[str], **options: Any) -> Any:
        seen.update(options["env"])
        return ask(command, **options)

    monkeypatch.setattr("asl_fast.training.description.subprocess.run", watched)
    revision = git_revision()
    assert seen["GIT_OPTIONAL_LOCKS"] == "0"
    assert revision is None or len(revision.removesuffix("-dirty")) >= 40
