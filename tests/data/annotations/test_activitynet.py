# SPDX-License-Identifier: Apache-2.0
"""ActivityNet-style JSON and ActivityNet 1.3, on the real files and on damaged ones."""

from __future__ import annotations

import gzip
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.annotations.activitynet import read_activitynet_json, write_activitynet_json
from asl_fast.data.annotations.video import Annotations
from asl_fast.data.crop import clean_segments
from tests.shared import shared_file


@pytest.fixture(scope="module")
def official() -> Annotations:
    return read_activitynet_json(shared_file("data/annotations/activitynet13_19228.json"), strict=True)


class TestActivityNet13:
    """19,228 videos."""

    def test_counts(self, official: Annotations) -> None:
        assert len(official.class_names) == 200 and list(official.class_names) == sorted(official.class_names)
        counts = {name: len(official.subset(name)) for name in ("training", "validation", "testing")}
        assert counts == {"training": 9649, "validation": 4728, "testing": 4851}
        instances = [sum(len(v.labels) for v in official.subset(name)) for name in counts]
        assert instances == [14859, 7293, 0]

    def test_quirks(self, official: Annotations) -> None:
        clean = dropped = past = duplicates = 0
        for video in official.videos.values():
            result = clean_segments(video.segments_sec, video.labels, video.duration_sec)
            clean += len(result.labels)
            dropped += result.num_dropped
            rows = list(zip(video.segments_sec.tolist(), video.labels.tolist(), strict=True))
            past += sum(end > video.duration_sec for (_, end), _ in rows)
            duplicates += len(rows) - len({(start, end, label) for (start, end), label in rows})
        assert (clean, dropped, past, duplicates) == (14850 + 7290, 12, 215, 45)


GOOD = {"subset": "train", "duration": 9.0, "annotations": [{"segment": [1, 2.5], "label": "jump", "label_id": 1}]}


def database(tmp_path: Path, entries: dict[str, object]) -> Path:
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"version": "1", "database": entries}))
    return path


