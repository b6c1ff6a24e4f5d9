# SPDX-License-Identifier: Apache-2.0
"""Oddities of the real files that a loader must neither stumble over nor repair behind the user's back.

The tests of each format hold its counts, class ids, frame rates and segments past the end, and those of HAPT and
EPIC-Kitchens-100 all of their oddities; here is the rest.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pytest

from asl_fast.data.annotations.thumos14 import read_thumos14_csv
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.crop import clean_segments
from asl_fast.data.datasets.benchmarks import load_annotations
from asl_fast.files import read_csv
from tests.data.helpers import overlapping
from tests.shared import shared_file

FOLDER = "data/annotations/"
FILES = {
    "thumos14": "thumos14.json",
    "multithumos": "multithumos.json",
    "charades": "charades.json",
    "activitynet13": "activitynet13_19228.json",
}


@lru_cache
def annotations(name: str) -> Annotations:
    return load_annotations(name, shared_file(FOLDER + FILES[name]), strict=True)


def repeats(video: Video) -> int:
    rows = [(*segment, label) for segment, label in zip(video.segments_sec.tolist(), video.labels, strict=True)]
    return len(rows) - len(set(rows))


@pytest.mark.parametrize(
    ("name", "column", "count", "duplicates"),
    [
        ("thumos14", 0, 537, 0),
        ("thumos14", 2, 8, 0),
        ("multithumos", 2, 1066, 0),
        ("charades", 2, 1053, 0),
        ("activitynet13", 1, 333, 45),
    ],
)
def test_overlaps_and_repeats_are_kept(name: str, column: int, count: int, duplicates: int) -> None:
    videos = annotations(name).videos.values()
    assert sum(overlapping(video)[column] for video in videos) == count
    assert sum(map(repeats, videos)) == duplicates


@pytest.mark.parametrize("name", list(FILES))
def test_targets_lie_in_the_video_and_raw_segments_stay(name: str) -> None:
    raw = clean = 0
    for video in annotations(name).videos.values():
        before = video.segments_sec.copy()
        result = clean_segments(video.segments_sec, video.labels, video.duration_sec)
        assert (result.segments_sec >= 0).all() and (result.segments_sec <= video.duration_sec).all()
        assert (result.segments_sec[:, 1] > result.segments_sec[:, 0]).all()
        np.testing.assert_array_equal(video.segments_sec, before)
        raw, clean = raw + len(before), clean + len(result.labels)
    assert (raw, raw - clean) == {
        "thumos14": (6365, 30),
        "multithumos": (38690, 67),
        "charades": (66500, 7),
        "activitynet13": (22152, 12),
    }[name]


def test_thumos14_frames_are_seconds_times_the_frame_rate() -> None:
    content = json.loads(shared_file(FOLDER + "thumos14.json").read_text())["database"]
    for video in annotations("thumos14").videos.values():
        frames = np.array([item["segment(frames)"] for item in content[video.id]["annotations"]])
        assert video.fps is not None
        np.testing.assert_array_equal(video.segments_sec * video.fps, frames)


def test_thumos14_video_whose_instances_lie_past_its_end() -> None:
    video = annotations("thumos14").videos["video_test_0000270"]
    kept = clean_segments(video.segments_sec, video.labels, video.duration_sec)
    assert (len(video.labels), len(kept.labels), kept.num_dropped) == (29, 7, 22)


def test_thumos14_csv_class_numbers_are_not_labels() -> None:
    folder = shared_file(FOLDER + "thumos14_afsd")
    rows = read_csv(folder / "test_Annotation.csv", ("type", "type_idx"))
    numbers = {int(row["type_idx"]) for row in rows if row["type"] != "Ambiguous"}
    assert (min(numbers), max(numbers)) == (7, 97)
    labels = np.concatenate([video.labels for video in read_thumos14_csv(folder).videos.values()])
    assert set(labels.tolist()) == set(range(20))


def test_multithumos_segments_far_past_the_end_and_very_short_ones() -> None:
    videos = annotations("multithumos").videos.values()
    past = {v.id: int((v.segments_sec[:, 1] > v.duration_sec + 1).sum()) for v in videos}
    assert sum(past.values()) == 65 and sum(map(bool, past.values())) == 12
    assert sum(int((v.segments_sec[:, 0] >= v.duration_sec).sum()) for v in videos) == 60
    late = annotations("multithumos").videos["video_validation_0000054"]
    assert (late.segments_sec.max(), late.duration_sec) == (817.0, 135.1)
    lengths = np.concatenate([v.segments_sec[:, 1] - v.segments_sec[:, 0] for v in videos])
    assert ((lengths > 0) & (lengths < 0.2)).sum() == 676


def test_multithumos_holds_thumos14_within_rounding() -> None:
    moved = 0
    for video in annotations("thumos14").videos.values():
        other = annotations("multithumos").videos[video.id]
        for label in np.unique(video.labels):
            ours, theirs = (v.segments_sec[v.labels == label] for v in (video, other))
            difference = np.abs(np.sort(ours, axis=0) - np.sort(theirs, axis=0)).max(axis=1)
            assert difference.max() <= 0.04 + 1e-9
            moved += int((difference > 0).sum())
    assert moved == 1074


def test_charades_reversed_segments_and_videos_other_copies_lack() -> None:
    videos = annotations("charades").videos
    reversed_ = [(v, s) for v in videos.values() for s in v.segments_sec if s[1] < s[0]]
    assert len(reversed_) == 7 and sum(bool(s[0] >= v.duration_sec) for v, s in reversed_) == 5
    for video in {v.id: v for v, _ in reversed_}.values():
        assert clean_segments(video.segments_sec, video.labels, video.duration_sec).num_dropped > 0
    assert [len(videos[name].labels) for name in ("NSM0B", "5CZRC")] == [2, 4]


def test_charades_has_up_to_nineteen_actions_at_once() -> None:
    most = 0
    for video in annotations("charades").videos.values():
        segments = clean_segments(video.segments_sec, video.labels, video.duration_sec).segments_sec
        starts = segments[:, :1]
        most = max(most, int(((segments[:, 0] <= starts) & (segments[:, 1] > starts)).sum(axis=1).max(initial=0)))
    assert most == 19


def test_activitynet_two_classes_tiny_and_all_but_whole_videos() -> None:
    videos = annotations("activitynet13").videos.values()
    assert sum(len(set(v.labels.tolist())) == 2 for v in videos) == 11
    assert max(len(set(v.labels.tolist())) for v in videos) == 2
    lengths = np.concatenate([v.segments_sec[:, 1] - v.segments_sec[:, 0] for v in videos])
    assert ((lengths > 0) & (lengths < 0.021)).sum() == 58
    shares = [np.minimum(v.segments_sec[:, 1], v.duration_sec) - v.segments_sec[:, 0] for v in videos]
    shares = [share / v.duration_sec for share, v in zip(shares, videos, strict=True)]
    assert (np.concatenate(shares) >= 0.95).mean() == pytest.approx(0.10, abs=0.01)


def test_activitynet_official_validation_truth_holds_ours() -> None:
    path = shared_file(FOLDER + "sample_detection_prediction.json")
    results = json.loads(path.read_text())["results"]
    found = annotations("activitynet13")
    validation = {video.id: video for video in found.subset("validation")}
    assert len(results) == 4926 and validation.keys() <= results.keys()
    assert {entry["score"] for entries in results.values() for entry in entries} == {1.0}
    missing = [entry for name, entries in results.items() if name not in validation for entry in entries]
    assert (len(results) - len(validation), len(missing)) == (198, 361)
    for name, video in validation.items():
        theirs = sorted((entry["label"], *entry["segment"]) for entry in results[name])
        pairs = zip(video.labels, video.segments_sec.tolist(), strict=True)
        assert theirs == sorted((found.class_names[label], *segment) for label, segment in pairs)
