# SPDX-License-Identifier: Apache-2.0
"""One set of rules: whatever a file holds, training and evaluation make the same of it."""

from __future__ import annotations

import gzip
import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.data.annotations.activitynet import read_activitynet_json, write_activitynet_json
from asl_fast.data.annotations.entries import Entry, read_action_rows, read_entries
from asl_fast.data.annotations.problems import AnnotationError
from asl_fast.evaluation.activitynet_json import read_detections, read_ground_truth

RUN = {"segment": [1, 2.5], "label": "run"}
GOOD = {"subset": "train", "duration": 9.0, "annotations": [RUN]}


def write(path: Path, videos: Any) -> Path:
    path.write_text(json.dumps({"database": videos}))
    return path


def test_an_entry_is_read_by_name() -> None:
    both = [RUN, {"segment": ["0.5", 1], "label": "jump", "label_id": 3}]
    assert read_entries(both, "here") == [Entry(1.0, 2.5, "run"), Entry(0.5, 1.0, "jump", 3)]
    assert read_entries([RUN | {"score": 0.5}], "here", scores=True) == [Entry(1.0, 2.5, "run", None, 0.5)]
    assert read_entries(None, "here") == read_entries([], "here") == read_action_rows([], "here") == []
    assert read_action_rows([[7, 1, 2.5], ["8", 0, 0]], "here") == [Entry(1.0, 2.5, 7), Entry(0.0, 0.0, 8)]


