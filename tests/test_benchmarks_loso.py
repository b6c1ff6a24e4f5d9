# SPDX-License-Identifier: Apache-2.0
"""The table that leaves one user out: its runs, how a fold is scored, and rows that are not finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.evaluation.activitynet_json import write_detections, write_ground_truth
from asl_fast.training.run_folder import RunFolder
from benchmarks import loso
from benchmarks.loso import LeaveOneOut, collect, format_table, main, score_fold, table_rows
from tests.shared import shared_file
from tests.training.tiny import small_hapt

NAMES = ["WALKING", "SITTING", "LAYING"]


def fold(folder: RunFolder, scores: tuple[float, float]) -> None:
    """Write a finished run: one action found exactly, one missed, with a false alarm of a class that does not occur."""
    folder.path.mkdir(parents=True)
    segments = np.array([[0.0, 4.0], [5.0, 9.0]])
    truth = {"video": ["user01"] * 2, "segments": segments, "labels": ["WALKING", "LAYING"]}
    found = {
        "video": ["user01"] * 2,
        "segments": np.array([[0.0, 4.0], [20.0, 24.0]]),
        "labels": ["WALKING", "SITTING"],
        "scores": np.array(scores),
    }
    write_ground_truth(folder.ground_truth, truth, subset="test", durations_sec={"user01": 30.0})
    write_detections(folder.detections, found, videos=["user01"])
    folder.dataset.write_text(json.dumps({"class_names": NAMES}))
    folder.summary.write_text(json.dumps({"epochs": 25}))
    folder.evaluation.write_text("{}")


def rows(tmp_path: Path, **changes: Any) -> list[loso.Row]:
    asked = LeaveOneOut(output=tmp_path, **changes)
    return list(table_rows(asked, users=(1, 2, 7), options=["--epochs", "20"]))


def test_the_first_row_is_whole_before_the_next(tmp_path: Path) -> None:
    found = rows(tmp_path)
    assert [row.name for row in found[:5]] == [
        "asl, 6 channels, seed 1",
        "plain, 6 channels, seed 1",
        "asl, 3 channels, seed 1",
        "plain, 3 channels, seed 1",
        "asl, 6 channels, seed 2",
    ]
    assert len(found) == 12 and list(found[0].folds) == [1, 2, 7]
    words = " ".join(found[2].folds[7].words)
    assert "--variant asl --data.left-out-user 7 --data.num-channels 3 --seed 1 --threads 0 --epochs 20" in words
    assert len({run.folder.path for row in found for run in row.folds.values()}) == 36


def test_a_fold_is_scored_by_actionformers_rules(tmp_path: Path) -> None:
    """Of two classes one is found; and SITTING, number 1, is taken for the second class that the user has."""
    folder = RunFolder(tmp_path / "run")
    fold(folder, (0.9, 0.5))
    assert score_fold(folder, 0.0) == [0.5] * 5
    assert score_fold(folder, 0.95) == [0.0] * 5


def test_mean_over_folds_and_both_thresholds(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, channels=(6,), variants=("asl",), seeds=(1,))
    fold(row.folds[1].folder, (0.9, 0.5))
    fold(row.folds[7].folder, (0.2, 0.1))
    (found,) = collect([row])
    assert (found["finished"], found["users"], found["epochs"]) == (2, 3, [25])
    assert found["scores"]["0"]["average_map"] == 0.5 and found["scores"]["0.3"]["average_map"] == 0.25
    assert found["scores"]["0.3"]["folds"] == {"1": [0.5] * 5, "7": [0.0] * 5}
    table = format_table([found])
    assert "| asl | 6 | 1 | 2 of 3 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | 25.0 |" in table
    assert "| ActionFormer (Bock et al.) | 3 | 1, 2, 3 | 30 of 30 |" in table and "25 epochs of training" in table


def test_seeds_that_are_finished_are_one_row(tmp_path: Path) -> None:
    found = []
    for row in rows(tmp_path, channels=(3,), variants=("plain",)):
        for user, run in row.folds.items():
            if row.seed < 3 or user == 1:
                fold(run.folder, (0.9, 0.5) if row.seed == 1 else (0.2, 0.1))
        found += collect([row])
    lines = format_table(found).splitlines()
    assert lines[2] == "| plain | 3 | 1, 2 | 3 of 3 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 ± 0.0 | 25.0 ± 25.0 |"
    assert lines[3].startswith("| plain | 3 | 3 | 1 of 3 |")


def test_nothing_finished_is_a_table_of_the_published(tmp_path: Path) -> None:
    assert collect(rows(tmp_path)) == []
    assert "No fold is finished." in format_table([])


def test_wrong_options(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--variants", "plane"]) == 2
    assert "unknown variant 'plane'" in capsys.readouterr().err
    assert main(["--jobs", "0"]) == 2
    assert "--jobs" in capsys.readouterr().err
    assert main(["--data-root", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.slow
def test_two_users_of_the_real_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = small_hapt(shared_file("data/hapt/hapt_rawdata.zip").parent, tmp_path / "hapt")
    words = ["--data-root", str(data), "--channels", "3", "--variants", "plain", "--seeds", "1", "--threads", "1"]
    words += ["--output", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    small = ["--epochs", "1", "--warmup-epochs", "0", "--data.max-length", "256", "--model.max-length-grid", "256"]
    assert main([*words, "--", *small, "--model.width", "16", "--model.num-heads", "2"]) == 0
    assert "2 of 2" in (tmp_path / "results" / "table.md").read_text()
    (folder,) = (tmp_path / "runs").iterdir()
    assert sorted(path.name for path in folder.iterdir()) == ["user01", "user02"]
    assert not list(folder.glob("*/checkpoints/*.pt"))
    truth = json.loads((folder / "user02" / "ground_truth.json").read_text())["database"]
    assert list(truth) == ["user02"]
    capsys.readouterr()
    assert main([*words, "--report"]) == 0
    assert "2 of 2" in capsys.readouterr().out
