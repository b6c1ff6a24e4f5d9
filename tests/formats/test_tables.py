# SPDX-License-Identifier: Apache-2.0
"""The table of detections, read by the evaluation, by Python's csv and by pandas."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from asl_fast.evaluate import Arguments, evaluate
from asl_fast.evaluation.activitynet_json import read_detections, write_detections, write_ground_truth
from asl_fast.formats import to_csv
from tests.formats.odd import ORIGIN, RECORDINGS

ROWS = [(each.name, *action) for each in RECORDINGS for action in each.actions]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "found.csv"
    path.write_text(to_csv.render(RECORDINGS, ORIGIN), encoding="utf-8", newline="")
    return path


def test_the_evaluation_reads_what_was_found(path: Path) -> None:
    read = read_detections(path, strict=True).columns
    assert read["video"].tolist() == [row[0] for row in ROWS]
    assert read["labels"].tolist() == [row[3] for row in ROWS]
    np.testing.assert_array_equal(read["segments"], [row[1:3] for row in ROWS])
    np.testing.assert_array_equal(read["scores"], [row[4] for row in ROWS])


def test_no_field_is_a_formula(path: Path) -> None:
    rows = list(csv.reader(path.open(encoding="utf-8", newline="")))
    assert rows[0] == ["video", "start_sec", "end_sec", "label", "score"]
    assert len(rows) == 1 + len(ROWS)
    assert not [row for row in rows for field in (row[0], row[3]) if field.startswith(tuple("=+-@\t\r"))]
    assert "'=1+1" in {row[0] for row in rows}


def test_pandas_reads_it(path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs pandas, which the development environment leaves out")
    frame = pandas.read_csv(path)
    np.testing.assert_allclose(frame[["start_sec", "end_sec", "score"]], [(r[1], r[2], r[4]) for r in ROWS], rtol=1e-14)
    assert frame["label"].tolist()[-1] == ROWS[-1][3]
    assert frame["label"].tolist()[0] == ROWS[0][3]


def test_scores_are_those_of_the_json(tmp_path: Path, path: Path) -> None:
    """The same detections give the same result to the last bit, whichever file they come from."""
    truth = [row for row in ROWS if row[4] > 0.5]
    columns = {
        "video": np.array([row[0] for row in truth]),
        "segments": np.array([(row[1], row[2] + 0.2) for row in truth]),
        "labels": np.array([row[3] for row in truth]),
    }
    write_ground_truth(tmp_path / "truth.json", columns, subset="test")
    found = {
        "video": np.array([row[0] for row in ROWS]),
        "segments": np.array([row[1:3] for row in ROWS]),
        "labels": np.array([row[3] for row in ROWS]),
        "scores": np.array([row[4] for row in ROWS]),
    }
    write_detections(tmp_path / "found.json", found)
    results = []
    for name in ("found.csv", "found.json"):
        out = tmp_path / f"{name}.result.json"
        evaluate(
            Arguments(ground_truth=tmp_path / "truth.json", predictions=tmp_path / name, tiou="0.3:0.7:0.1", json=out)
        )
        results.append(json.loads(out.read_text())["measures"])
    assert results[0] == results[1]
    assert results[0]["mAP"]["average_map"] > 0.3


def test_no_detection_is_a_header(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    path.write_text(to_csv.render(RECORDINGS[1:2], ORIGIN))
    assert path.read_text() == "video,start_sec,end_sec,label,score\n"
    assert len(read_detections(path).columns["scores"]) == 0