def test_reversed_segments_are_kept_or_refused_by_name() -> None:
    back, empty = {"segment": [2.0, 1.0], "label": "x"}, {"segment": [2.0, 2.0], "label": "x"}
    assert read_entries([back, empty], "here") == [Entry(2.0, 1.0, "x"), Entry(2.0, 2.0, "x")]
    assert read_entries([empty], "here", reversed_segments="error") == [Entry(2.0, 2.0, "x")]
    message = r"^here, annotation 1: 'segment' must not end before it starts, found \[2\.0, 1\.0\]$"
    with pytest.raises(AnnotationError, match=message):
        read_entries([empty, back], "here", reversed_segments="error")
    with pytest.raises(AnnotationError, match=r"^here, action 0: .* must not end before it starts, found \[2, 1\]$"):
        read_action_rows([[0, 2, 1]], "here", reversed_segments="error")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (7, "expected {'subset', 'duration', 'annotations'}, found 7"),
        (GOOD | {"annotations": 7}, "'annotations' must be a list of objects, found 7"),
        (GOOD | {"annotations": [7]}, r"'annotations' must be a list of objects, found \[7\]"),
        (GOOD | {"annotations": [{"label": "run"}]}, "annotation 0: 'segment' must be .* found None"),
        (GOOD | {"annotations": [RUN | {"segment": [0, True]}]}, "annotation 0: 'segment': expected a number, found T"),
        (GOOD | {"annotations": [RUN | {"segment": [0, float("nan")]}]}, "'segment': expected a number, found nan"),
        (GOOD | {"annotations": [RUN | {"label": None}]}, "annotation 0: unknown class None"),
        (GOOD | {"annotations": [RUN | {"label": True}]}, "annotation 0: unknown class True"),
        (GOOD | {"annotations": [RUN | {"label": -1}]}, "annotation 0: unknown class -1"),
        (GOOD | {"annotations": [RUN | {"label_id": -1}]}, "label_id of 'run' must be a whole number, found -1"),
        (GOOD | {"annotations": [{"segment": [0, 1]}]}, "annotation 0: unknown class None"),
        (GOOD | {"duration": "long"}, "'duration': expected a number, found 'long'"),
        (GOOD | {"fps": "fast"}, "'fps': expected a number, found 'fast'"),
    ],
)
def test_what_is_of_no_use_is_so_for_all(tmp_path: Path, bad: Any, message: str) -> None:
    path = write(tmp_path / "a.json", {"good": GOOD, "bad": bad})
    assert list(read_activitynet_json(path).videos) == list(read_ground_truth(path).videos) == ["good"]
    for read in (read_activitynet_json, read_ground_truth):
        with pytest.raises(AnnotationError, match=rf"a\.json, video 'bad'.*{message}"):
            read(path, strict=True)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (7, r"annotation 1: 'annotations' must be a list of objects"),
        ({"label": "run"}, "annotation 1: 'segment' must be .* found None"),
        (RUN | {"segment": [0, float("inf")]}, "annotation 1: 'segment': expected a number, found inf"),
        (RUN | {"label": True}, "annotation 1: unknown class True"),
    ],
)
def test_one_bad_entry_costs_that_entry_for_all(
    tmp_path: Path, bad: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(tmp_path / "a.json", {"good": GOOD, "odd": GOOD | {"annotations": [RUN, bad, RUN]}})
    with caplog.at_level(logging.WARNING):
        read = read_activitynet_json(path)
    table = read_ground_truth(path)
    assert list(read.videos) == list(table.videos) == ["good", "odd"] and not read.skipped and not table.skipped
    np.testing.assert_array_equal(read.videos["odd"].segments_sec, [[1, 2.5]] * 2)
    np.testing.assert_array_equal(table.columns["segments"], [[1, 2.5]] * 3)
    assert read.left_out == {"odd": 1} and len(table.left_out) == 1
    assert re.search(rf"a\.json, video 'odd', {message}", table.left_out[0])
    assert "a: leaving out one annotation: " in caplog.text
    assert "a: 1 x annotation that cannot be used" in caplog.text
    for reader in (read_activitynet_json, read_ground_truth):
        with pytest.raises(AnnotationError, match=message):
            reader(path, strict=True)  # type: ignore[operator]


def test_a_video_of_which_no_entry_can_be_used_is_left_out(tmp_path: Path) -> None:
    """It is not a video in which nothing happens."""
    path = write(tmp_path / "a.json", {"good": GOOD, "bad": GOOD | {"annotations": [{"label": "run"}, 7]}})
    read, table = read_activitynet_json(path), read_ground_truth(path)
    assert list(read.videos) == list(table.videos) == ["good"]
    assert list(read.skipped) == list(table.skipped) == ["bad"] and not read.left_out and not table.left_out
    found = write(tmp_path / "d.json", {})
    found.write_text(json.dumps({"results": {"a": [7], "b": []}}))
    detections = read_detections(found)
    assert detections.videos == ("a", "b") and len(detections.left_out) == 1 and not detections.skipped


def test_missing_lists_labels_and_names_mean_the_same_to_all(tmp_path: Path) -> None:
    bare = [{"segment": [0, 1], "label": 2}, {"segment": [1, 2], "label_id": 0}]
    path = write(
        tmp_path / "a.json",
        {"a": GOOD | {"annotations": bare}, "b": {"subset": "train", "duration": 3}, "c": GOOD | {"annotations": None}},
    )
    read, table = read_activitynet_json(path, strict=True), read_ground_truth(path, strict=True)
    assert read.class_names == ("class_0", "unused_1", "class_2")
    assert read.videos["a"].labels.tolist() == table.columns["labels"].tolist() == [2, 0]
    np.testing.assert_array_equal(read.videos["a"].segments_sec, table.columns["segments"])
    assert tuple(read.videos) == table.videos == ("a", "b", "c")
    assert table.durations_sec == {video.id: video.duration_sec for video in read.videos.values()}
    write_activitynet_json(read, tmp_path / "b.json")
    assert read_activitynet_json(tmp_path / "b.json").class_names == read.class_names

    mixed = write(tmp_path / "m.json", {"a": GOOD | {"annotations": [RUN, {"segment": [0, 1], "label": 2}]}})
    for reader in (read_activitynet_json, read_ground_truth):
        with pytest.raises(AnnotationError, match="labels are class names in some entries and integer ids in others"):
            reader(mixed)  # type: ignore[operator]


def test_the_file_itself_is_read_the_same_by_all(tmp_path: Path) -> None:
    text = json.dumps({"a": GOOD})
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "twice.json").write_text(f'{{"a": {json.dumps(GOOD)}, "a": {json.dumps(GOOD)}}}')
    for read in (read_activitynet_json, read_ground_truth):
        for name in ("bom.json", "a.json.gz"):
            assert list(read(tmp_path / name).videos) == ["a"]  # type: ignore[operator]
        with pytest.raises(AnnotationError, match=r"twice\.json: key 'a' occurs twice"):
            read(tmp_path / "twice.json")  # type: ignore[operator]


def test_training_needs_durations_and_subsets_which_evaluation_can_do_without(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {"a": {"annotations": [RUN]}})
    assert read_ground_truth(path, strict=True).durations_sec == {}
    for options, message in (
        ({}, "no 'duration'; add it"),
        ({"durations_sec": {"b": 5.0}}, "no 'duration', and no recording of it; add it"),
        ({"durations_sec": {"a": 5.0}}, "'subset' must name its split, found None"),
    ):
        with pytest.raises(AnnotationError, match=message):
            read_activitynet_json(path, strict=True, **options)  # type: ignore[arg-type]
    read = read_activitynet_json(path, durations_sec={"a": 5.0}, default_subset="all", fps={"a": 30.0})
    assert (read.videos["a"].subset, read.videos["a"].duration_sec, read.videos["a"].fps) == ("all", 5.0, 30.0)


def test_reading_and_scoring_need_no_torch() -> None:
    code = (
        "import sys, asl_fast.evaluation, asl_fast.evaluation.activitynet_json, asl_fast.data.annotations.epic100; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
