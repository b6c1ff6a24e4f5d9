# SPDX-License-Identifier: Apache-2.0
"""Each benchmark's way of scoring, on golden files and on the real annotation files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from asl_fast.evaluation import PROTOCOLS, evaluate_protocol, get_protocol, mean_average_precision
from asl_fast.evaluation.activitynet_json import read_detections, read_ground_truth
from asl_fast.evaluation.mean_ap import MeanAveragePrecision
from asl_fast.evaluation.protocols import published_thresholds, thresholds, with_actions
from asl_fast.evaluation.recall import RecallAtK
from asl_fast.evaluation.table import result_table
from tests.evaluation import golden
from tests.shared import shared_file

EXACT = {"rtol": 0.0, "atol": 1e-9}


@pytest.mark.parametrize(("name", "file"), [("thumos14", "thumos14_test"), ("multithumos", "multithumos_test")])
def test_published_numbers_are_actionformers(name: str, file: str) -> None:
    data = golden.load(file)
    videos = [video for video in data["video_ids"] if not video.startswith("unknown")]
    result = evaluate_protocol(name, golden.ground_truth(data), golden.predictions(data), videos=videos)
    ours = result.measures["mAP"]
    assert isinstance(ours, MeanAveragePrecision)
    assert ours.num_ground_truth == data["af__n_gt"]
    assert result.num_videos == len(videos)
    # ActionFormer's IoU ties depend on numpy's sort; MultiTHUMOS has one that decides (class 39).
    differs = np.abs(ours.ap - data["af__ap"]).max(axis=0) > 1e-9
    assert set(np.flatnonzero(differs)) <= ({39} if name == "multithumos" else set())


def test_thumos14_variants_count_the_videos_they_say() -> None:
    data = golden.load("thumos14_test")
    videos = {str(video) for video in data["video_ids"] if not video.startswith("unknown")} | {"video_test_0001292"}
    truth, found = golden.ground_truth(data), golden.predictions(data)
    extra = {"video": "video_test_0001292", "segments": [1.0, 2.0], "labels": 3, "scores": 2.0}
    found = {name: np.concatenate([column, np.array([extra[name]])]) for name, column in found.items()}
    results = {
        count: evaluate_protocol(f"thumos14-{count}", truth, found, videos=videos) for count in (213, 212, 211, 210)
    }
    assert {count: result.num_videos for count, result in results.items()} == {n: n for n in results}
    annotations = {count: result.measures["mAP"].num_ground_truth for count, result in results.items()}
    assert annotations[213] == annotations[212] == 3358
    assert annotations[211] == annotations[210] < 3358 - 29
    assert results[213].num_excluded_predictions == 0
    assert results[212].num_excluded_predictions == 1
    assert results[213].average_map < results[212].average_map  # the extra false positive ranks first
    assert results[212].average_map == evaluate_protocol("thumos14", truth, found, videos=videos).average_map


def test_afsd_ground_truth_is_the_210_video_variant() -> None:
    path = shared_file("data/annotations/thumos14_afsd/thumos_gt.json")
    videos = set(read_ground_truth(path, subset="test").videos)
    assert len(videos) == 210
    assert not videos & set(get_protocol("thumos14-210").excluded_videos)


def test_ego4d_reports_map_and_recall() -> None:
    data = golden.load("ego4d_mq")
    result = evaluate_protocol("ego4d-mq", golden.ground_truth(data), golden.predictions(data))
    ours, recall = result.measures["mAP"], result.measures["Recall"]
    assert isinstance(ours, MeanAveragePrecision) and isinstance(recall, RecallAtK)
    np.testing.assert_allclose(ours.map, data["ego__mAP"], **EXACT)
    columns = [data["recall_ks"].tolist().index(k) for k in (1, 5)]
    np.testing.assert_allclose(recall.recall, data["ego_recall__recall"][:, columns], **EXACT)


def test_epic_scores_verbs_nouns_and_actions() -> None:
    data = golden.load("epic100")
    tables = [
        {**table, "verb": data[f"{side}_verb"], "noun": data[f"{side}_noun"]}
        for side, table in (("gt", golden.ground_truth(data, "verb")), ("pred", golden.predictions(data, "verb")))
    ]
    result = evaluate_protocol("epic100", *tables)
    for task in ("verb", "noun", "action"):
        ours = result.measures[f"{task} mAP"]
        assert isinstance(ours, MeanAveragePrecision)
        np.testing.assert_allclose(ours.map, data[f"epic_{task}__mAP"], **EXACT)
        np.testing.assert_array_equal(ours.classes, np.sort(data[f"epic_{task}__class_ids"]))


def test_activitynet_leaves_out_videos_that_are_not_listed() -> None:
    truth = read_ground_truth(shared_file("data/annotations/activitynet13_19228.json"), subset="validation")
    found = read_detections(shared_file("data/annotations/sample_detection_prediction.json"))
    result = evaluate_protocol(
        "activitynet13", truth.columns, found.columns, videos=truth.videos, convention="activitynet"
    )
    assert result.average_map == 1.0
    assert (result.num_videos, result.num_excluded_predictions) == (4728, 361)
    assert result.protocol.convention.name == "activitynet"
    assert get_protocol("activitynet13").convention.name == "default"


def test_tensors_with_a_gradient_are_restricted_to_the_listed_videos() -> None:
    truth = {"video": ["a"], "segments": [[0.0, 10.0]], "labels": [0]}
    scores = torch.tensor([0.5, 0.9], dtype=torch.bfloat16, requires_grad=True)
    found = {"video": ["a", "b"], "segments": torch.tensor([[0.0, 10.0]] * 2), "labels": [0, 0], "scores": scores}
    result = evaluate_protocol("activitynet13", truth, found)
    assert (result.average_map, result.num_excluded_predictions) == (1.0, 1)


def test_hapt_has_two_sets_of_thresholds() -> None:
    table = {"video": ["r"], "segments": [[0.0, 10.0]], "labels": [1], "scores": [1.0]}
    shifted = {**table, "segments": [[0.0, 8.2]]}
    result = evaluate_protocol("hapt", table, shifted)
    assert result.average_map == 1.0
    strict = result.measures["strict mAP"]
    assert isinstance(strict, MeanAveragePrecision)
    assert strict.average_map == pytest.approx(0.7)


def test_every_protocol_says_what_it_counts_and_prints_it() -> None:
    segment = {"video": ["a"], "segments": [[0.0, 10.0]], "labels": [1], "verb": [1], "noun": [2], "scores": [1.0]}
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name
        assert len(protocol.counts) > 20
        result = evaluate_protocol(name, segment, segment)
        text = result_table(result, per_class=True)
        assert "1 video, 1 annotation, 1 prediction" in text
        assert "100.00" in text
        assert result.as_dict()["average_map"] == 1.0


def test_thresholds_are_the_decimal_numbers() -> None:
    assert thresholds(0.1, 0.5, 0.1) == (0.1, 0.2, 0.3, 0.4, 0.5) != tuple(np.linspace(0.1, 0.5, 5))
    assert thresholds(0.1, 0.9, 0.1) == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    assert thresholds(0.3, 0.7, 0.1) == (0.3, 0.4, 0.5, 0.6, 0.7)
    assert thresholds(0.5, 0.95, 0.05) == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    assert thresholds(0.5, 0.8, 0.2) == (0.5, 0.7)
    assert thresholds(0.5, 0.5, 0.1) == (0.5,)


def test_thresholds_of_benchmarks_are_those_of_the_public_evaluators() -> None:
    assert published_thresholds(0.1, 0.5, 0.1) == tuple(np.linspace(0.1, 0.5, 5)) != (0.1, 0.2, 0.3, 0.4, 0.5)
    assert published_thresholds(0.1, 0.9, 0.1) == tuple(np.linspace(0.1, 0.9, 9))
    assert published_thresholds(0.3, 0.7, 0.1) == tuple(np.linspace(0.3, 0.7, 5))
    assert published_thresholds(0.5, 0.95, 0.05) == tuple(np.linspace(0.5, 0.95, 10))


def test_unknown_protocol_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown evaluation protocol 'multithumo'; did you mean 'multithumos'\?"):
        get_protocol("multithumo")


@pytest.mark.parametrize(("column", "value"), [("noun", 300), ("noun", -1), ("verb", -2)])
def test_actions_need_ids_in_range(column: str, value: int) -> None:
    table: dict[str, Any] = {"verb": [1], "noun": [2]} | {column: [value]}
    with pytest.raises(ValueError, match=f"column '{column}', row 0: class id {value} is not in"):
        with_actions(table)
    assert with_actions({"verb": [1], "noun": [2]})["action"].tolist() == [302]


def test_default_of_epic_verbs_equals_the_official_numbers() -> None:
    data = golden.load("epic100")
    for task in ("verb", "noun"):
        ours = mean_average_precision(
            golden.ground_truth(data, task), golden.predictions(data, task), data["tiou_thresholds"]
        )
        np.testing.assert_allclose(ours.map, data[f"epic_{task}__mAP"], **EXACT)
