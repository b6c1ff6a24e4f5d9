# SPDX-License-Identifier: Apache-2.0
"""EPIC-Kitchens-100, on the real files and on damaged ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.annotations.epic100 import EpicAnnotations, parse_timestamp, read_class_names, read_epic100
from asl_fast.data.crop import clean_segments
from asl_fast.files import read_csv
from tests.data.helpers import overlapping
from tests.shared import shared_file

FOLDER = "data/annotations/"


@pytest.fixture(scope="module")
def epic() -> EpicAnnotations:
    return read_epic100(
        {
            "train": shared_file(FOLDER + "EPIC_100_train_reconstructed.csv.gz"),
            "validation": shared_file(FOLDER + "EPIC_100_validation.csv"),
        },
        shared_file(FOLDER + "EPIC_100_video_info.csv"),
        shared_file(FOLDER + "EPIC_100_verb_classes.csv"),
        shared_file(FOLDER + "EPIC_100_noun_classes.csv"),
        strict=True,
    )


def test_counts(epic: EpicAnnotations) -> None:
    assert (len(epic.verb_names), len(epic.noun_names)) == (97, 300)
    for task, train_classes, validation_classes in (("verb", 97, 78), ("noun", 289, 211), ("action", 3568, 1352)):
        annotations = epic.task(task)  # type: ignore[arg-type]
        for subset, videos, instances, classes in (
            ("train", 495, 67217, train_classes),
            ("validation", 138, 9668, validation_classes),
        ):
            found = annotations.subset(subset)
            labels = np.concatenate([v.labels for v in found])
            assert (len(found), len(labels), len(np.unique(labels))) == (videos, instances, classes)


def test_actions_are_pairs(epic: EpicAnnotations) -> None:
    actions = epic.task("action")
    video = epic.videos["P01_11"]
    for index in (0, 1):
        name = actions.class_names[actions.videos["P01_11"].labels[index]]
        assert name == f"{epic.verb_names[video.verbs[index]]} {epic.noun_names[video.nouns[index]]}"
    assert name == "put plate"
    with pytest.raises(ValueError, match="not 'object'"):
        epic.task("object")  # type: ignore[arg-type]


def test_times_come_from_timestamps(epic: EpicAnnotations) -> None:
    video = epic.videos["P01_11"]
    np.testing.assert_allclose(video.segments_sec[:2], [[0.0, 1.89], [1.56, 2.45]], rtol=1e-15)
    assert video.narration_ids[:2] == ("P01_11_0", "P01_11_1")


def test_rows_are_put_in_time_order(epic: EpicAnnotations) -> None:
    assert all((np.diff(v.segments_sec[:, 0]) >= 0).all() for v in epic.videos.values())
    rows = read_csv(shared_file(FOLDER + "EPIC_100_validation.csv"), ("narration_id", "verb_class"))
    verbs = {row["narration_id"]: int(row["verb_class"]) for row in rows}
    for video in epic.videos.values():
        if video.subset == "validation":
            assert [verbs[key] for key in video.narration_ids] == video.verbs.tolist()


def test_one_segment_ends_late(epic: EpicAnnotations) -> None:
    late = {v.id: float((v.segments_sec[:, 1] - v.duration_sec).max()) for v in epic.videos.values()}
    assert {key: round(seconds, 2) for key, seconds in late.items() if seconds > 0} == {"P29_05": 0.01}
    clean = [clean_segments(v.segments_sec, v.verbs, v.duration_sec) for v in epic.videos.values()]
    assert sum(c.num_dropped for c in clean) == 0


def test_unseen_participants(epic: EpicAnnotations) -> None:
    path = shared_file(FOLDER + "EPIC_100_unseen_participant_ids_validation.csv")
    unseen = {row["participant_id"] for row in read_csv(path, ("participant_id",))}
    videos = [v for v in epic.videos.values() if v.subset == "validation" and v.participant in unseen]
    assert len(videos) == 22 and sum(len(v.verbs) for v in videos) == 1065


def test_longer_noun_list() -> None:
    assert len(read_class_names(shared_file(FOLDER + "EPIC_100_noun_classes_v2.csv"))) == 305


@pytest.mark.parametrize(
    ("text", "seconds"), [("00:00:00.00", 0.0), ("00:01:02.5", 62.5), ("1:00:00", 3600.0), ("12:34:56.789", 45296.789)]
)
def test_timestamps(text: str, seconds: float) -> None:
    assert parse_timestamp(text, "here") == pytest.approx(seconds, rel=1e-15)


@pytest.mark.parametrize("text", ["", "62.5", "00:61:00.0", "00:00:-1", "00:00:60.0", "a:b:c"])
def test_bad_timestamps(text: str) -> None:
    with pytest.raises(ValueError, match=r"here: expected HH:MM:SS\.cc, found"):
        parse_timestamp(text, "here")


HEADER = "narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
GOOD = "n0,P01_01,00:00:01.00,00:00:02.00,0,1\n"


def read_small(tmp_path: Path, rows: str, *, strict: bool, header: str = HEADER) -> EpicAnnotations:
    (tmp_path / "train.csv").write_text(header + rows)
    (tmp_path / "info.csv").write_text("video_id,duration,fps,resolution\nP01_01,9.5,50,x\nP01_02,9.5,60,x\n")
    for name in ("verbs", "nouns"):
        (tmp_path / f"{name}.csv").write_text('id,key\n0,take\n1,"box:lunch"\n')
    return read_epic100(
        {"train": tmp_path / "train.csv"},
        tmp_path / "info.csv",
        tmp_path / "verbs.csv",
        tmp_path / "nouns.csv",
        strict=strict,
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("n1,P01_02,00:00:01.00,late,0,1\n", "row 'n1', stop_timestamp: expected HH:MM:SS.cc, found 'late'"),
        ("n1,P01_02,00:00:01.00,00:00:02.00,2,1\n", "row 'n1': unknown verb_class 2; ids run from 0 to 1"),
        ("n1,P01_02,00:00:01.00,00:00:02.00,0,-1\n", "unknown noun_class -1"),
        ("n1,P01_02,00:00:01.00,00:00:02.00,,1\n", "verb_class: expected a number, found ''"),
        ("n1,P09_09,00:00:01.00,00:00:02.00,0,1\n", r"info\.csv does not list video 'P09_09'"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    assert list(read_small(tmp_path, GOOD + row, strict=False).videos) == ["P01_01"]
    with pytest.raises(ValueError, match=message):
        read_small(tmp_path, GOOD + row, strict=True)


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train\.csv: no column 'verb_class'"):
        read_small(tmp_path, "", strict=False, header="narration_id,video_id,start_timestamp,stop_timestamp\n")
    with pytest.raises(ValueError, match=r"train\.csv, line 3: expected 6 fields"):
        read_small(tmp_path, GOOD + "n1,P01_02,00:00\n", strict=False)
    with pytest.raises(ValueError, match="no usable video"):
        read_small(tmp_path, "", strict=False)
    (tmp_path / "verbs.csv").write_text("id,key\n1,take\n")
    with pytest.raises(ValueError, match="ids must run on from 0"):
        read_class_names(tmp_path / "verbs.csv")


def test_same_class_overlaps_and_exact_duplicates_are_kept(epic: EpicAnnotations) -> None:
    for task, train, validation in (("verb", 3828, 648), ("noun", 8542, 1194)):
        found = epic.task(task)  # type: ignore[arg-type]
        counts = [sum(overlapping(v)[2] for v in found.subset(name)) for name in ("train", "validation")]
        assert counts == [train, validation]
    twice = Counter(
        (video.id, *segment, verb, noun)
        for video in epic.videos.values()
        for segment, verb, noun in zip(
            video.segments_sec.tolist(), video.verbs.tolist(), video.nouns.tolist(), strict=True
        )
    )
    assert sorted(key[0] for key, count in twice.items() if count > 1) == ["P07_10", "P22_12"]
    assert {"P07_10_230", "P07_10_231"} <= set(epic.videos["P07_10"].narration_ids)


def test_classes_of_one_split_only(epic: EpicAnnotations) -> None:
    train, validation = (
        {noun for v in epic.videos.values() if v.subset == name for noun in v.nouns.tolist()}
        for name in ("train", "validation")
    )
    assert sorted(validation - train) == [205, 240, 288, 295]
    assert sorted(set(range(300)) - train - validation) == [270, 275, 286, 289, 290, 294, 296]
    assert len(epic.task("noun").class_names) == 300


def test_columns_that_must_not_be_used(epic: EpicAnnotations) -> None:
    rows = read_csv(shared_file(FOLDER + "EPIC_100_validation.csv"), ("start_frame", "all_noun_classes"))
    assert sum(row["narration_timestamp"] == "" for row in rows) == 70
    assert all(row["all_noun_classes"].startswith("[") for row in rows)
    # Frames count at 60, or 50, whatever the video's own rate, and are truncated: seconds come from the timestamps.
    counted = Counter()
    for row in rows:
        video = epic.videos[row["video_id"]]
        frames = parse_timestamp(row["start_timestamp"], "") * (50 if round(video.fps) == 50 else 60)
        counted[int(row["start_frame"]) - int(frames + 1e-6)] += 1
        start = video.segments_sec[video.narration_ids.index(row["narration_id"]), 0]
        assert start == parse_timestamp(row["start_timestamp"], "")
    assert counted == {0: 9616, -1: 42, 1: 10}
    assert {round(video.fps, 2) for video in epic.videos.values()} == {29.97, 47.95, 50.0, 59.94, 90.0}


def test_tail_classes(epic: EpicAnnotations) -> None:
    for task, classes, count in (("verb", 86, 1760), ("noun", 228, 1900)):
        rows = read_csv(shared_file(f"{FOLDER}EPIC_100_tail_{task}s.csv"), (task,))
        tail = np.array([int(row[task]) for row in rows])
        labels = np.concatenate([v.labels for v in epic.task(task).subset("validation")])  # type: ignore[arg-type]
        assert (len(tail), int(np.isin(labels, tail).sum())) == (classes, count)
