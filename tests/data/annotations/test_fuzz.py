# SPDX-License-Identifier: Apache-2.0
"""Whatever an annotation or detection file holds, it is read, or an expected error names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from asl_fast.data.annotations.action_lists import read_action_lists, read_class_list
from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.annotations.activitynet_bsn import read_activitynet13_bsn
from asl_fast.data.annotations.ego4d import read_ego4d_moments
from asl_fast.data.annotations.epic100 import read_epic100
from asl_fast.data.annotations.thumos14 import read_thumos14_csv
from asl_fast.data.custom.data import read_own_annotations
from asl_fast.evaluation.activitynet_json import read_detections, read_ground_truth
from asl_fast.evaluation.epic import read_epic_csv, read_epic_detections
from asl_fast.files import read_named_numbers
from tests.data.fuzzing import bounded_memory, damaged, fuzz, json_like, mixed, read_or_named

__all__ = ["bounded_memory"]
pytestmark = pytest.mark.usefixtures("bounded_memory")

ENTRY = {"segment": [1.0, 2.0], "label": "jump", "label_id": 0, "score": 0.5}
VIDEO = {"subset": "train", "duration": 9.0, "fps": 25, "annotations": [ENTRY]}
LISTS = {"subset": "training", "duration": 9.0, "actions": [[0, 1.0, 2.0], [3, 1, 2]]}
LABEL = {"start_time": 1, "end_time": 2, "label": "cut", "primary": True}
CLIP = {"clip_uid": "c", "video_start_sec": 0, "video_end_sec": 9, "annotations": [{"labels": [LABEL]}]}
BSN = {"duration_second": 9.0, "annotations": [{"segment": [1.0, 2.0], "label": "jump"}]}
EPIC_DETECTION = {"verb": 1, "noun": 2, "action": "1,2", "score": 0.5, "segment": [0.0, 1.5]}


def bsn(path: Path) -> object:
    info = path.with_name("info.csv")
    info.write_text("video,fps,subset\na,30,training\n")
    return read_activitynet13_bsn(path, info)


def lists(path: Path) -> object:
    return read_action_lists(path, name="x")


READERS: dict[str, tuple[Any, Callable[[Path], object]]] = {
    "activitynet": ({"database": {"a": VIDEO, "b": VIDEO}}, read_activitynet_json),
    "own": ({"a": VIDEO}, lambda path: read_own_annotations(path, "x")),
    "own lists": ({"a": LISTS}, lambda path: read_own_annotations(path, "x")),
    "action lists": ({"a": LISTS, "b": LISTS}, lists),
    "bsn": ({"a": BSN}, bsn),
    "ego4d": (
        {"videos": [{"video_uid": "v", "split": "train", "clips": [CLIP]}]},
        lambda path: read_ego4d_moments([path]),
    ),
    "ground truth": ({"database": {"a": VIDEO}}, read_ground_truth),
    "detections": ({"results": {"a": [ENTRY], "b": [ENTRY]}}, read_detections),
    "epic detections": ({"results": {"a": [EPIC_DETECTION]}}, lambda path: read_epic_detections(path, skipped={})),
}


@pytest.mark.parametrize("name", READERS)
def test_drawn_json(tmp_path: Path, name: str) -> None:
    good, read = READERS[name]
    path = tmp_path / "a.json"
    words = tuple(dict.fromkeys((*VIDEO, *ENTRY, *LISTS, *LABEL, *CLIP, *EPIC_DETECTION, "database", "results", "a")))

    @fuzz
    @given(mixed(good, json_like(words)))
    def check(content: object) -> None:
        path.write_text(json.dumps(content))
        read_or_named(lambda: read(path), path)

    check()


@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_damaged_json(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"

    @fuzz
    @given(damaged(json.dumps({"database": {"a": VIDEO, "ü": VIDEO}}).encode()))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        read_or_named(lambda: read_activitynet_json(path), path)

    check()


EPIC = (
    b"narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
    b'n,a,00:00:01.00,00:00:02.00,0,0\nm,"a",00:00:01.00,00:00:02.00,0,0\n'
)
THUMOS = b'video,type,start,end\na,Jump,1.0,2.0\nb,"Ru\nn",1,2\n'

OWN = b"video,start,end,label,subset,duration\na,1.0,2.0,jump,train,9\nb,0:01,0:02,run,test,9\n"
FOUND = b"video\tt_start\tt_end\tlabel\tscore\na\t1\t2\tjump\t0.5\n"


def epic(path: Path) -> object:
    info, classes = path.with_name("info.csv"), path.with_name("classes.csv")
    info.write_text("video_id,duration,fps\na,9.5,50\n")
    classes.write_text("id,key\n0,take\n")
    return read_epic100({"train": path}, info, classes, classes)


def thumos(path: Path) -> object:
    for name in ("val", "test"):
        path.with_name(f"{name}_video_info.csv").write_text("video,fps,count\na,30,300\nb,30,300\n")
    path.with_name("test_Annotation.csv").write_text("video,type,start,end\n")
    return read_thumos14_csv(path.parent)


TABLES: dict[str, tuple[str, bytes, Callable[[Path], object]]] = {
    "epic": ("train.csv", EPIC, epic),
    "scored epic": ("v.csv", EPIC, lambda path: read_epic_csv(path, skipped={})),
    "thumos": ("val_Annotation.csv", THUMOS, thumos),
    "own table": ("mine.csv", OWN, lambda path: read_own_annotations(path, "x")),
    "table of detections": ("found.tsv", FOUND, read_detections),
    "lengths": ("lengths.csv", b"video,seconds\na,9.5\nb,8\n", lambda path: read_named_numbers(path, "seconds")),
    "class list": ("classes.txt", b"0 a b\n1 c\n2 d\n", lambda path: read_class_list(path, 0)),
}


@pytest.mark.parametrize("name", TABLES)
def test_damaged_tables(tmp_path: Path, name: str) -> None:
    file, whole, read = TABLES[name]
    path = tmp_path / file

    @fuzz
    @given(damaged(whole))
    def check(content: bytes) -> None:
        path.write_bytes(content)
        # The four tables of THUMOS14 lie in one folder, which is named where they give nothing together.
        read_or_named(lambda: read(path), path.parent if name == "thumos" else path)

    check()
