# SPDX-License-Identifier: Apache-2.0
"""EPIC-Kitchens-100 files, alone and through the command lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.data.annotations.problems import AnnotationError
from asl_fast.evaluate import main as evaluate
from asl_fast.evaluation.activitynet_json import write_detections
from asl_fast.evaluation.epic import class_ids, read_epic_csv, read_epic_detections
from asl_fast.submit import main as submit
from tests.evaluation import golden
from tests.shared import shared_file

VALIDATION = "data/annotations/EPIC_100_validation.csv"


def test_reads_the_official_csv() -> None:
    data = golden.load("epic100")
    truth = read_epic_csv(shared_file(VALIDATION))
    np.testing.assert_array_equal(truth["video"], data["video_ids"][data["gt_video"]])
    np.testing.assert_allclose(truth["segments"], data["gt_segments"], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(truth["verb"], data["gt_verb"])
    np.testing.assert_array_equal(truth["noun"], data["gt_noun"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    data = golden.load("epic100")
    for task in ("verb", "noun"):
        found = {name: column[:3000] for name, column in golden.predictions(data, task).items()}
        write_detections(tmp_path / f"{task}s.json", found)
    return tmp_path


def test_two_detectors_to_a_submission_and_its_score(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = str(shared_file(VALIDATION))
    verbs, nouns, made = (str(files / name) for name in ("verbs.json", "nouns.json", "made.json"))
    both = ["--predictions", verbs, "--nouns", nouns, "--protocol", "epic100"]
    assert evaluate(["--ground-truth", truth, *both, "--json", str(files / "two.json")]) == 0
    options = ["--detections", verbs, "--nouns", nouns, "--supervision", "1", "2", "3"]
    assert submit(["--challenge", "epic100", *options, "--output", made]) == 0
    written = json.loads(Path(made).read_text())
    assert (written["version"], written["challenge"]) == ("0.2", "action_detection")
    assert [written[f"sls_{level}"] for level in ("pt", "tl", "td")] == [1, 2, 3]
    single = ["--predictions", made, "--protocol", "epic100", "--json", str(files / "one.json")]
    assert evaluate(["--ground-truth", truth, *single]) == 0
    one, two = (json.loads((files / name).read_text())["measures"] for name in ("one.json", "two.json"))
    assert one["action mAP"]["map"] == pytest.approx(two["action mAP"]["map"], abs=1e-12)
    assert one["action mAP"]["map"][0] > 0.01
    assert two["verb mAP"]["map"][0] > one["verb mAP"]["map"][0] > 0  # unpaired verbs are lost
    assert "138 videos, 9668 annotations" in capsys.readouterr().out
    assert evaluate(["--ground-truth", truth, "--predictions", verbs, "--protocol", "epic100-verb"]) == 0
    assert evaluate(["--ground-truth", truth, "--predictions", verbs, "--tiou", "0.5"]) == 2
    assert "scored with --protocol epic100" in capsys.readouterr().err


def test_class_names_become_ids() -> None:
    folder = shared_file(VALIDATION).parent
    assert class_ids(np.array(["put", "take"]), folder, "verb").tolist() == [1, 0]
    assert class_ids(np.array([5, 6]), folder, "verb").tolist() == [5, 6]
    with pytest.raises(AnnotationError, match="'juggle' is not a verb of"):
        class_ids(np.array(["juggle"]), folder, "verb")
    with pytest.raises(FileNotFoundError, match=r"EPIC_100_noun_classes.csv: no such file; it is needed because nouns"):
        class_ids(np.array(["tap"]), folder / "elsewhere", "noun")


HEADER = "video_id,start_timestamp,stop_timestamp,verb_class,noun_class\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,start_timestamp\n", "has no column 'stop_timestamp'"),
        (HEADER + "P01,0:0:1,soon,1,2\n", r"line 2 \(video P01\), stop_timestamp: expected HH:MM:SS.cc, found 'soon'"),
        (HEADER + "P01,0:0:2,0:0:1,1,2\n", "stop_timestamp 0:0:1 lies before start_timestamp"),
        (HEADER + "P01,0:0:1,0:0:2,97,2\n", "unknown verb_class 97; ids run from 0 to 96"),
        (HEADER + "P01,0:0:1,0:0:2,1,\n", "noun_class: expected a number, found ''"),
    ],
)
def test_unusable_csv_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "v.csv").write_text(text)
    with pytest.raises(AnnotationError, match=f"v.csv: .*{message}"):
        read_epic_csv(tmp_path / "v.csv")
    with pytest.raises(FileNotFoundError, match=r"w.csv does not exist"):
        read_epic_csv(tmp_path / "w.csv")


ENTRY = {"verb": 1, "noun": 2, "action": "1,2", "score": 0.5, "segment": [0.0, 1.0]}


@pytest.mark.parametrize(
    "entry", [{**ENTRY, "action": "2,1"}, {**ENTRY, "segment": [0.0]}, {**ENTRY, "score": None}, {"verb": 1}, 3]
)
def test_unusable_detection_is_named(tmp_path: Path, entry: Any) -> None:
    (tmp_path / "d.json").write_text(json.dumps({"results": {"P01_01": [ENTRY, entry]}}))
    with pytest.raises(AnnotationError, match=r"d.json: video P01_01: \[1\] cannot be used"):
        read_epic_detections(tmp_path / "d.json")
    (tmp_path / "d.json").write_text(json.dumps({"results": {"P01_01": [ENTRY], "P01_02": []}}))
    found = read_epic_detections(tmp_path / "d.json")
    assert (found["verb"].tolist(), found["noun"].tolist(), found["scores"].tolist()) == ([1], [2], [0.5])


def test_unusable_entries_are_left_out_unless_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "P01,0:0:0,0:0:1,1,2\nP02,0:0:0,0:0:1,1,2\nP02,0:0:0,soon,1,2\nP03,0:0:0,0:0:1,1,2\n"
    (tmp_path / "v.csv").write_text(HEADER + rows)
    results = {"P01": [ENTRY], "P02": [ENTRY], "P03": [ENTRY, {**ENTRY, "verb": 1.5}]}
    (tmp_path / "d.json").write_text(json.dumps({"results": results}))
    words = ["--ground-truth", str(tmp_path / "v.csv"), "--predictions", str(tmp_path / "d.json")]
    words += ["--protocol", "epic100", "--json", str(tmp_path / "out.json")]
    assert evaluate(words) == 0
    captured = capsys.readouterr()
    assert (
        "warning: 1 annotation left out: " in captured.err
        and "stop_timestamp: expected HH:MM:SS.cc, found 'soon'" in captured.err
    )
    assert "warning: 1 detection left out: " in captured.err and "whole numbers" in captured.err
    assert "3 videos, 3 annotations, 3 predictions" in captured.out
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["skipped"] == {"ground_truth": {}, "predictions": {}}
    faults = written["left_out"]
    assert "(video P02)" in faults["ground_truth"][0] and "video P03: [1] cannot" in faults["predictions"][0]
    assert evaluate([*words, "--strict"]) == 2
    assert "error: " in (error := capsys.readouterr().err) and "v.csv: line 4 (video P02)" in error


def test_nouns_that_are_none_of_the_annotations_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v.csv").write_text(HEADER + "P01,0:0:0,0:0:1,1,2\n")
    for name, label in (("verbs", 1), ("nouns", 7)):
        entry = {"segment": [0, 1], "score": 0.5, "label": label}
        (tmp_path / f"{name}.json").write_text(json.dumps({"results": {"P01": [entry]}}))
    (tmp_path / "both.json").write_text(json.dumps({"results": {"P01": [{**ENTRY, "noun": 7, "action": "1,7"}]}}))
    words = ["--ground-truth", str(tmp_path / "v.csv"), "--protocol", "epic100", "--predictions"]
    for more in (["verbs.json", "--nouns", str(tmp_path / "nouns.json")], ["both.json"]):
        assert evaluate([*words, str(tmp_path / more[0]), *more[1:]]) == 2
        assert "none of its labels is a class of" in (error := capsys.readouterr().err)
        assert "for example 7 there and 2 here" in error


def test_a_video_without_one_usable_row_is_left_out_on_both_sides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "v.csv").write_text(HEADER + "P01,0:0:0,0:0:1,1,2\nP02,0:0:0,soon,1,2\n")
    (tmp_path / "d.json").write_text(json.dumps({"results": {"P01": [ENTRY], "P02": [ENTRY]}}))
    words = ["--ground-truth", str(tmp_path / "v.csv"), "--predictions", str(tmp_path / "d.json")]
    assert evaluate([*words, "--protocol", "epic100"]) == 0
    captured = capsys.readouterr()
    assert "warning: 1 video left out on both sides: " in captured.err
    assert "1 video, 1 annotation, 1 prediction" in captured.out


@pytest.mark.parametrize("entries", [3, {"segment": [0, 1]}, [{**ENTRY, "score": float("nan")}]])
def test_entries_of_the_wrong_kind(tmp_path: Path, entries: Any) -> None:
    (tmp_path / "d.json").write_text(json.dumps({"results": {"P01_01": entries}}))
    with pytest.raises(AnnotationError, match=r"d.json: video P01_01"):
        read_epic_detections(tmp_path / "d.json")
    skipped: dict[str, str] = {}
    faults: list[str] = []
    assert len(read_epic_detections(tmp_path / "d.json", skipped=skipped, left_out=faults)["scores"]) == 0
    assert list(skipped) == ["P01_01"] * (not isinstance(entries, list)) and len(faults) == isinstance(entries, list)
