# SPDX-License-Identifier: Apache-2.0
"""``python -m asl_fast.evaluate``: tables, files, and one clear line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asl_fast.evaluate import main, parse_thresholds
from asl_fast.evaluation.activitynet_json import write_detections, write_ground_truth

TRUTH: dict[str, Any] = {
    "video": ["a", "a", "b"],
    "segments": [[0.0, 10.0], [20.0, 30.0], [5.0, 9.0]],
    "labels": ["run", "jump", "run"],
}
FOUND: dict[str, Any] = {
    "video": ["a", "b", "a"],
    "segments": [[0.0, 10.0], [5.0, 8.0], [21.0, 30.0]],  # tIoU 1, 0.75, 0.9
    "labels": ["run", "run", "jump"],
    "scores": [0.9, 0.8, 0.7],
}


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    write_ground_truth(tmp_path / "gt.json", TRUTH, subset="test", durations_sec={"a": 60.0, "b": 60.0, "c": 60.0})
    write_detections(tmp_path / "det.json", FOUND)
    return ["--ground-truth", str(tmp_path / "gt.json"), "--predictions", str(tmp_path / "det.json")]


def test_prints_a_table_and_writes_json(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*files, "--tiou", "0.5:0.8:0.3", "--per-class", "--json", str(tmp_path / "out.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "3 videos, 3 annotations, 3 predictions; convention default" in lines
    assert "mAP (%)  100.00  75.00    87.50" in lines
    assert any(line.startswith("jump ") for line in lines)
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["measures"]["mAP"]["map"] == [1.0, 0.75]
    assert written["average_map"] == 0.875
    assert written["measures"]["mAP"]["per_class"]["run"]["ap"] == [1.0, 0.5]


def run_folder(path: Path, **evaluation: Any) -> Path:
    path.mkdir()
    config = {"dataset": "ego4d-mq", "evaluation": {"tiou_thresholds": [0.5], **evaluation}}
    (path / "config.json").write_text(json.dumps(config))
    write_ground_truth(path / "ground_truth.json", TRUTH, subset="test")
    write_detections(path / "detections.json", FOUND)
    return path


def test_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "run", strict_thresholds=[0.8], convention="published")
    assert main(["--run", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "strict mAP (%)" in printed
    assert "Recall@1x (%)" in printed
    written = json.loads((run / "evaluation.json").read_text())
    assert written["convention"] == "published"
    assert written["measures"]["mAP"]["map"] == [1.0]
    assert written["measures"]["strict mAP"]["map"] == [0.75]


def test_protocol_and_convention_can_be_chosen(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*files, "--protocol", "hapt", "--convention", "actionformer"]) == 0
    assert "convention actionformer" in capsys.readouterr().out


def test_integer_labels_use_label_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"segment": [0, 10], "label": "run", "label_id": 4}
    (tmp_path / "gt.json").write_text(json.dumps({"database": {"a": {"annotations": [entry]}}}))
    write_detections(tmp_path / "det.json", {"video": ["a"], "segments": [[0.0, 10.0]], "labels": [4], "scores": [0.5]})
    files = ["--ground-truth", str(tmp_path / "gt.json"), "--predictions", str(tmp_path / "det.json")]
    assert main([*files, "--tiou", "0.5"]) == 0
    assert "mAP (%)  100.00   100.00" in capsys.readouterr().out


def test_unusable_ground_truth_video_is_left_out_on_both_sides(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = json.loads((tmp_path / "gt.json").read_text())
    truth["database"]["b"]["annotations"][0]["segment"] = [9.0, 5.0]
    (tmp_path / "gt.json").write_text(json.dumps(truth))
    assert main([*files, "--tiou", "0.5"]) == 0
    captured = capsys.readouterr()
    assert "warning: 1 video left out on both sides: " in captured.err
    assert "video 'b', annotation 0: 'segment' must not end before it starts, found [9.0, 5.0]" in captured.err
    assert "2 videos, 2 annotations, 2 predictions, 1 prediction in videos not scored left out" in captured.out
    assert "mAP (%)  100.00   100.00" in captured.out
    assert main([*files, "--tiou", "0.5", "--strict"]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --run DIR, or both --ground-truth FILE and --predictions FILE"),
        (["FILES"], "give the thresholds with --tiou"),
        (["FILES", "--run", "x"], "not both"),
        (["FILES", "--tiou", "0.7:0.3:0.1"], "--tiou 0.7:0.3:0.1: give first:last:step"),
        (["FILES", "--tiou", "many"], "--tiou many: give first:last:step"),
        (["FILES", "--tiou", "1.5"], "must lie in (0, 1]; found [1.5]"),
        (["FILES", "--protocol", "thumos41"], "did you mean 'thumos14'?"),
        (["FILES", "--tiou", "0.5", "--convention", "ours"], "unknown evaluation convention 'ours'"),
        (["FILES", "--tiou", "0.5", "--subset", "val"], "no subset 'val'; subsets found: test (3 videos)"),
        (["--run", "nowhere"], "nowhere/config.json: no such file; is nowhere the folder of a run?"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    files: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    expanded = [part for word in arguments for part in (files if word == "FILES" else [word])]
    assert main(expanded) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert message in captured.err


def test_run_with_an_unusable_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "run")
    (run / "config.json").write_text('{"dataset": "hapt"}')
    assert main(["--run", str(run)]) == 2
    assert "has no usable 'dataset' and 'evaluation.tiou_thresholds'" in capsys.readouterr().err


def test_detections_of_other_videos_are_an_error(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_detections(tmp_path / "det.json", {**FOUND, "video": ["v_a", "v_b", "v_a"]})
    assert main([*files, "--tiou", "0.5"]) == 2
    assert "none of its videos (2) is in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.3:0.7:0.1", (0.3, 0.4, 0.5, 0.6, 0.7)),
        ("0.1:0.9:0.1", (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
        ("0.5:0.95:0.05", (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)),
        ("0.5", (0.5,)),
        ("0.3,0.5,0.7", (0.3, 0.5, 0.7)),
    ],
)
def test_parse_thresholds(text: str, expected: tuple[float, ...]) -> None:
    assert parse_thresholds(text) == expected


def test_names_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {"segment": [0, 10], "label": "\x1b[2Jrun"}
    bad = {"segment": [5, 1], "label": "\x1b]0;x\x07"}
    truth = {"\x1b[31mv": {"annotations": [entry, bad]}, "w": {"annotations": [bad]}}
    (tmp_path / "gt.json").write_text(json.dumps({"database": truth}))
    (tmp_path / "det.json").write_text(json.dumps({"results": {"\x1b[31mv": [entry | {"score": 0.5}, 7]}}))
    words = ["--ground-truth", str(tmp_path / "gt.json"), "--predictions", str(tmp_path / "det.json"), "--tiou", "0.5"]
    assert main([*words, "--per-class", "--csv", str(tmp_path / "out.csv")]) == 0
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err and "\\x1b[2Jrun" in captured.out
    assert captured.err.count("warning: ") == 3 and "\x1b" not in (tmp_path / "out.csv").read_text()
    assert main([*words, "--strict"]) == 2 and "\x1b" not in capsys.readouterr().err
