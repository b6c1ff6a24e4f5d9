# SPDX-License-Identifier: Apache-2.0
"""Label Studio and FiftyOne: the files' own rules, and the packages where they are installed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from asl_fast.formats import to_fiftyone, to_label_studio
from asl_fast.formats.recording import Action, Recording
from asl_fast.formats.text import xml_text
from tests.formats.odd import LABELS, ORIGIN, RECORDINGS


def test_label_studio_knows_every_label() -> None:
    tasks = json.loads(to_label_studio.render(RECORDINGS, ORIGIN))
    config = ElementTree.fromstring(to_label_studio.render_config(RECORDINGS, ORIGIN))
    known = {label.get("value") for label in config.iter("Label")}
    assert known == {xml_text(label) for label in LABELS}
    video, control = config.find("Video"), config.find("TimelineLabels")
    assert video is not None and control is not None
    assert video.get("value") == "$video" and video.get("frameRate") == "$fps"
    assert [task["data"]["video"] for task in tasks] == [each.name for each in RECORDINGS]
    for task, recording in zip(tasks, RECORDINGS, strict=True):
        (prediction,) = task["predictions"]
        assert len(prediction["result"]) == len(recording.actions)
        for region, action in zip(prediction["result"], recording.actions, strict=True):
            assert region["from_name"] == control.get("name") and region["to_name"] == video.get("name")
            assert region["value"]["timelinelabels"] == [xml_text(action.label)]
            assert region["score"] == action.score
            (span,) = region["value"]["ranges"]
            rate = task["data"]["fps"]
            assert 1 <= span["start"] <= span["end"] <= math.ceil(recording.duration_sec * rate)
            assert abs((span["start"] - 1) / rate - action.start_sec) <= 1 / rate
            assert abs(span["end"] / rate - action.end_sec) <= 1 / rate


def test_frames_are_counted_from_one() -> None:
    recording = Recording("a", 10.0, 25.0, ())
    for start, end, expected in (
        (0.0, 0.04, (1, 1)),
        (0.0, 10.0, (1, 250)),
        (0.04, 0.08, (2, 2)),
        (10.0, 10.0, (250, 250)),
        (0.05, 0.05, (2, 2)),
    ):
        assert to_label_studio.frames(Action(start, end, "x", 1.0), recording) == expected


def test_label_studio_accepts_tasks_and_predictions() -> None:
    interface = pytest.importorskip(
        "label_studio_sdk.label_interface",
        reason="needs label-studio-sdk (500 MB installed), which the development environment leaves out",
    ).LabelInterface(to_label_studio.render_config(RECORDINGS, ORIGIN))
    assert interface.is_valid
    for task in json.loads(to_label_studio.render(RECORDINGS, ORIGIN)):
        assert not interface.validate_prediction(task["predictions"][0], return_errors=True)


def test_fiftyone_labels() -> None:
    content = json.loads(to_fiftyone.render(RECORDINGS, ORIGIN))
    assert content["classes"] == list(LABELS)
    assert set(content["labels"]) == {each.name for each in RECORDINGS}
    for recording in RECORDINGS:
        found = [
            (*each["timestamps"], content["classes"][each["label"]], each["confidence"])
            for each in content["labels"][recording.name]
        ]
        assert found == [tuple(action) for action in recording.actions]


def test_fiftyone_reads_them(tmp_path: Path) -> None:
    needs = "needs fiftyone (1 GB installed, with a database), which the development environment leaves out"
    pytest.importorskip("fiftyone", reason=needs)
    from fiftyone.core.metadata import VideoMetadata
    from fiftyone.utils.data.parsers import FiftyOneTemporalDetectionSampleParser

    content = json.loads(to_fiftyone.render(RECORDINGS, ORIGIN))
    parser = FiftyOneTemporalDetectionSampleParser(classes=content["classes"])
    for recording in RECORDINGS:
        frames = math.ceil(recording.duration_sec * recording.fps)
        metadata = VideoMetadata(duration=recording.duration_sec, total_frame_count=frames, frame_rate=recording.fps)
        parser.with_sample((f"{recording.name}.mp4", content["labels"][recording.name]), metadata=metadata)
        found = parser.get_label().detections
        assert [each.label for each in found] == [action.label for action in recording.actions]
        assert [each.confidence for each in found] == [action.score for action in recording.actions]
        for each, action in zip(found, recording.actions, strict=True):
            assert abs(each.support[0] / recording.fps - action.start_sec) < 2 / recording.fps
