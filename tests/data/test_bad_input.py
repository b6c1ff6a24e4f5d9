# SPDX-License-Identifier: Apache-2.0
"""One bad video in a file of each format: strict stops and names it, otherwise it is skipped, counted, and told."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.data.annotations.action_lists import read_action_lists
from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.annotations.activitynet_bsn import read_activitynet13_bsn
from asl_fast.data.annotations.ego4d import read_ego4d_moments
from asl_fast.data.annotations.epic100 import read_epic100
from asl_fast.data.annotations.thumos14 import read_thumos14_csv
from asl_fast.data.annotations.video import Annotations
from asl_fast.data.datasets.hapt import read_hapt
from asl_fast.data.features.opening import open_store
from asl_fast.data.load import load_dataset
from tests.data.datasets.test_hapt import small_copy

Reader = Callable[[Path, Any, bool], Annotations]
INSTANCE = {"segment": [1, 2], "label": "jump", "label_id": 0}
ANET = {"subset": "train", "duration": 9.0, "annotations": [INSTANCE]}
LISTS = {"subset": "training", "duration": 9.0, "actions": [[0, 1.0, 2.0]]}
BSN = {"duration_second": 9.0, "annotations": [{"segment": [1.0, 2.0], "label": "jump"}]}
CLIP = {"clip_uid": "bad", "video_start_sec": 0, "video_end_sec": 9, "annotations": []}
INFO = "video_id,duration,fps\ngood,9.5,50\nbad,9.5,60\n"
EPIC = "narration_id,video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"
EPIC_ROW = "n,{},00:00:01.00,00:00:02.00,0,0\n"


def anet(folder: Path, bad: Any, strict: bool) -> Annotations:
    (folder / "a.json").write_text(json.dumps({"database": {"good": ANET, "bad": bad}}))
    return read_activitynet_json(folder / "a.json", strict=strict)


def lists(folder: Path, bad: Any, strict: bool) -> Annotations:
    (folder / "a.json").write_text(json.dumps({"good": LISTS, "bad": bad}))
    return read_action_lists(folder / "a.json", name="x", num_classes=3, first_id=0, strict=strict)


def bsn(folder: Path, bad: Any, strict: bool) -> Annotations:
    rows, entry = bad if isinstance(bad, tuple) else ("bad,30,training\n", bad)
    (folder / "info.csv").write_text("video,fps,subset\ngood,30,training\n" + rows)
    (folder / "a.json").write_text(json.dumps({"good": BSN, "bad": entry}))
    return read_activitynet13_bsn(folder / "a.json", folder / "info.csv", strict=strict)


def ego4d(folder: Path, bad: Any, strict: bool) -> Annotations:
    label = {"start_time": 1, "end_time": 2, "label": "cut", "primary": True}
    good = {**CLIP, "clip_uid": "good", "annotations": [{"labels": [label]}]}
    video = {"video_uid": "v", "split": "train", "clips": [good]}
    (folder / "a.json").write_text(json.dumps({"videos": [video, bad]}))
    return read_ego4d_moments([folder / "a.json"], strict=strict)


def clips(*found: Any, split: object = "train") -> dict[str, Any]:
    return {"video_uid": "w", "split": split, "clips": list(found)}


def epic(folder: Path, bad: tuple[str, str], strict: bool) -> Annotations:
    """``bad``: rows of the info file, rows of the validation split."""
    (folder / "info.csv").write_text(INFO + bad[0])
    (folder / "train.csv").write_text(EPIC + EPIC_ROW.format("good") + EPIC_ROW.format("bad"))
    (folder / "val.csv").write_text(EPIC + bad[1])
    (folder / "classes.csv").write_text("id,key\n0,take\n")
    splits = {"train": folder / "train.csv", "validation": folder / "val.csv"}
    classes = folder / "classes.csv"
    return read_epic100(splits, folder / "info.csv", classes, classes, strict=strict).task("verb")


def thumos(folder: Path, bad: tuple[str, str, str], strict: bool) -> Annotations:
    """``bad``: rows of the info file, of the validation annotations, of the test annotations."""
    info, validation, test = bad
    for name, rows in (("val", validation), ("test", test)):
        (folder / f"{name}_video_info.csv").write_text("video,fps,count\n" + ("good,30,300\n" + info) * (name == "val"))
        good = "good,Jump,1.0,2.0\n" * (name == "val")
        (folder / f"{name}_Annotation.csv").write_text("video,type,start,end\n" + good + rows)
    return read_thumos14_csv(folder, strict=strict)


THUMOS_ROW = "bad,Jump,1.0,2.0\n"
CASES: list[tuple[Reader, Any, str]] = [
    (anet, 5, r"a\.json, video 'bad': expected .*, found 5"),
    (
        anet,
        ANET | {"annotations": {"segment": 1}},
        r"a\.json, video 'bad': 'annotations' must be a list .*'segment': 1",
    ),
    (anet, ANET | {"annotations": 7}, r"a\.json, video 'bad': 'annotations' must be a list of objects, found 7"),
    (anet, ANET | {"annotations": [INSTANCE | {"label_id": "x"}]}, r"video 'bad', annotation 0: label_id .* found 'x'"),
    (anet, ANET | {"annotations": [INSTANCE | {"label_id": True}]}, r"video 'bad', annotation 0: label_id .* True"),
    (anet, ANET | {"annotations": [INSTANCE | {"label_id": -1}]}, r"video 'bad', annotation 0: label_id .* found -1"),
    (anet, ANET | {"duration": -1.0}, r"a\.json, video 'bad': duration_sec must be positive, got -1\.0"),
    (anet, ANET | {"fps": -1.0}, r"a\.json, video 'bad': fps must be positive, got -1\.0"),
    (anet, ANET | {"fps": 1e300}, r"a\.json, video 'bad': fps 1e\+300 is beyond all reason"),
    (anet, ANET | {"duration": 1e300}, r"a\.json, video 'bad': duration_sec 1e\+300 is beyond all reason"),
    (lists, [1], r"a\.json, video 'bad': expected .*, found \[1\]"),
    (lists, LISTS | {"duration": float("nan")}, r"a\.json, video 'bad', 'duration': expected a number, found nan"),
    (lists, LISTS | {"duration": 0}, r"a\.json, video 'bad': duration_sec must be positive, got 0\.0"),
    (bsn, 5, r"a\.json, video 'bad': expected .*, found 5"),
    (bsn, BSN | {"annotations": 7}, r"a\.json, video 'bad': 'annotations' must be a list of objects, found 7"),
    (bsn, BSN | {"annotations": [3]}, r"a\.json, video 'bad', annotation 0: 'annotations' must be a list .*\[3\]"),
    (
        bsn,
        BSN | {"annotations": [{"label": ["jump"]}]},
        r"a\.json, video 'bad', annotation 0: unknown class \['jump'\]",
    ),
    (bsn, BSN | {"duration_second": 0}, r"a\.json, video 'bad': duration_sec must be positive, got 0"),
    (bsn, ("bad,30,training\nbad,25,validation\n", BSN), r"a\.json, video 'bad': listed twice in .*info\.csv"),
    (bsn, ("bad,fast,training\n", BSN), r"info\.csv, video 'bad', 'fps': expected a number, found 'fast'"),
    (ego4d, 7, r"a\.json, videos\[1\]: expected .*, found 7"),
    (ego4d, clips() | {"clips": 7}, r"a\.json, videos\[1\]: expected .*'clips': 7"),
    (ego4d, clips(7), r"a\.json, videos\[1\]\.clips\[0\]: expected a clip with a 'clip_uid', found 7"),
    (ego4d, clips(CLIP | {"clip_uid": None}), r"a\.json, videos\[1\]\.clips\[0\]: expected a clip with a 'clip_uid'"),
    (ego4d, clips(CLIP, CLIP), r"a\.json, clip 'bad' occurs twice"),
    (ego4d, clips(CLIP | {"annotations": "x"}), r"a\.json, clip 'bad': 'annotations' must be a list .* found 'x'"),
    (ego4d, clips(CLIP | {"annotations": [{"labels": 1}]}), r"a\.json, clip 'bad': 'labels' must be .* found 1"),
    (
        ego4d,
        clips(CLIP | {"video_end_sec": "x"}),
        r"a\.json, clip 'bad', 'video_end_sec': expected a number, found 'x'",
    ),
    (ego4d, clips(CLIP, split=3), r"a\.json, clip 'bad': its video has no 'split', found 3"),
    (epic, ("bad,8.5,60\n", ""), r"info\.csv lists twice video 'bad' of .*train\.csv"),
    (epic, ("", EPIC_ROW.format("bad")), r"val\.csv, video 'bad': it is in subset 'train' as well"),
    (thumos, ("bad,0,300\n", THUMOS_ROW, ""), r"val_video_info\.csv, video 'bad': 'fps' and 'count' must .* found 0"),
    (thumos, ("bad,30,many\n", THUMOS_ROW, ""), r"val_video_info\.csv, video 'bad', 'count': .* found 'many'"),
    (thumos, ("bad,30,9\n" * 2, THUMOS_ROW, ""), r"val_video_info\.csv, video 'bad': listed twice"),
    (thumos, ("bad,30,300\n", "bad,,1.0,2.0\n", ""), r"val_Annotation\.csv, video 'bad': 'type' must name a class"),
    (thumos, ("bad,30,300\n", "bad,Jump,one,2\n", ""), r"val_Annotation\.csv, video 'bad', 'start': .* found 'one'"),
    (thumos, ("bad,30,300\n", THUMOS_ROW, THUMOS_ROW), r"test_Annotation\.csv, video 'bad': .*'Validation' as well"),
]


@pytest.mark.parametrize(("read", "bad", "message"), CASES)
def test_one_bad_video(tmp_path: Path, read: Reader, bad: Any, message: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, bad, True)
    with caplog.at_level(logging.WARNING):
        kept = read(tmp_path, bad, False)
    assert list(kept.videos) == ["good"] and len(kept.videos["good"].labels) == 1
    (skipped,) = kept.skipped
    assert f"skipping video '{skipped}'" in caplog.text and f"1 x {kept.skipped[skipped]}" in caplog.text


TIMES = {"start_time": 1, "end_time": 2, "label": "cut", "primary": True}
ENTRIES: list[tuple[Reader, Any, str]] = [
    (anet, ANET | {"annotations": [INSTANCE, INSTANCE | {"segment": [1]}]}, "video 'bad', annotation 1: 'segment'"),
    (lists, LISTS | {"actions": [[0, 1.0, 2.0], [9, 1, 2]]}, "video 'bad', action 1: unknown class 9"),
    (lists, LISTS | {"actions": [[0, 1.0, 2.0], 7]}, "video 'bad', action 1: expected .* found 7"),
    (bsn, BSN | {"annotations": [*BSN["annotations"], 3]}, "video 'bad', annotation 1: 'annotations' must"),  # type: ignore[misc]
    (
        ego4d,
        clips(CLIP | {"annotations": [{"labels": [TIMES, TIMES | {"end_time": "x"}]}]}),
        "clip 'bad', 'end_time': .* found 'x'",
    ),
    (epic, ("", EPIC_ROW.format("new") + "m,new,00:00:01.00,late,0,0\n"), "row 'm', stop_timestamp: .* found 'late'"),
    (thumos, ("bad,30,300\n", THUMOS_ROW + "bad,,1.0,2.0\n", ""), "video 'bad': 'type' must name a class"),
]


@pytest.mark.parametrize(("read", "bad", "message"), ENTRIES)
def test_one_bad_entry(tmp_path: Path, read: Reader, bad: Any, message: str, caplog: pytest.LogCaptureFixture) -> None:
    """It costs that entry, not its video, in every format."""
    if read is epic:
        bad = ("new,9.5,50\n", bad[1])
    with pytest.raises(ValueError, match=message):
        read(tmp_path, bad, True)
    with caplog.at_level(logging.WARNING):
        kept = read(tmp_path, bad, False)
    (name,) = kept.left_out
    assert name in kept.videos and not kept.skipped and kept.left_out[name] == len(kept.videos[name].labels) == 1
    assert re.search(f"leaving out one annotation: .*{message}", caplog.text)
    assert "1 x annotation that cannot be used" in caplog.text


def test_ids_that_differ_by_a_prefix_only(tmp_path: Path) -> None:
    (tmp_path / "info.csv").write_text("video,fps,subset\n12345678901,30,training\nv_12345678901,30,training\n")
    (tmp_path / "a.json").write_text(json.dumps({"12345678901": BSN, "v_12345678901": BSN}))
    with pytest.raises(ValueError, match=r"a\.json, video 'v_12345678901': '12345678901' is in the file with and"):
        read_activitynet13_bsn(tmp_path / "a.json", tmp_path / "info.csv", strict=True)


def test_class_listed_twice(tmp_path: Path) -> None:
    (tmp_path / "info.csv").write_text("video,fps,subset\n")
    (tmp_path / "classes.csv").write_text("action\njump\nrun\njump\n")
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match=r"classes\.csv: class 'jump' is listed twice"):
        read_activitynet13_bsn(tmp_path / "a.json", tmp_path / "info.csv", tmp_path / "classes.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("Test/subject_id_test.txt", "1\n2\n", r"subject_id_test\.txt: user 1 is in subject_id_train\.txt as well"),
        ("RawData/labels.txt", "1 1 1.5 1 9\n", r"labels\.txt: every value must be an integer, found '1 1 1\.5 1 9'"),
    ],
)
def test_hapt_files_that_contradict_themselves(tmp_path: Path, name: str, content: str, message: str) -> None:
    folder = small_copy(tmp_path / "data")
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_hapt(folder)


def test_hdf5_groups_are_named(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "files").mkdir()
    for path in (tmp_path / "files" / "a.h5", tmp_path / "all.h5"):
        with h5py.File(path, "w") as file:
            file["a/rgb/feats"] = np.zeros((3, 2), np.float32)
    with pytest.raises(ValueError, match=r"a\.h5: entry 'a' is a group with 'rgb' inside, not an array"):
        open_store(tmp_path / "files", dim=2).load("a")
    with pytest.raises(ValueError, match=r"all\.h5, entry 'a': entry 'rgb' is a group with 'feats' inside"):
        open_store(tmp_path / "all.h5", dim=2).load("a")
    np.testing.assert_array_equal(open_store(tmp_path / "files", key="a/rgb/feats").load("a"), np.zeros((3, 2)))
    np.testing.assert_array_equal(open_store(tmp_path / "all.h5", key="rgb/feats").load("a"), np.zeros((3, 2)))


def test_what_was_skipped_is_kept_with_the_data_set(tmp_path: Path) -> None:
    entries = {name: ANET | {"subset": subset, "fps": 30} for name, subset in (("a", "Validation"), ("b", "Test"))}
    entries |= {"c": ANET | {"subset": "Test", "fps": 30}, "d": ANET | {"duration": "long"}}
    (tmp_path / "thumos14.json").write_text(json.dumps({"database": entries}))
    (tmp_path / "features").mkdir()
    for name in "ab":
        np.save(tmp_path / "features" / f"{name}.npy", np.zeros((64, 2048), np.float16))
    bundle = load_dataset("thumos14", tmp_path)
    assert bundle.metadata["skipped"] == {"c": "video without features", "d": "bad annotation"}
    assert bundle.metadata["problems"] == {"video without features": 1, "video with unusable annotations": 1}
