# SPDX-License-Identifier: Apache-2.0
"""ActivityNet-style files: the real ones, both ways, and every kind of broken one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.data.annotations.problems import AnnotationError
from asl_fast.evaluation import mean_average_precision
from asl_fast.evaluation.activitynet_json import (
    read_detections,
    read_ground_truth,
    write_detections,
    write_ground_truth,
)
from tests.shared import shared_file


@pytest.mark.parametrize(
    ("file", "subset", "videos", "annotations"),
    [
        ("thumos14.json", "Test", 212, 3358),
        ("thumos14.json", "validation", 200, 3007),
        ("thumos14_afsd/thumos_gt.json", "test", 210, 3311),
        ("activitynet13_19228.json", "validation", 4728, 7293),
        ("multithumos.json", "testing", 213, 20208),
        ("charades.json", "testing", 1863, 16691),
    ],
)
def test_reads_real_ground_truth(file: str, subset: str, videos: int, annotations: int) -> None:
    truth = read_ground_truth(shared_file(f"data/annotations/{file}"), subset=subset)
    assert not truth.skipped
    assert len(truth.videos) == videos
    assert truth.columns["segments"].shape == (annotations, 2)
    assert len(truth.columns["labels"]) == len(truth.columns["video"]) == annotations


def test_real_reversed_segments_are_left_out_unless_they_are_wanted() -> None:
    path = shared_file("data/annotations/charades.json")
    truth = read_ground_truth(path, subset="training")
    assert not truth.skipped and len(truth.videos) == 7985
    assert len(truth.left_out) == 7 and len(truth.columns["labels"]) == 49809 - 7
    assert {text.split("'")[1] for text in truth.left_out} == {"AKKWU", "LEOL6", "00SL4", "IOL8Q"}
    assert all("must not end before it starts, found [" in text for text in truth.left_out)
    assert len(read_ground_truth(path, subset="training", reversed_segments="keep").columns["labels"]) == 49809


def test_sample_submission_scores_perfectly_by_the_official_convention() -> None:
    truth = read_ground_truth(shared_file("data/annotations/activitynet13_19228.json"), subset="validation")
    found = read_detections(shared_file("data/annotations/sample_detection_prediction.json"))
    assert len(found.videos) == 4926
    listed = np.isin(found.columns["video"], truth.videos)
    detections = {name: column[listed] for name, column in found.columns.items()}
    tious = np.linspace(0.5, 0.95, 10)
    official = mean_average_precision(truth.columns, detections, tious, convention="activitynet")
    assert official.average_map == 1.0
    assert official.num_ground_truth == 7293
    # By default three zero-length annotations cannot be found: 0/0 is no overlap.
    default = mean_average_precision(truth.columns, detections, tious)
    assert ((default.ap < 1).sum(axis=1) == 3).all()


def test_round_trip(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    count = 50
    start = generator.uniform(0, 100, count)
    table = {
        "video": generator.choice(["a", "b/ü", "c"], count),
        "segments": np.stack([start, start + generator.uniform(0, 9, count)], axis=1),
        "labels": generator.choice(["x", "y"], count),
        "scores": generator.uniform(0, 1, count),
    }
    write_detections(tmp_path / "detections.json", table, videos=["a", "empty"])
    found = read_detections(tmp_path / "detections.json")
    assert set(found.videos) == {"a", "b/ü", "c", "empty"}
    order = np.argsort(-table["scores"])
    for video in ("a", "b/ü", "c"):
        rows = order[table["video"][order] == video]
        read = found.columns["video"] == video
        for column in ("segments", "labels", "scores"):
            np.testing.assert_array_equal(found.columns[column][read], table[column][rows])

    write_ground_truth(tmp_path / "truth.json", table, subset="test", durations_sec={"a": 120.0, "quiet": 7.5})
    truth = read_ground_truth(tmp_path / "truth.json")
    assert truth.durations_sec == {"a": 120.0, "quiet": 7.5}
    assert set(truth.videos) == {"a", "b/ü", "c", "quiet"}
    result = mean_average_precision(truth.columns, found.columns, 0.5)
    assert result.average_map == mean_average_precision(table, table, 0.5).average_map


def write(path: Path, data: Any) -> Path:
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


GOOD = {"segment": [0.0, 1.0], "label": "x", "score": 0.5}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**GOOD, "segment": [0.0]}, r"detection 1: 'segment' must be \[start, end\] in seconds, found \[0.0\]"),
        ({**GOOD, "segment": [2.0, 1.0]}, r"'segment' must not end before it starts, found \[2.0, 1.0\]"),
        ({**GOOD, "segment": [0.0, "x"]}, r"'segment': expected a number, found 'x'"),
        ({**GOOD, "segment": [0.0, True]}, r"'segment': expected a number, found True"),
        ({"label": "x", "score": 0.5}, r"'segment' must be \[start, end\] in seconds, found None"),
        ({**GOOD, "label": None}, r"unknown class None; 'label' must be the name of a class, or its id"),
        ({**GOOD, "label": ["x"]}, r"unknown class \['x'\]; 'label' must be the name of a class, or its id"),
        ({**GOOD, "label_id": "3.5"}, r"label_id of 'x' must be a whole number, found '3.5'"),
        ({**GOOD, "score": float("nan")}, r"detection 1: 'score': expected a number, found nan"),
        ({**GOOD, "score": None}, r"detection 1: 'score': expected a number, found None"),
        ("x", r"'results' must be a list of objects, found .* 'x'\]"),
    ],
)
def test_unusable_entry_is_left_out_or_stops(tmp_path: Path, entry: Any, message: str) -> None:
    path = write(tmp_path / "d.json", {"results": {"good": [GOOD], "bad": [GOOD, entry]}})
    found = read_detections(path)
    assert found.videos == ("good", "bad") and not found.skipped
    assert found.columns["video"].tolist() == ["good", "bad"]
    (fault,) = found.left_out
    assert "d.json, video 'bad', detection 1: " in fault
    with pytest.raises(AnnotationError, match=f"d.json, video 'bad'.*{message}"):
        read_detections(path, strict=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON at line 1"),
        ("[1]", r"expected a JSON object, found \[1\]"),
        ({"result": {}}, "key 'results' must map video ids to lists, found None"),
        ({"results": [1]}, r"key 'results' must map video ids to lists, found \[1\]"),
        ({"results": {"a": [GOOD], "b": [{**GOOD, "label": 3}]}}, "class names in some entries and integer ids"),
    ],
)
def test_unusable_detection_file(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=f"d.json: .*{message}"):
        read_detections(write(tmp_path / "d.json", content))


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ({"database": [1]}, {}, "must map video ids to objects"),
        ({"database": {"a": {"subset": "test"}}}, {}, "no video has 'annotations'"),
        (
            {"a": {"subset": "x", "annotations": [GOOD]}, "b": {"subset": "y", "annotations": [GOOD]}},
            {},
            r"several subsets; choose one of: x \(1 video\), y \(1 video\)",
        ),
        ({"a": {"subset": "x", "annotations": [GOOD]}}, {"subset": "z"}, r"no subset 'z'; subsets found: x \(1"),
        ({"a": {"annotations": {}}}, {"strict": True}, "video 'a': 'annotations' must be a list of objects, found {}"),
        (
            {"a": {"annotations": [], "duration": "long"}},
            {"strict": True},
            "video 'a', 'duration': expected a number, found 'long'",
        ),
    ],
)
def test_unusable_ground_truth_file(tmp_path: Path, content: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read_ground_truth(write(tmp_path / "t.json", content), **arguments)


def test_missing_file_and_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.json does not exist"):
        read_detections(tmp_path / "nowhere.json")
    table = {"video": ["a"], "segments": [[0.0, 1.0]], "labels": ["x"], "scores": [1.0]}
    with pytest.raises(FileNotFoundError, match=r"cannot write .*no/d.json"):
        write_detections(tmp_path / "no" / "d.json", table)
    with pytest.raises(ValueError, match="NaN"):
        write_detections(tmp_path / "d.json", {**table, "scores": [float("nan")]})
    assert list(tmp_path.iterdir()) == []


def test_empty_detections_are_fine(tmp_path: Path) -> None:
    found = read_detections(write(tmp_path / "d.json", {"results": {}}))
    assert found.columns["segments"].shape == (0, 2)
    truth = {"video": ["a"], "segments": [[0.0, 1.0]], "labels": ["x"]}
    assert mean_average_precision(truth, found.columns, 0.5).average_map == 0.0
