# SPDX-License-Identifier: Apache-2.0
"""What the challenge servers accept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asl_fast.evaluation.activitynet_json import write_detections
from asl_fast.evaluation.submissions import (
    SubmissionError,
    activitynet_submission,
    check_activitynet,
    check_ego4d,
    check_epic,
    ego4d_submission,
    epic_submission,
    write_submission,
)
from asl_fast.submit import main
from tests.shared import shared_file

FOUND: dict[str, Any] = {
    "video": ["v_0123456789a", "v_0123456789a", "v_3456789abc"],
    "segments": [[0.0, 1.0], [2.0, 5.0], [3.0, 4.0]],
    "labels": ["run", "jump", "run"],
    "scores": [0.2, 0.9, 0.5],
}


def test_activitynet() -> None:
    data = activitynet_submission(FOUND, external_data_used=True, details="features", class_names=["run", "jump"])
    assert data["version"] == "VERSION 1.3"
    assert data["external_data"] == {"used": True, "details": "features"}
    # The second id has 12 characters and really begins with v_.
    assert list(data["results"]) == ["0123456789a", "v_3456789abc"]
    assert data["results"]["0123456789a"][0] == {"label": "jump", "score": 0.9, "segment": [2.0, 5.0]}
    with pytest.raises(SubmissionError, match=r"label must be a class name of the benchmark; found 'run'"):
        activitynet_submission(FOUND, external_data_used=False, class_names=["jump"])


def test_the_official_sample_passes_the_activitynet_check() -> None:
    data = json.loads(shared_file("data/annotations/sample_detection_prediction.json").read_text())
    check_activitynet(data)
    data["results"]["wONwHYy59Tc"][0]["score"] = float("nan")
    with pytest.raises(SubmissionError, match=r"video wONwHYy59Tc: \[0\].score must be a finite number; found nan"):
        check_activitynet(data)


def test_ego4d_lists_every_clip_by_descending_score(tmp_path: Path) -> None:
    data = ego4d_submission(FOUND, clips=["silent", "v_3456789abc"], class_names=["run", "jump"])
    assert data["challenge"] == "ego4d_moment_queries" and data["version"] == "1.0"
    assert list(data["detect_results"]) == ["silent", "v_3456789abc", "v_0123456789a"]
    assert data["retrieve_results"] == data["detect_results"]
    assert [entry["score"] for entry in data["detect_results"]["v_0123456789a"]] == [0.9, 0.2]
    write_submission(tmp_path / "s.json", data)
    assert json.loads((tmp_path / "s.json").read_text()) == data

    data["retrieve_results"] = {
        **data["detect_results"],
        "v_0123456789a": data["detect_results"]["v_0123456789a"][::-1],
    }
    with pytest.raises(SubmissionError, match=r"retrieve_results: clip v_0123456789a: .* descending score"):
        check_ego4d(data)
    del data["retrieve_results"]["silent"]
    with pytest.raises(SubmissionError, match="clip silent is only in one of"):
        check_ego4d(data)


EPIC: dict[str, Any] = {"video": ["P01"], "segments": [[0.0, 1.0]], "verb": [3], "noun": [299], "scores": [0.5]}


def test_epic() -> None:
    data = epic_submission(EPIC, sls_pt=0, sls_tl=5, sls_td=3)
    entry = {"verb": 3, "noun": 299, "action": "3,299", "score": 0.5, "segment": [0.0, 1.0]}
    assert data["results"] == {"P01": [entry]}
    with pytest.raises(SubmissionError, match=r"\[0\].noun must be an integer below 300; found 300"):
        epic_submission({**EPIC, "noun": [300]}, sls_pt=0, sls_tl=0, sls_td=0)
    with pytest.raises(SubmissionError, match="sls_tl must be between 0 and 5; found 6"):
        epic_submission(EPIC, sls_pt=0, sls_tl=6, sls_td=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0.1"}, "version '0.1'; must be 0.2"),
        ({"results": []}, r"key 'results' must be a dict; found \[\]"),
        ({"sls_pt": None}, "key 'sls_pt' must be a int; found None"),
        ({"results": {"P01": [{"verb": 1, "noun": 2, "action": "2,1"}]}}, "action must be 'verb,noun'; found '2,1'"),
        (
            {"results": {"P01": [{"verb": 1, "noun": 2, "action": "1,2", "score": 1.0, "segment": [2, 1]}]}},
            "segment must not end before it starts",
        ),
    ],
)
def test_epic_check_names_what_is_wrong(change: dict[str, Any], message: str) -> None:
    data = epic_submission(EPIC, sls_pt=0, sls_tl=0, sls_td=0) | change
    with pytest.raises(SubmissionError, match=message):
        check_epic(data)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_detections(tmp_path / "d.json", FOUND, videos=["silent"])
    files = ["--detections", str(tmp_path / "d.json"), "--output", str(tmp_path / "s.json")]
    assert main(["--challenge", "ego4d-mq", *files]) == 0
    assert capsys.readouterr().out.endswith("s.json: 3 detections in 3 videos\n")
    check_ego4d(json.loads((tmp_path / "s.json").read_text()))
    assert main(["--challenge", "activitynet13", *files, "--external-data", "TSP features"]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["external_data"]["used"] is True
    assert main(["--challenge", "epic100", *files]) == 2
    assert "error: epic100 needs --nouns FILE" in capsys.readouterr().err
