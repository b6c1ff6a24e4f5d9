# SPDX-License-Identifier: Apache-2.0
"""Precision over recall: its area is the average precision, and its ends are what they must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asl_fast.evaluation import mean_average_precision
from asl_fast.evaluation.precision_recall import precision_recall
from tests.evaluation import golden

TRUTH: dict[str, Any] = {
    "video": ["a", "a", "a", "a"],
    "segments": [[0.0, 10.0], [20.0, 30.0], [40.0, 50.0], [60.0, 70.0]],
    "labels": ["run", "run", "run", "jump"],
}
FOUND: dict[str, Any] = {
    "video": ["a"] * 4,
    "segments": [[0, 10], [80, 90], [20, 30], [60, 62]],
    "labels": ["run", "run", "run", "jump"],
    "scores": [0.9, 0.8, 0.7, 0.6],
}


def test_a_curve_by_hand() -> None:
    found = precision_recall(TRUTH, FOUND, [0.5], points=7)
    assert found.classes.tolist() == ["jump", "run"]
    jump, run = found.precision[0]
    assert jump.tolist() == [0] * 7
    # Found first at rank 1, then at rank 3; the third never. A third of recall is one annotation.
    assert run.tolist() == pytest.approx([1, 1, 1, 2 / 3, 2 / 3, 0, 0])


def test_the_score_of_the_best_f1() -> None:
    found = precision_recall(TRUTH, FOUND, [0.1, 0.5])
    # At 0.1 the last one counts as well: 3 right of 4 for 4 annotations. At 0.5: 2 of 3.
    assert found.best_score.tolist() == [0.6, 0.7]
    assert found.best_f1.tolist() == pytest.approx([2 * 3 / 8, 2 * 2 / 7])


def test_equal_scores_are_taken_together() -> None:
    tied = FOUND | {"scores": [0.9, 0.9, 0.9, 0.9]}
    found = precision_recall(TRUTH, tied, 0.5)
    assert found.best_score.tolist() == [0.9] and found.best_f1.tolist() == pytest.approx([2 * 2 / 8])


def test_the_area_is_the_average_precision() -> None:
    data = golden.load("thumos14_test")
    truth, found = golden.ground_truth(data), golden.predictions(data)
    thresholds = [0.3, 0.5, 0.7]
    curves = precision_recall(truth, found, thresholds, points=20001)
    ap = mean_average_precision(truth, found, thresholds).ap
    assert curves.precision.mean(-1) == pytest.approx(ap, abs=2e-3)
    assert (np.diff(curves.precision, axis=-1) <= 1e-12).all()


def test_without_detections() -> None:
    nothing: dict[str, Any] = {"video": [], "segments": [], "labels": [], "scores": []}
    found = precision_recall(TRUTH, nothing, 0.5)
    assert not found.precision.any() and found.best_score.tolist() == found.best_f1.tolist() == [0]
