# SPDX-License-Identifier: Apache-2.0
"""EPIC-Kitchens-100, on the real files and on damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.crop import clean_segments
from asl_fast.data.epic100 import EpicAnnotations, parse_timestamp, read_class_names, read_epic100
from asl_fast.data.text_files import read_csv
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
    late = [v.id for v in epic.videos.values() if (v.segments_sec[:, 1] > v.duration_sec).any()]
    assert "P29_05" in late
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