def instance(**change: object) -> dict[str, object]:
    return {"annotations": [{"segment": [1, 2.5], "label": "jump", "label_id": 1} | change]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (instance(label="fly", label_id=1), "annotation 0: unknown class 'fly'; known are 2 classes"),
        (instance(label=["jump"]), r"unknown class \['jump'\]"),
        (instance(label=None), "unknown class None"),
        (instance(segment=[1]), r"'segment' must be \[start, end\] in seconds, found \[1\]"),
        (instance(segment=None), "'segment' must be"),
        (instance(segment=[1, "end"]), "'segment': expected a number, found 'end'"),
        (instance(segment=[1, float("nan")]), "expected a number, found nan"),
        (instance(segment=[float("-inf"), 1]), "expected a number, found -inf"),
        ({"annotations": 3}, "'annotations' must be a list of objects, found 3"),
        ({"annotations": [4]}, "'annotations' must be a list of objects"),
        ({"duration": None}, "no 'duration'"),
        ({"duration": -1.0}, "duration_sec must be positive, got -1.0"),
        ({"duration": "long"}, "'duration': expected a number, found 'long'"),
        ({"subset": None}, "'subset' must name its split, found None"),
        ({"fps": 0}, "fps must be positive"),
    ],
)
def test_bad_videos_are_named(
    tmp_path: Path, change: dict[str, object], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = database(tmp_path, {"bad": GOOD | change, "good": GOOD})
    with pytest.raises(ValueError, match=rf"'bad'.*{message}"):
        read_activitynet_json(path, class_names=("run", "jump"), strict=True)
    with caplog.at_level(logging.WARNING):
        kept = read_activitynet_json(path, class_names=("run", "jump"))
    assert list(kept.videos) == ["good"] and kept.videos["good"].labels.tolist() == [1]
    assert "skipping video 'bad'" in caplog.text and "1 x bad annotation" in caplog.text


def test_odd_segments_are_kept_raw(tmp_path: Path) -> None:
    odd = [[5, 3], [4, 4], [8, 20], [12, 14], [-3, 1]]
    entry = GOOD | {"annotations": [{"segment": segment, "label": "jump"} for segment in odd]}
    video = read_activitynet_json(database(tmp_path, {"a": entry}), strict=True).videos["a"]
    np.testing.assert_array_equal(video.segments_sec, odd)


def test_video_without_annotations(tmp_path: Path) -> None:
    entries = {"a": GOOD, "b": {"subset": "test", "duration": 3}, "c": GOOD | {"annotations": None}}
    found = read_activitynet_json(database(tmp_path, entries), strict=True)
    assert [len(v.labels) for v in found.videos.values()] == [1, 0, 0]
    assert found.videos["b"].segments_sec.shape == (0, 2)


def test_class_ids(tmp_path: Path) -> None:
    def read(*instances: dict[str, object]) -> tuple[str, ...]:
        entry = GOOD | {"annotations": [{"segment": [0, 1]} | item for item in instances]}
        return read_activitynet_json(database(tmp_path, {"a": entry}), strict=True).class_names

    assert read({"label": "b"}, {"label": "a"}) == ("a", "b")
    assert read({"label": "b", "label_id": 0}, {"label": "a", "label_id": 3}) == ("b", "unused_1", "unused_2", "a")
    with pytest.raises(ValueError, match="'b' has label_id 2, elsewhere 1"):
        read({"label": "b", "label_id": 1}, {"label": "b", "label_id": 2})
    with pytest.raises(ValueError, match="label_id 1 is 'a', elsewhere 'b'"):
        read({"label": "b", "label_id": 1}, {"label": "a", "label_id": 1})
    with pytest.raises(ValueError, match="must be a whole number, found 'x'"):
        read({"label": "b", "label_id": "x"})


def test_file_problems(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    with pytest.raises(FileNotFoundError, match=r"data\.json does not exist"):
        read_activitynet_json(path)
    for text, message in (
        ('{"database": {"a": {"dur', "not valid JSON at line 1"),
        ('{"database": [1]}', "ActivityNet-style"),
        ("[1]", "ActivityNet-style"),
        ('{"database": {}}', "no usable video"),
        ('{"database": {"a": {}, "a": {}}}', "key 'a' occurs twice"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"data\.json.*{message}"):
            read_activitynet_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="cannot be read"):
        read_activitynet_json(path)


def test_gzip_and_bare_database(tmp_path: Path) -> None:
    path = tmp_path / "data.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"a": GOOD}).encode()))
    assert read_activitynet_json(path).name == "data"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(ValueError, match=r"data\.json\.gz cannot be read"):
        read_activitynet_json(path)


def test_write_and_read_back(tmp_path: Path) -> None:
    entries = {"a": GOOD | {"fps": 29.97, "parent": "p", "offset": 2.5}, "b": {"subset": "test", "duration": 3}}
    first = read_activitynet_json(database(tmp_path, entries), name="mine")
    write_activitynet_json(first, tmp_path / "again.json")
    again = read_activitynet_json(tmp_path / "again.json", name="mine", strict=True)
    assert again.class_names == first.class_names
    for video in first.videos.values():
        other = again.videos[video.id]
        assert (video.subset, video.duration_sec, video.fps) == (other.subset, other.duration_sec, other.fps)
        assert dict(video.extra) == dict(other.extra)
        np.testing.assert_array_equal(video.segments_sec, other.segments_sec)
        np.testing.assert_array_equal(video.labels, other.labels)
    assert not list(tmp_path.glob(".*"))


def test_unwritable_place(tmp_path: Path) -> None:
    first = read_activitynet_json(database(tmp_path, {"a": GOOD}))
    with pytest.raises(OSError, match="nowhere"):
        write_activitynet_json(first, tmp_path / "nowhere" / "data.json")
