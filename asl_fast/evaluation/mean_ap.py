# SPDX-License-Identifier: Apache-2.0
"""Mean average precision of temporal action detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asl_fast.evaluation.average_precision import average_precision
from asl_fast.evaluation.columns import Array, Columns, FloatArray, Table, check_same_kind, read_columns
from asl_fast.evaluation.conventions import DEFAULT, Convention, get_convention
from asl_fast.evaluation.matching import match_segments
from asl_fast.evaluation.problem import IntArray, Problem, build_problem

_BLOCK = 1 << 20  # predictions matched together, so that memory stays a few arrays of the input's length


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Average precision per threshold and class, all in [0, 1].

    Attributes:
        tiou_thresholds: (T,) float64.
        classes: (C,) annotated classes, sorted.
        ap: (T, C) float64.
        map: (T,) float64, mean over classes.
        average_map: Mean of ``map`` over thresholds.
        annotations_per_class: (C,) int64, annotations counted.
        predictions_per_class: (C,) int64, predictions counted.
        num_ground_truth: Annotations counted.
        num_predictions: Predictions counted.
        num_removed_annotations: Annotations removed by the convention as duplicate or too short.
        num_ignored_predictions: Predictions left out because their class has no annotation.
        convention: Name of the convention.
    """

    tiou_thresholds: FloatArray
    classes: Array
    ap: FloatArray
    map: FloatArray
    average_map: float
    annotations_per_class: IntArray
    predictions_per_class: IntArray
    num_ground_truth: int
    num_predictions: int
    num_removed_annotations: int
    num_ignored_predictions: int
    convention: str

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, for JSON."""
        per_class = {
            str(name): {"ap": ap, "annotations": annotations, "predictions": predictions}
            for name, ap, annotations, predictions in zip(
                self.classes.tolist(),
                self.ap.T.tolist(),
                self.annotations_per_class.tolist(),
                self.predictions_per_class.tolist(),
                strict=True,
            )
        }
        return {
            "convention": self.convention,
            "tiou_thresholds": self.tiou_thresholds.tolist(),
            "map": self.map.tolist(),
            "average_map": self.average_map,
            "num_ground_truth": self.num_ground_truth,
            "num_predictions": self.num_predictions,
            "num_removed_annotations": self.num_removed_annotations,
            "num_ignored_predictions": self.num_ignored_predictions,
            "per_class": per_class,
        }


def mean_average_precision(
    ground_truth: Table,
    predictions: Table,
    tiou_thresholds: float | Sequence[float] | FloatArray,
    *,
    convention: str | Convention = DEFAULT,
    labels: str = "labels",
) -> MeanAveragePrecision:
    """Interpolated mean average precision over classes, at each temporal IoU threshold.

    Args:
        ground_truth: Columns ``video`` (N,) strings or integers, ``segments`` (N, 2) in seconds (or ``start`` and
            ``end``), ``labels`` (N,) strings or integers. A dict of arrays, lists or CPU tensors, or a data frame.
        predictions: The same columns and ``scores`` (N,). Any order; may be empty.
        tiou_thresholds: (T,) in (0, 1]; an annotation is found at IoU >= threshold.
        convention: How to treat what evaluators disagree about: a :class:`Convention` or the name of one.
        labels: Name of the column that holds the class.

    Returns:
        The result; a class with annotations and no prediction has AP 0 and counts in the mean.

    Raises:
        KeyError, TypeError, ValueError: Naming the column, row and value that cannot be used; also when the ground
            truth is empty.
    """
    rules = get_convention(convention)
    thresholds = check_thresholds(tiou_thresholds)
    annotations = read_columns(ground_truth, "ground_truth", rules, labels)
    detections = read_columns(predictions, "predictions", rules, labels)
    check_same_kind(annotations, detections)
    problem = build_problem(annotations, detections, rules)
    ap = _ap_table(problem, detections, thresholds, rules)
    mean = ap.mean(axis=1)
    return MeanAveragePrecision(
        tiou_thresholds=thresholds,
        classes=problem.classes,
        ap=ap,
        map=mean,
        average_map=float(mean.mean()),
        annotations_per_class=problem.annotations_per_class,
        predictions_per_class=np.diff(problem.class_offsets),
        num_ground_truth=len(problem.rows),
        num_predictions=len(problem.prediction_rows),
        num_removed_annotations=problem.num_removed,
        num_ignored_predictions=problem.num_ignored,
        convention=rules.name,
    )


def check_thresholds(tiou_thresholds: float | Sequence[float] | npt.NDArray[Any]) -> FloatArray:
    """(T,) float64 thresholds, T >= 1, each in (0, 1].

    Raises:
        ValueError: There is none, or one lies outside (0, 1].
    """
    thresholds = np.atleast_1d(np.asarray(tiou_thresholds, dtype=np.float64))
    if thresholds.ndim != 1 or not thresholds.size:
        raise ValueError(f"tiou_thresholds must be one number or a non-empty list; found shape {thresholds.shape}")
    if not ((thresholds > 0) & (thresholds <= 1)).all():
        raise ValueError(f"tiou_thresholds must lie in (0, 1]; found {thresholds.tolist()}")
    return thresholds


def _ap_table(problem: Problem, detections: Columns, thresholds: FloatArray, rules: Convention) -> FloatArray:
    ap = np.zeros((len(thresholds), len(problem.classes)))
    annotations = problem.annotations_per_class
    for first, last in problem.class_blocks(_BLOCK):
        begin, end = problem.class_offsets[first], problem.class_offsets[last]
        hits = (
            match_segments(
                detections.segments_sec[problem.prediction_rows[begin:end]],
                problem.prediction_group[begin:end],
                problem.segments_sec,
                problem.group_offsets,
                thresholds,
                rules,
            )
            >= 0
        )
        for index in range(first, last):
            inside = slice(problem.class_offsets[index] - begin, problem.class_offsets[index + 1] - begin)
            ap[:, index] = [average_precision(row[inside], int(annotations[index])) for row in hits]
    return ap
