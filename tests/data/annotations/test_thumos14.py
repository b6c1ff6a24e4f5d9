# SPDX-License-Identifier: Apache-2.0
"""THUMOS14 in each public form, on the real files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.annotations.thumos14 import read_thumos14_csv, read_video_info, thumos14_fps
from asl_fast.data.annotations.video import Annotations
from asl_fast.data.crop import clean_segments
from tests.shared import shared_file


@pytest.fixture(scope="module")
def official() -> Annotations:
    return read_activitynet_json(shared_file("data/annotations/thumos14.json"), strict=True)


@pytest.fixture(scope="module")
def afsd() -> Path:
    return shared_file("data/annotations/thumos14_afsd")


def test_counts(official: Annotations) -> None:
    assert len(official.class_names) == 20 and list(official.class_names) == sorted(official.class_names)
    assert official.class_names[5] == "CricketBowling"
    validation, test = official.subset("validation"), official.subset("TEST")
    assert (len(validation), len(test)) == (200, 212)
    assert (sum(len(v.labels) for v in validation), sum(len(v.labels) for v in test)) == (3007, 3358)


def test_frame_rates(official: Annotations) -> None:
    assert Counter(v.fps for v in official.videos.values()) == {30.0: 381, 29.97: 18, 25.0: 11, 24.0: 2}
    for video in official.videos.values():
        assert thumos14_fps(video.id) == pytest.approx(video.fps, abs=0.001)
    assert thumos14_fps("video_test_0001292") == 30.0


def test_segments_past_the_end_are_no_targets_but_stay_raw(official: Annotations) -> None:
    past = {v.id: int((v.segments_sec[:, 0] >= v.duration_sec).sum()) for v in official.videos.values()}
    assert {key: count for key, count in past.items() if count} == {
        "video_test_0000270": 22,
        "video_test_0000814": 3,
        "video_test_0001081": 1,
        "video_validation_0000364": 2,
        "video_validation_0000856": 2,
    }
    for subset, raw, clean in (("Validation", 3007, 3003), ("Test", 3358, 3332)):
        videos = official.subset(subset)
        kept = [clean_segments(v.segments_sec, v.labels, v.duration_sec) for v in videos]
        assert sum(len(v.labels) for v in videos) == raw
        assert sum(len(k.labels) for k in kept) == clean


def test_every_cliff_dive_is_a_dive_as_well(official: Annotations) -> None:
    cliff, dive = (official.class_names.index(name) for name in ("CliffDiving", "Diving"))
    pairs = 0
    for video in official.videos.values():
        dives = {tuple(s) for s in video.segments_sec[video.labels == dive]}
        pairs += sum(tuple(s) in dives for s in video.segments_sec[video.labels == cliff])
    assert pairs == 360 == sum(int((v.labels == cliff).sum()) for v in official.videos.values())


def test_csv_agrees_and_keeps_ambiguous_rows(official: Annotations, afsd: Path) -> None:
    found = read_thumos14_csv(afsd)
    assert found.class_names == official.class_names
    # 0001292 has ambiguous rows only and no entry in the video info, so it is skipped.
    assert found.videos.keys() == official.videos.keys()
    for video in found.videos.values():
        expected = official.videos[video.id]
        assert video.subset == expected.subset and video.fps == pytest.approx(expected.fps, abs=0.001)
        rows = sorted(zip(video.labels.tolist(), video.segments_sec.tolist(), strict=True))
        assert rows == sorted(zip(expected.labels.tolist(), expected.segments_sec.tolist(), strict=True))
    ambiguous = Counter(v.subset for v in found.videos.values() for _ in v.extra["ambiguous_sec"])
    assert ambiguous["Validation"] == 89 and 0 < ambiguous["Test"] <= 99
    with pytest.raises(ValueError, match=r"video_test_0001292.*not in the video_info\.csv"):
        read_thumos14_csv(afsd, strict=True)


def test_evaluation_json_with_segments_as_text(official: Annotations, afsd: Path) -> None:
    durations, rates = {}, {}
    for name in ("val", "test"):
        found = read_video_info(afsd / f"{name}_video_info.csv")
        durations |= found[0]
        rates |= found[1]
    truth = read_activitynet_json(
        afsd / "thumos_gt.json", class_names=official.class_names, durations_sec=durations, fps=rates, strict=True
    )
    assert (len(truth.subset("train")), len(truth.subset("test"))) == (200, 210)
    assert sum(len(v.labels) for v in truth.videos.values()) == 6318
    assert official.videos.keys() - truth.videos.keys() == {"video_test_0000270", "video_test_0001496"}
    video = truth.videos["video_test_0000896"]
    np.testing.assert_array_equal(video.segments_sec, official.videos[video.id].segments_sec)


def test_evaluation_json_needs_durations(afsd: Path) -> None:
    with pytest.raises(ValueError, match=r"thumos_gt\.json, video 'video_test_0000896': no 'duration'"):
        read_activitynet_json(afsd / "thumos_gt.json", strict=True)
    with pytest.raises(ValueError, match="no usable video"):
        read_activitynet_json(afsd / "thumos_gt.json")


def test_bad_csv(tmp_path: Path) -> None:
    for name in ("val", "test"):
        (tmp_path / f"{name}_video_info.csv").write_text(f"video,fps,count\n{name}1,30,300\n{name}2,30,300\n")
        (tmp_path / f"{name}_Annotation.csv").write_text(
            f"video,type,start,end\n{name}1,Jump,1.0,x\n{name}2,Run,1.0,2.0\n"
        )
    assert list(read_thumos14_csv(tmp_path).videos) == ["val2", "test2"]
    with pytest.raises(ValueError, match=r"'val1', 'end': expected a number, found 'x'"):
        read_thumos14_csv(tmp_path, strict=True)
    (tmp_path / "val_Annotation.csv").write_text("video,type,begin,end\n")
    with pytest.raises(ValueError, match=r"val_Annotation\.csv: no column 'start'"):
        read_thumos14_csv(tmp_path)
    (tmp_path / "val_Annotation.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"val_Annotation\.csv does not exist"):
        read_thumos14_csv(tmp_path)
