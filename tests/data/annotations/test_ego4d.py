# SPDX-License-Identifier: Apache-2.0
"""Ego4D moment queries, on fixtures in the official layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.data.annotations.activitynet import read_activitynet_json, write_activitynet_json
from asl_fast.data.annotations.ego4d import read_ego4d_moments
from asl_fast.data.annotations.video import Annotations
from asl_fast.data.crop import clean_segments


def label(name: str, start: float, end: float, *, primary: bool = True) -> dict[str, Any]:
    return {"start_time": start, "end_time": end, "label": name, "primary": primary}


def clip(uid: str, *annotators: list[dict[str, Any]], start: float = 100.0) -> dict[str, Any]:
    return {
        "clip_uid": uid,
        "video_start_sec": start,
        "video_end_sec": start + 480.0,
        "video_start_frame": 3000,
        "video_end_frame": 17400,
        "annotations": [{"annotator_uid": str(k), "labels": labels} for k, labels in enumerate(annotators)],
    }


def moments(path: Path, split: str, *clips: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"videos": [{"video_uid": f"video-{split}", "split": split, "clips": list(clips)}]}))
    return path


@pytest.fixture
def annotations(tmp_path: Path) -> Annotations:
    train = moments(
        tmp_path / "moments_train.json",
        "train",
        clip(
            "c1",
            [label("wash / rinse, dry", 1.0, 5.0), label("walk", 0, 1, primary=False)],
            [label("wash / rinse, dry", 1.2, 5.0), label("cut", 470.0, 487.2)],
        ),
        clip("c2", start=580.0),
    )
    val = moments(tmp_path / "moments_val.json", "val", clip("c3", [label("cut", 3.0, 4.0)]))
    return read_ego4d_moments([train, val], strict=True)


def test_annotators_are_not_merged(annotations: Annotations) -> None:
    assert annotations.class_names == ("cut", "wash / rinse, dry")
    first = annotations.videos["c1"]
    np.testing.assert_array_equal(first.segments_sec, [[1.0, 5.0], [1.2, 5.0], [470.0, 487.2]])
    assert first.labels.tolist() == [1, 1, 0]
    assert (first.subset, first.duration_sec) == ("train", 480.0)
    assert annotations.videos["c3"].subset == "val"


def test_repeats_and_segments_past_the_clip_are_kept(tmp_path: Path) -> None:
    odd = [label("cut", 1.0, 5.0), label("cut", 1.0, 5.0), label("cut", 470.0, 487.2), label("cut", 481.0, 483.0)]
    found = read_ego4d_moments([moments(tmp_path / "m.json", "train", clip("c", odd[:1], odd[1:]))], strict=True)
    video = found.videos["c"]
    assert video.segments_sec.tolist() == [[1.0, 5.0], [1.0, 5.0], [470.0, 487.2], [481.0, 483.0]]
    clean = clean_segments(video.segments_sec, video.labels, video.duration_sec)
    assert clean.segments_sec.tolist() == [[1.0, 5.0], [1.0, 5.0], [470.0, 480.0]]


def test_clips_know_their_place_in_the_video(annotations: Annotations) -> None:
    assert annotations.videos["c2"].extra == {
        "clip_id": "c2",
        "video_id": "video-train",
        "parent_start_sec": 580.0,
        "parent_end_sec": 1060.0,
    }


def test_clip_without_action(annotations: Annotations) -> None:
    assert annotations.videos["c2"].segments_sec.shape == (0, 2)


def test_secondary_labels_on_request(tmp_path: Path) -> None:
    path = moments(tmp_path / "m.json", "train", clip("c", [label("walk", 0, 1, primary=False), label("cut", 1, 2)]))
    assert read_ego4d_moments([path], primary_only=False).class_names == ("cut", "walk")


def test_conversion_and_back(annotations: Annotations, tmp_path: Path) -> None:
    write_activitynet_json(annotations, tmp_path / "ego4d.json")
    again = read_activitynet_json(tmp_path / "ego4d.json", strict=True)
    assert again.class_names == annotations.class_names
    for video in annotations.videos.values():
        np.testing.assert_array_equal(again.videos[video.id].segments_sec, video.segments_sec)
        np.testing.assert_array_equal(again.videos[video.id].labels, video.labels)
        assert again.videos[video.id].extra == video.extra


def test_public_conversion(tmp_path: Path) -> None:
    # One entry per clip, no "database" around them; fps is the feature rate and test clips have no annotations.
    entry = {
        "video_id": "v",
        "clip_id": "c",
        "duration": 480.0,
        "parent_start_sec": 10.0,
        "parent_end_sec": 490.0,
        "v_duration": 900.0,
        "fps": 1.87,
        "subset": "train",
        "annotations": [{"segment": [1.0, 2.0], "label": "cut", "label_id": 7}],
    }
    test = {key: value for key, value in entry.items() if key != "annotations"} | {"subset": "test"}
    (tmp_path / "ego4d.json").write_text(json.dumps({"c": entry, "d": test}))
    found = read_activitynet_json(tmp_path / "ego4d.json", strict=True)
    assert found.class_names[7] == "cut" and len(found.class_names) == 8
    assert found.videos["c"].labels.tolist() == [7]
    assert found.videos["c"].extra["parent_start_sec"] == 10.0
    assert len(found.videos["d"].labels) == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (clip("c", [label("cut", 1.0, float("nan"))]), "'c', 'end_time': expected a number, found nan"),
        (clip("c", [label(None, 1.0, 2.0)]), "'label' must be a name, found None"),  # type: ignore[arg-type]
        (clip("c") | {"video_end_sec": None}, "'video_end_sec': expected a number, found None"),
        (clip("c") | {"video_end_sec": 50.0}, "duration_sec must be positive"),
        (clip("c", [label("fly", 1.0, 2.0)]), "unknown class 'fly', 1 are known"),
    ],
)
def test_bad_clips_are_named(tmp_path: Path, bad: dict[str, Any], message: str) -> None:
    path = moments(tmp_path / "m.json", "train", clip("good", [label("cut", 1.0, 2.0)]), bad)
    assert list(read_ego4d_moments([path], class_names=["cut"]).videos) == ["good"]
    with pytest.raises(ValueError, match=message):
        read_ego4d_moments([path], class_names=["cut"], strict=True)


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"clips": []}')
    with pytest.raises(ValueError, match="official moments file"):
        read_ego4d_moments([tmp_path / "m.json"])
    (tmp_path / "m.json").write_text('{"videos": []}')
    with pytest.raises(ValueError, match="no usable clip"):
        read_ego4d_moments([tmp_path / "m.json"])
