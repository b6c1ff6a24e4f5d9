# SPDX-License-Identifier: Apache-2.0
"""Agreement with the public evaluators, run on the same annotations and predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asl_fast.evaluation import mean_average_precision
from asl_fast.evaluation.mean_ap import MeanAveragePrecision
from tests.evaluation import golden

# The evaluators add up the same terms in another order, in float64.
TOLERANCE = {"rtol": 0.0, "atol": 1e-9}


def assert_equal(result: MeanAveragePrecision, expected: dict[str, Any], evaluator: str) -> None:
    class_ids = expected[f"{evaluator}__class_ids"]
    column = np.argsort(class_ids)
    np.testing.assert_array_equal(result.classes, class_ids[column])
    np.testing.assert_allclose(result.ap, expected[f"{evaluator}__ap"][:, column], **TOLERANCE)
    np.testing.assert_allclose(result.map, expected[f"{evaluator}__mAP"], **TOLERANCE)
    np.testing.assert_allclose(result.average_map, expected[f"{evaluator}__average_mAP"], **TOLERANCE)
    if f"{evaluator}__n_gt" in expected:
        assert result.num_ground_truth == expected[f"{evaluator}__n_gt"]


@pytest.mark.parametrize(
    ("file", "evaluator", "convention"),
    [
        ("thumos14_test", "af", "actionformer"),
        ("thumos14_test", "opentad", "opentad"),
        ("multithumos_test", "af", "actionformer"),
        ("multithumos_test", "opentad", "opentad"),
        ("activitynet_official", "anet", "activitynet"),
        ("activitynet_official", "af", "actionformer"),
        ("activitynet_official", "opentad", "opentad"),
        ("ego4d_mq", "ego", "ego4d"),
        ("ego4d_mq", "af", "actionformer"),
    ],
)
def test_agrees_with_reference_evaluator(file: str, evaluator: str, convention: str) -> None:
    data = golden.load(file)
    result = mean_average_precision(
        golden.ground_truth(data), golden.predictions(data), data["tiou_thresholds"], convention=convention
    )
    assert_equal(result, data, evaluator)


@pytest.mark.parametrize(
    ("evaluator", "convention", "task"),
    [
        *(("epic", "epic", task) for task in ("verb", "noun", "action")),
        *(("opentad", "opentad-epic", task) for task in ("verb", "noun", "action")),
        *(("af", "actionformer", task) for task in ("verb", "noun")),
    ],
)
def test_agrees_with_reference_evaluator_on_epic(evaluator: str, convention: str, task: str) -> None:
    data = golden.action_labels(golden.load("epic100"))
    result = mean_average_precision(
        golden.ground_truth(data, task), golden.predictions(data, task), data["tiou_thresholds"], convention=convention
    )
    assert_equal(result, data, f"{evaluator}_{task}")
    if evaluator == "epic":
        assert result.num_predictions == data[f"epic_{task}__n_pred_kept"]


@pytest.mark.parametrize(
    ("file", "evaluator"),
    [("thumos14_test", "af"), ("activitynet_official", "anet"), ("ego4d_mq", "ego")],
)
def test_default_equals_the_official_evaluator_where_that_has_no_accident(file: str, evaluator: str) -> None:
    data = golden.load(file)
    result = mean_average_precision(golden.ground_truth(data), golden.predictions(data), data["tiou_thresholds"])
    assert_equal(result, data, evaluator)


REFERENCES = {
    "actionformer": "actionformer",
    "opentad": "opentad",
    "activitynet": "activitynet",
    "epic": "epic",
    "ego4d_map": "ego4d",
}


@pytest.mark.parametrize("reference", REFERENCES)
def test_agrees_on_every_convention_case(reference: str) -> None:
    compared = 0
    for name, case in golden.convention_cases().items():
        annotations, detections = golden.case_tables(case)
        expected = case["results"][reference]
        arguments = (annotations, detections, case["tiou_thresholds"])
        if "error" in expected:
            with pytest.raises(ValueError, match="class without annotations"):
                mean_average_precision(*arguments, convention=REFERENCES[reference])
            continue
        result = mean_average_precision(*arguments, convention=REFERENCES[reference])
        column = np.argsort(expected["class_ids"])
        np.testing.assert_array_equal(result.classes, np.array(expected["class_ids"])[column], err_msg=name)
        np.testing.assert_allclose(result.ap, np.array(expected["ap"])[:, column], **TOLERANCE, err_msg=name)
        np.testing.assert_allclose(result.map, expected["mAP"], **TOLERANCE, err_msg=name)
        assert result.num_ground_truth == expected["n_gt_used"], name
        compared += 1
    assert compared >= 21


# Where the default differs from the official evaluators, and what it says there (mAP, or the error's words).
DEVIATIONS: dict[str, float | str] = {
    "zero_length_gt_and_pred": 0.25,  # 0/0 is no match: a false positive, then one of two annotations found
    "reversed_pred": "ends before it starts",
    "tied_scores_tp_first": 1.0,  # the one that starts first ranks first, wherever it is in the file
    "tied_scores_fp_first": 1.0,
    "nan_score": "is NaN",
}


def test_default_on_every_convention_case() -> None:
    for name, case in golden.convention_cases().items():
        annotations, detections = golden.case_tables(case)
        arguments = (annotations, detections, case["tiou_thresholds"])
        expected = DEVIATIONS.get(name, case["results"]["epic"].get("mAP"))
        if isinstance(expected, str):
            with pytest.raises(ValueError, match=expected):
                mean_average_precision(*arguments)
        else:
            result = mean_average_precision(*arguments)
            np.testing.assert_allclose(result.map, expected, **TOLERANCE, err_msg=name)
