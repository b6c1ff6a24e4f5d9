# SPDX-License-Identifier: Apache-2.0
"""MultiTHUMOS and Charades, on the real files."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.annotations.action_lists import read_action_lists, read_class_list
from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.annotations.video import Annotations
from asl_fast.data.crop import clean_segments
from asl_fast.data.datasets.benchmarks import load_annotations
from tests.shared import shared_file


@pytest.fixture(scope="module")
def multithumos() -> Annotations:
    return load_annotations("multithumos", shared_file("data/annotations/multithumos.json"), strict=True)


@pytest.fixture(scope="module")
def charades() -> Annotations:
    return load_annotations("charades", shared_file("data/annotations/charades.json"), strict=True)


def raw_and_clean(annotations: Annotations, subset: str) -> tuple[int, int, int]:
    videos = annotations.subset(subset)
    clean = [clean_segments(v.segments_sec, v.labels, v.duration_sec) for v in videos]
    return len(videos), sum(len(v.labels) for v in videos), sum(len(c.labels) for c in clean)


class TestMultiThumos:
    """Class ids from 1, segments far past the end."""

    def test_counts(self, multithumos: Annotations) -> None:
        assert raw_and_clean(multithumos, "training") == (200, 18482, 18471)
        assert raw_and_clean(multithumos, "testing") == (213, 20208, 20152)
        assert "video_test_0001292" in multithumos.videos

    def test_ids_count_from_one(self, multithumos: Annotations) -> None:
        assert len(multithumos.class_names) == 65
        assert multithumos.class_names[0] == "BaseballPitch" and multithumos.class_names[64] == "NoHuman"
        labels = np.concatenate([v.labels for v in multithumos.videos.values()])
        assert labels.min() == 0 and labels.max() == 64
        # First action of the file: [12, 18.6, 24.8], a HighJump.
        first = multithumos.videos["video_test_0000896"]
        assert multithumos.class_names[first.labels[0]] == "HighJump"

    def test_first_twenty_classes_are_thumos14(self, multithumos: Annotations) -> None:
        thumos = read_activitynet_json(shared_file("data/annotations/thumos14.json"))
        assert multithumos.class_names[:20] == thumos.class_names
        counts = [
            np.bincount(np.concatenate([v.labels for v in a.videos.values()]))[:20] for a in (multithumos, thumos)
        ]
        np.testing.assert_array_equal(counts[0], counts[1])

    def test_zero_length_and_far_past_the_end(self, multithumos: Annotations) -> None:
        empty = [
            (v.id, int(label))
            for v in multithumos.videos.values()
            for segment, label in zip(v.segments_sec, v.labels, strict=True)
            if segment[0] == segment[1]
        ]
        assert len(empty) == 7 and {label for _, label in empty} == {43}
        worst = multithumos.videos["video_test_0000950"]
        assert worst.segments_sec.max() == 4000.36
        clean = clean_segments(worst.segments_sec, worst.labels, worst.duration_sec)
        assert clean.segments_sec.max() == worst.duration_sec == 1315.39

    def test_frame_rates_are_those_of_thumos14(self, multithumos: Annotations) -> None:
        assert multithumos.videos["video_test_0000950"].fps == 25.0
        assert multithumos.videos["video_validation_0000411"].fps == 24.0
        assert multithumos.videos["video_test_0000896"].fps == 30.0


class TestCharades:
    """Class ids from 0, a third of the segments past the end."""

    def test_counts(self, charades: Annotations) -> None:
        assert len(charades.class_names) == 157 and charades.class_names[0] == "Holding some clothes"
        assert raw_and_clean(charades, "training") == (7985, 49809, 49802)
        assert raw_and_clean(charades, "testing") == (1863, 16691, 16691)

    def test_past_the_end(self, charades: Annotations) -> None:
        over = np.concatenate([v.segments_sec[:, 1] - v.duration_sec for v in charades.videos.values()])
        assert (over > 0).sum() == 19623 and (over > 1).sum() == 8747
        assert over.max() == pytest.approx(1.54, abs=1e-9)

    def test_reversed_segments(self, charades: Annotations) -> None:
        bad = {v.id for v in charades.videos.values() if (v.segments_sec[:, 1] < v.segments_sec[:, 0]).any()}
        assert bad == {"AKKWU", "LEOL6", "00SL4", "IOL8Q"}
        assert sum(int((v.segments_sec[:, 1] < v.segments_sec[:, 0]).sum()) for v in charades.videos.values()) == 7

    def test_videos_without_action(self, charades: Annotations) -> None:
        none = [sum(not len(v.labels) for v in charades.subset(name)) for name in ("training", "testing")]
        assert none == [174, 49]


GOOD = {"subset": "training", "duration": 10.0, "actions": [[0, 1.0, 2.0]]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": [[7, 1.0, 2.0]]}, "action 0: unknown class 7; ids run from 0 to 6"),
        ({"actions": [[-1, 1.0, 2.0]]}, "unknown class -1"),
        ({"actions": [[0.5, 1.0, 2.0]]}, "unknown class 0.5"),
        ({"actions": [[0, 1.0]]}, r"expected \[class, start, end\], found \[0, 1.0\]"),
        ({"actions": [[0, "a", 2.0]]}, "expected a number, found 'a'"),
        ({"actions": [[0, None, 2.0]]}, "expected a number, found None"),
        ({"actions": [[0, float("nan"), 2.0]]}, "expected a number, found nan"),
        ({"actions": None}, "'actions' is missing or of the wrong kind, found None"),
        ({"duration": None}, "'duration' is missing"),
        ({"duration": 0}, "duration_sec must be positive"),
        ({"subset": 3}, "'subset' is missing or of the wrong kind, found 3"),
    ],
)
def test_bad_videos_are_named(
    tmp_path: Path, change: dict[str, object], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lists.json"
    path.write_text(json.dumps({"bad": GOOD | change, "good": GOOD}))
    with pytest.raises(ValueError, match=rf"'bad'.*{message}"):
        read_action_lists(path, name="x", num_classes=7, first_id=0, strict=True)
    with caplog.at_level(logging.WARNING):
        assert list(read_action_lists(path, name="x", num_classes=7, first_id=0).videos) == ["good"]
    assert "skipping video 'bad'" in caplog.text and "1 x bad annotation" in caplog.text


def test_bad_files(tmp_path: Path) -> None:
    options = {"name": "x", "num_classes": 7, "first_id": 0}
    path = tmp_path / "lists.json"
    with pytest.raises(FileNotFoundError, match=r"lists\.json does not exist"):
        read_action_lists(path, **options)  # type: ignore[arg-type]
    path.write_text('{"a": {"subset": "tr')
    with pytest.raises(ValueError, match=r"lists\.json: not valid JSON"):
        read_action_lists(path, **options)  # type: ignore[arg-type]
    path.write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"lists\.json: expected"):
        read_action_lists(path, **options)  # type: ignore[arg-type]
    path.write_text('{"a": {}, "a": {}}')
    with pytest.raises(ValueError, match="key 'a' occurs twice"):
        read_action_lists(path, **options)  # type: ignore[arg-type]
    path.write_text(json.dumps({"bad": GOOD | {"actions": 3}}))
    with pytest.raises(ValueError, match=r"no usable video \(1 in the file\)"):
        read_action_lists(path, **options)  # type: ignore[arg-type]


def test_class_lists(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("c000 Holding some clothes\nc001 Putting, somewhere  \n\n")
    assert read_class_list(path, 0) == ("Holding some clothes", "Putting, somewhere")
    for text, message in (
        ("1 a\n3 b\n", "ids must run on from 1"),
        ("a b\n", "line 1: expected"),
        ("1 a\n1 b\n", "two"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_class_list(path, 1)
    with pytest.raises(ValueError, match="2 class names for 7"):
        (tmp_path / "x.json").write_text("{}")
        read_action_lists(tmp_path / "x.json", name="x", num_classes=7, first_id=0, class_names=("a", "b"))
