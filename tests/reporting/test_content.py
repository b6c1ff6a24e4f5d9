# SPDX-License-Identifier: Apache-2.0
"""What a page holds of a run folder: times, scores, what was found, and nothing where there is nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.reporting import timelines
from asl_fast.reporting.content import content
from asl_fast.reporting.facts import loss_in_words, short_names
from asl_fast.reporting.run_record import read_run
from tests.reporting.made_up import FOUND, HARMFUL_VIDEO, TRUTH, made_up_run
from tests.reporting.test_packed import unpack


def gathered(*folders: Path, **options: Any) -> dict[str, Any]:
    return content([read_run(folder) for folder in folders], **options)


@pytest.fixture
def page(tmp_path: Path) -> dict[str, Any]:
    return gathered(made_up_run(tmp_path / "run").path)


def test_annotations_and_what_found_them(page: dict[str, Any]) -> None:
    assert page["videos"]["names"][0] == "first" and page["videos"]["durations"] == [20.0, 10.0, 5.0]
    assert page["truth"]["per_video"] == [3, 1, 0]
    truth = unpack(page["truth"]["packed"])
    assert (truth["start"] * page["tick"]).tolist() == pytest.approx([1, 5, 8, 2])
    assert (truth["length"] * page["tick"]).tolist() == pytest.approx([2, 1, 1, 2])
    assert [page["classes"][label] for label in truth["label"]] == ["run", "jump", page["classes"][2], "run"]
    # At tIoU 0.5 the first by its surest detection, the third by none.
    assert (truth["found0"] / 65535).tolist() == pytest.approx([0.9, 0.5, 0.0, 0.3], abs=1e-4)


def test_detections_by_video_and_start(page: dict[str, Any]) -> None:
    detections = page["runs"][0]["detections"]
    assert detections["per_video"] == [4, 2, 0] and detections["limit"] is None and detections["scored"] == [1, 1, 1]
    found = unpack(detections["packed"])
    assert (found["start"] * page["tick"]).tolist() == pytest.approx([1.0, 1.1, 5.0, 12.0, 2.0, 2.1])
    assert (found["score"] / 65535).tolist() == pytest.approx([0.6, 0.9, 0.5, 0.25, 0.8, 0.3], abs=1e-4)
    kinds = [page["kinds"][kind] for kind in found["kind"]]
    assert kinds == ["double detection", "true positive", "true positive", "background", "wrong label", "true positive"]


def test_scores_are_those_of_the_evaluation(page: dict[str, Any]) -> None:
    scores = page["runs"][0]["scores"]
    (measure,) = scores["measures"]
    assert measure["tious"] == [0.3, 0.5, 0.7]
    assert np.array(scores["ap"]).shape == (3, 3)
    assert scores["average_map"] == pytest.approx(np.mean(scores["ap"]), abs=1e-4)
    precision = unpack(scores["curves"]["packed"])["precision"].reshape(3, 3, scores["curves"]["points"])
    assert precision.max() == 255
    # The area below each curve is the average precision.
    assert precision.mean(-1) / 255 == pytest.approx(np.array(scores["ap"]), abs=0.02)
    taken = dict(
        zip(
            zip(scores["confusion"]["rows"], scores["confusion"]["columns"], strict=True),
            scores["confusion"]["counts"],
            strict=True,
        )
    )
    assert sum(taken.values()) == 4


def test_a_measure_without_thresholds_is_a_table_of_its_own(tmp_path: Path) -> None:
    run = made_up_run(tmp_path / "run")
    config = json.loads(run.config.read_text()) | {"dataset": "shrec22"}
    run.config.write_text(json.dumps(config))
    *_, spotting = gathered(run.path)["runs"][0]["scores"]["measures"]
    assert spotting["columns"] == ["detection rate", "false positives", "Jaccard index"]
    assert len(spotting["rows"][0]["values"]) == 3 and "tious" not in spotting


def test_sensitivities_of_trained_classes_beside_the_planted(page: dict[str, Any]) -> None:
    told = page["runs"][0]["sensitivity"]
    assert told["classes"] == [1, 2]
    curves = unpack(told["packed"])
    assert set(curves) == {"learned", "planted"}
    planted = curves["planted"].reshape(2, 3, len(page["positions"]))
    assert page["positions"][int(planted[0, 0].argmax())] == pytest.approx(0.1, abs=0.02)
    assert planted.max() == 255


def test_names_are_safe_to_show(page: dict[str, Any]) -> None:
    shown = page["videos"]["names"][1]
    assert shown != HARMFUL_VIDEO and "\x1b" not in shown and "\u202e" not in shown and "\\x1b" in shown


def test_a_run_that_has_not_finished(tmp_path: Path) -> None:
    page = gathered(made_up_run(tmp_path / "run", finished=False).path)
    (run,) = page["runs"]
    assert not run["finished"] and run["scores"] is None and run["detections"] is None
    assert run["history"]["epochs"] == 2 and page["videos"]["names"] == []
    assert unpack(page["truth"]["packed"])["start"].tolist() == []


def test_a_run_before_its_first_epoch(tmp_path: Path) -> None:
    page = gathered(made_up_run(tmp_path / "run", finished=False, epochs=0).path)
    assert page["runs"][0]["history"] is None
    assert "No epoch was finished" in page["runs"][0]["why_nothing_learned"]


def test_a_run_that_detected_nothing(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {"video": [], "segments": [], "labels": [], "scores": []}
    page = gathered(made_up_run(tmp_path / "run", found=nothing).path)
    scores = page["runs"][0]["scores"]
    assert scores["average_map"] == 0 and scores["best_f1"] == 0
    assert page["runs"][0]["detections"]["per_video"] == [0, 0, 0]
    assert unpack(page["truth"]["packed"])["found0"].tolist() == [0, 0, 0, 0]


def test_a_test_split_without_actions(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {"video": [], "segments": [], "labels": []}
    page = gathered(made_up_run(tmp_path / "run", truth=nothing).path)
    assert page["runs"][0]["scores"] is None
    assert set(unpack(page["runs"][0]["detections"]["packed"])["kind"].tolist()) == {255}


def test_one_class_and_no_sensitivity(tmp_path: Path) -> None:
    truth = {"video": ["first"], "segments": [[1.0, 2.0]], "labels": ["1"]}
    found = truth | {"scores": [0.5]}
    run = made_up_run(tmp_path / "run", truth=truth, found=found, classes=("1",), sensitivity=False, planted=False)
    page = gathered(run.path)
    assert page["classes"] == ["1"] and page["runs"][0]["scores"]["average_map"] == 1
    assert page["runs"][0]["sensitivity"] is None
    assert "without class-level sensitivity" in page["runs"][0]["why_nothing_learned"]


def test_two_runs_share_classes_and_videos(tmp_path: Path) -> None:
    other = FOUND | {"labels": ["run"] * 6, "scores": [0.1] * 6}
    folders = made_up_run(tmp_path / "a").path, made_up_run(tmp_path / "b", found=other, classes=("run", "jump")).path
    page = gathered(*folders)
    assert [run["name"] for run in page["runs"]] == ["a", "b"]
    assert page["classes"][:2] == ["jump", "run"]
    truth = unpack(page["truth"]["packed"])
    assert (truth["found1"] > 0).tolist() == [True, False, False, True]


def test_runs_on_different_videos(tmp_path: Path) -> None:
    truth = {"video": ["first", "new"], "segments": [[1, 3], [0, 1]], "labels": ["run", "run"]}
    a = made_up_run(tmp_path / "a", truth={key: value[:1] for key, value in truth.items()}, durations={"first": 20.0})
    b = made_up_run(tmp_path / "b", truth=truth, durations={"first": 20.0, "new": 2.0})
    page = gathered(a.path, b.path)
    first, second = (run["detections"]["scored"] for run in page["runs"])
    names = page["videos"]["names"]
    assert [names[i] for i, scored in enumerate(first) if scored] == ["first"]
    assert [names[i] for i, scored in enumerate(second) if scored] == ["first", "new"]
    assert sum(page["truth"]["per_video"]) == 2


def test_runs_on_other_annotations_do_not_compare(tmp_path: Path) -> None:
    moved = TRUTH | {"segments": [[1.0, 3.5], *TRUTH["segments"][1:]]}
    a, b = made_up_run(tmp_path / "a"), made_up_run(tmp_path / "b", truth=moved)
    with pytest.raises(ValueError, match="different annotations of video 'first'"):
        gathered(a.path, b.path)
    one = {"video": ["z"], "segments": [[0, 1]], "labels": ["run"]}
    c = made_up_run(tmp_path / "c", truth=one, found=one | {"scores": [0.5]}, durations={"z": 2})
    with pytest.raises(ValueError, match="no test video in common"):
        gathered(a.path, c.path)


def test_only_the_surest_detections_of_each_video_travel(tmp_path: Path) -> None:
    page = gathered(made_up_run(tmp_path / "run").path, most=3)
    detections = page["runs"][0]["detections"]
    assert detections["limit"] == 1 and detections["total"] == 6 and detections["per_video"] == [1, 1, 0]
    assert (unpack(detections["packed"])["score"] / 65535).tolist() == pytest.approx([0.9, 0.8], abs=1e-4)
    # What is scored stays whole.
    assert page["runs"][0]["scores"]["detections"] == 6


def test_surest_keeps_as_many_as_fit() -> None:
    video, scores = np.repeat(np.arange(3), [5, 2, 1]), np.linspace(1, 0, 8)
    kept, limit = timelines._surest(video, scores, 6, 9)
    assert limit == 3 and np.bincount(video[kept]).tolist() == [3, 2, 1]
    assert timelines._surest(video, scores, 8, 5)[1] is None
    kept, limit = timelines._surest(video, scores, 8, 2)
    assert limit == 2 and kept.tolist() == [0, 1, 5, 6, 7]


@pytest.mark.parametrize(("length", "last", "tick"), [(2.0, 30, 0.01), (30.0, 200, 0.1), (0.02, 5, 1e-4), (1, 1e9, 10)])
def test_times_are_fine_beside_actions_and_fit_32_bits(length: float, last: float, tick: float) -> None:
    assert timelines._tick(np.array([length]), last) == tick
    assert last / tick < 2**30


def test_runs_are_named_by_what_differs(tmp_path: Path) -> None:
    folders = [made_up_run(tmp_path / part / "run").path for part in ("a", "b")]
    assert short_names([read_run(folder) for folder in folders]) == ["a/run", "b/run"]
    assert short_names([read_run(folders[0])]) == ["run"]


def test_own_data_is_named_by_its_file(tmp_path: Path) -> None:
    run = made_up_run(tmp_path / "run")
    assert gathered(run.path)["title"] == "steps"
    config = json.loads(run.config.read_text()) | {"annotations": "/data/mine/actions.json"}
    run.config.write_text(json.dumps(config))
    assert gathered(run.path)["title"] == "mine/actions.json"


def test_losses_in_words() -> None:
    assert loss_in_words({"class_level": True, "instance_level": True, "contrastive": True}) == (
        "action sensitivity by class and instance and contrastive"
    )
    assert loss_in_words({}).startswith("plain")
