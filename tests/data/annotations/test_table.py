# SPDX-License-Identifier: Apache-2.0
"""Tables of annotations: what training, checking and evaluation make of them alike; more in tests/cases/tables.txt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.annotations.epic100 import read_epic_row
from asl_fast.data.annotations.problems import AnnotationError
from asl_fast.data.custom.data import AnnotationTable, read_own_annotations
from asl_fast.evaluation.activitynet_json import read_detections, read_ground_truth

RUN = {"segment": [1.0, 2.0], "label": "run"}
READERS: dict[str, Callable[[Path], Any]] = {
    "training": read_activitynet_json,
    "own data": lambda path: read_own_annotations(path, "mine"),
    "scoring": read_ground_truth,
    "detections": read_detections,
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_line_without_a_video_is_named(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    """Its actions would otherwise go to a video called ''."""
    path = tmp_path / "a.csv"
    path.write_text("sep=;\nclip;start;end;label;score\na;0;10;run;1\n ;12;20;jump;1\nb;5;10;run;1\n;15;20;run;1\n")
    with pytest.raises(AnnotationError, match=r"a\.csv, line 4 and 1 more: no video in column 'clip'; write its name"):
        read(path)


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("name", ["", " "])
def test_a_video_without_a_name_is_refused(tmp_path: Path, read: Callable[[Path], Any], name: str) -> None:
    entries = [{"segment": [0, 1], "label": "run", "score": 1}]
    video = {"subset": "train", "duration": 9.0, "annotations": entries}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"database": {"a": video, name: video}, "results": {"a": entries, name: entries}}))
    with pytest.raises(AnnotationError, match=rf"a\.json, video '{name}': has no name"):
        read(path)


def test_a_row_of_epic_kitchens_without_a_video_is_refused() -> None:
    row = {"start_timestamp": "0:00:00", "stop_timestamp": "0:00:01", "verb_class": "0", "noun_class": "0"}
    assert read_epic_row(row | {"video_id": "P01_01"}, "here", (1, 1)).stop_sec == 1
    with pytest.raises(AnnotationError, match="here: video_id is blank"):
        read_epic_row(row | {"video_id": " "}, "here", (1, 1))


ANNOTATED: dict[str, Any] = {
    "json": {"database": {name: {"duration": 9.0, "annotations": [RUN]} for name in "ab"}},
    "lists": {name: {"subset": "x", "duration": 9.0, "actions": [[0, 1.0, 2.0]]} for name in "ab"},
    "lists without lengths": {name: {"subset": "x", "actions": [[0, 1.0, 2.0]]} for name in "ab"},
    "table": "video,start,end,label,duration\na,1,2,run,9\nb,1,2,run,9\n",
    "table that contradicts itself": "video,start,end,label,video_length\na,1,2,run,9\na,4,5,run,8\nb,1,2,run,9\n",
}


@pytest.mark.parametrize("content", ANNOTATED.values(), ids=ANNOTATED)
def test_lengths_that_are_told_go_before_the_annotations(tmp_path: Path, content: Any) -> None:
    path = tmp_path / ("a.csv" if isinstance(content, str) else "a.json")
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    (tmp_path / "lengths.csv").write_text("a,60\nb,70.5\n")
    told = AnnotationTable(durations=str(tmp_path / "lengths.csv"))
    read, _ = read_own_annotations(path, "mine", table=told, lengths_sec={"a": 1.0, "b": 1.0}, strict=True)
    assert {key: video.duration_sec for key, video in read.videos.items()} == {"a": 60.0, "b": 70.5}


def test_lengths_that_are_known_otherwise_come_last(tmp_path: Path) -> None:
    """Those of recordings, or of the files that features were extracted from."""
    path = tmp_path / "a.json"
    videos = {name: {"annotations": [RUN]} | ({"duration": 9.0} if name == "a" else {}) for name in "abc"}
    path.write_text(json.dumps({"database": videos}))
    (tmp_path / "lengths.csv").write_text("c,60\n")
    told = AnnotationTable(durations=str(tmp_path / "lengths.csv"))
    read, _ = read_own_annotations(path, "mine", table=told, lengths_sec=dict.fromkeys("abc", 7.0), strict=True)
    assert {key: video.duration_sec for key, video in read.videos.items()} == {"a": 9.0, "b": 7.0, "c": 60.0}


def lengths_of(path: Path, header: str, *lines: str) -> dict[str, float]:
    """Lengths of videos that a table says."""
    path.write_text("\n".join([header, *lines]))
    return read_ground_truth(path).durations_sec


OF_ACTIONS = {
    "one action a video": ("start,end,duration", "a,1.0,4.0,3.0", "b,2.0,7.5,5.5"),
    "whole seconds": ("start,end,duration", "a,1,4,3", "b,2,7,5"),
    "rounded": ("start,end,duration", "a,1.26,4.17,2.9", "b,2.04,7.56,5.5"),
    "rounded to seconds": ("start,end,length", "a,11.26,14.87,4", "b,12.04,17.36,5"),
    "seconds beside frames": ("start_frame,end_frame,duration,fps", "a,25,100,3.0,25", "b,50,150,4.0,25"),
    "frames": ("start_frame,end_frame,duration,fps", "a,25,100,75,25", "b,50,150,101,25"),
    "milliseconds": ("start_ms,end_ms,duration", "a,1000,4000,3000", "b,2000,4500,2500"),
    "by the clock": ("start,end,duration", "a,0:01,0:04,0:03", "b,0:02,0:07,0:05"),
    "a slip": ("start,end,duration", "a,1,4,3", "b,2,7,5", "c,2,9,8.5"),
    "some that begin at 0": ("start,end,duration", "a,0,4,4", "b,0,7,7", "c,2,9,7"),
    "beside those of videos": ("start,end,duration,video_duration", "a,1,4,3,60", "b,2,7,5,60"),
}


@pytest.mark.parametrize(("header", "lines"), [(each[0], each[1:]) for each in OF_ACTIONS.values()], ids=OF_ACTIONS)
def test_lengths_of_actions_are_not_taken_for_those_of_videos(
    tmp_path: Path, header: str, lines: tuple[str, ...]
) -> None:
    found = lengths_of(tmp_path / "a.csv", f"video,{header},label", *(f"{line},run" for line in lines))
    assert found == (dict.fromkeys("ab", 60.0) if "video_duration" in header else {})


OF_VIDEOS = {
    "longer than all actions": ("a,1,4,60", "a,6,9,60.0", "b,2,7,50"),
    "actions that fill their video": ("a,0,60,60", "b,0,50,50"),
    "actions that nearly fill it": ("a,0.5,60,60", "b,0.3,50,50"),
    "a slip": ("a,1,4,60", "a,6,9,60", "b,2,7,50", "b,9,10,50", "c,1,4,60", "c,6,9,6"),
}


@pytest.mark.parametrize("lines", OF_VIDEOS.values(), ids=OF_VIDEOS)
def test_lengths_of_videos_stay_what_they_are(tmp_path: Path, lines: tuple[str, ...]) -> None:
    found = lengths_of(tmp_path / "a.csv", "video,start,end,duration,label", *(f"{line},run" for line in lines))
    assert found == {"a": 60.0, "b": 50.0}


def test_a_column_whose_name_says_video_is_not_guessed_about(tmp_path: Path) -> None:
    assert lengths_of(tmp_path / "a.csv", "video,start,end,video_length,label", "a,1,4,3,run") == {"a": 3.0}


def test_lengths_in_a_column_of_actions_can_be_told(tmp_path: Path) -> None:
    """Without them the videos cannot be used, and what was ignored is said."""
    path = tmp_path / "a.csv"
    path.write_text("video,start,end,duration,label\na,1.0,4.0,3.0,run\n")
    (tmp_path / "lengths.csv").write_text("a,60\n")
    with pytest.raises(AnnotationError, match="no 'duration'; add it, or give --durations FILE"):
        read_own_annotations(path, "mine", strict=True)
    read, _ = read_own_annotations(path, "mine", table=AnnotationTable(durations=str(tmp_path / "lengths.csv")))
    assert read.videos["a"].duration_sec == 60.0
    kept, _ = read_own_annotations(path, "mine", table=AnnotationTable(columns="duration=duration"))
    assert kept.videos["a"].duration_sec == 3.0
