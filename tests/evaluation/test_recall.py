# SPDX-License-Identifier: Apache-2.0
"""Recall@kx against ActionFormer's, OpenTAD's and Ego4D's code, and where the default leaves them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asl_fast.evaluation import recall_at_k
from tests.evaluation import golden

TOLERANCE = {"rtol": 0.0, "atol": 1e-9}  # sums of the same terms in another order


@pytest.mark.parametrize(
    ("file", "evaluator", "convention"),
    [
        ("thumos14_test", "af", "actionformer"),
        ("thumos14_test", "opentad", "opentad"),
        ("multithumos_test", "af", "actionformer"),
        ("multithumos_test", "opentad", "opentad"),
        ("activitynet_official", "af", "actionformer"),
        ("activitynet_official", "opentad", "opentad"),
        ("ego4d_mq", "af", "actionformer"),
    ],
)
def test_agrees_with_class_averaged_evaluators(file: str, evaluator: str, convention: str) -> None:
    data = golden.load(file)
    ks = data["top_k"] if "top_k" in data else data["recall_ks"]
    result = recall_at_k(
        golden.ground_truth(data), golden.predictions(data), data["tiou_thresholds"], ks, convention=convention
    )
    column = np.argsort(data[f"{evaluator}__class_ids"])
    np.testing.assert_array_equal(result.classes, data[f"{evaluator}__class_ids"][column])
    np.testing.assert_allclose(result.per_class, data[f"{evaluator}__recall"][..., column], **TOLERANCE)
    np.testing.assert_allclose(result.recall, data[f"{evaluator}__mRecall"], **TOLERANCE)


def test_agrees_with_actionformer_at_the_ego4d_settings() -> None:
    data = golden.load("ego4d_mq")
    tables = golden.ground_truth(data), golden.predictions(data)
    result = recall_at_k(*tables, data["recall_tious"], data["recall_ks"], convention="actionformer")
    np.testing.assert_allclose(result.recall, data["af_recall__mRecall"], **TOLERANCE)


def test_agrees_with_ego4d_in_file_order() -> None:
    data = golden.load("ego4d_mq")
    annotations, detections = golden.ground_truth(data), golden.predictions(data)
    arguments: dict[str, Any] = {"convention": "ego4d"}
    tious, ks = data["recall_tious"], data["recall_ks"]
    result = recall_at_k(annotations, detections, tious, ks, **arguments)
    np.testing.assert_allclose(result.recall, data["ego_recall__recall"], **TOLERANCE)
    unmodified = recall_at_k(annotations, detections, np.linspace(0.1, 0.5, 5), (1, 5), **arguments)
    np.testing.assert_allclose(unmodified.recall, data["ego_recall_unmodified__recall"], **TOLERANCE)

    shuffled = {name: column[data["shuffle_order"]] for name, column in detections.items()}
    result = recall_at_k(annotations, shuffled, tious, ks, **arguments)
    np.testing.assert_allclose(result.recall, data["ego_recall_shuffled_file__recall"], **TOLERANCE)


def test_default_is_ego4d_sorted_by_score_whatever_the_file_order() -> None:
    data = golden.load("ego4d_mq")
    annotations, detections = golden.ground_truth(data), golden.predictions(data)
    shuffled = {name: column[data["shuffle_order"]] for name, column in detections.items()}
    for table in (detections, shuffled):
        result = recall_at_k(annotations, table, data["recall_tious"], data["recall_ks"])
        np.testing.assert_allclose(result.recall, data["ego_recall__recall"], **TOLERANCE)


@pytest.mark.parametrize("reference", ["actionformer", "opentad"])
def test_class_averaged_convention_cases(reference: str) -> None:
    cases = golden.convention_cases()
    assert len(cases) == 23
    for name, case in cases.items():
        expected = case["results"][reference]
        result = recall_at_k(*golden.case_tables(case), case["tiou_thresholds"], (1, 5), convention=reference)
        column = np.argsort(expected["class_ids"])
        recall = np.array(expected["recall_1x_5x_per_class"])[..., column]
        np.testing.assert_allclose(result.per_class, recall, **TOLERANCE, err_msg=name)


def test_ego4d_convention_cases() -> None:
    compared = 0
    for name, case in golden.convention_cases().items():
        expected = case["results"]["ego4d_recall"]
        result = recall_at_k(*golden.case_tables(case), case["tiou_thresholds"], (1, 5), convention="ego4d")
        if "error" in expected:  # the reference fails on a video without predictions; here it is missed
            assert name in ("gt_video_without_predictions", "no_predictions")
            assert (result.recall <= 0.5).all()
            continue
        np.testing.assert_allclose(result.recall, expected["recall_1x_5x"], **TOLERANCE, err_msg=name)
        compared += 1
    assert compared == 21


def test_default_counts_iou_equal_to_the_threshold_and_misses_silent_videos() -> None:
    cases = golden.convention_cases()
    at_threshold = cases["iou_equals_threshold"]
    assert recall_at_k(*golden.case_tables(at_threshold), 0.5, 1).recall.tolist() == [[1.0]]
    silent = cases["gt_video_without_predictions"]
    assert recall_at_k(*golden.case_tables(silent), 0.5, (1, 5)).recall.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("ks", [0, [1, -2], [], [1.5]])
def test_rejects_ks_that_are_not_positive_integers(ks: Any) -> None:
    table = {"video": ["a"], "segments": [[0.0, 1.0]], "labels": [0], "scores": [1.0]}
    with pytest.raises(ValueError, match="ks must be positive integers"):
        recall_at_k(table, table, 0.5, ks)
