# SPDX-License-Identifier: Apache-2.0
"""Recall@kx: annotations covered by the first k*x detections of their class in their video, x = annotations there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asl_fast.evaluation.columns import Array, FloatArray, Table, check_same_kind, read_columns
from asl_fast.evaluation.conventions import DEFAULT, Convention, get_convention
from asl_fast.evaluation.matching import candidate_pairs, temporal_iou
from asl_fast.evaluation.mean_ap import check_thresholds
from asl_fast.evaluation.problem import IntArray, Problem, build_problem, score_order


@dataclass(frozen=True)
class RecallAtK:
    """Recall@kx per threshold and k, in [0, 1].

    Attributes:
        tiou_thresholds: (T,) float64.
        ks: (K,) int64.
        classes: (C,) annotated classes, sorted.
        recall: (T, K) float64, averaged as the convention says.
        per_class: (T, K, C) float64.
        num_ground_truth: Annotations counted.
        convention: Name of the convention.
    """

    tiou_thresholds: FloatArray
    ks: IntArray
    classes: Array
    recall: FloatArray
    per_class: FloatArray
    num_ground_truth: int
    convention: str

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, for JSON."""
        return {
            "convention": self.convention,
            "tiou_thresholds": self.tiou_thresholds.tolist(),
            "ks": self.ks.tolist(),
            "recall": self.recall.tolist(),
            "num_ground_truth": self.num_ground_truth,
        }


def recall_at_k(
    ground_truth: Table,
    predictions: Table,
    tiou_thresholds: float | Sequence[float] | FloatArray,
    ks: int | Sequence[int] | IntArray = (1, 5),
    *,
    convention: str | Convention = DEFAULT,
    labels: str = "labels",
) -> RecallAtK:
    """Share of annotations that one of the first k*x predictions of their class and video covers.

    x is the number of annotations of that class in that video. Nothing is matched one to one: a prediction may cover
    several annotations. An annotated video without any prediction counts as missed.

    Args:
        ground_truth: As for :func:`mean_average_precision`.
        predictions: Likewise.
        tiou_thresholds: Likewise.
        ks: (K,) positive integers.
        convention: In which order predictions are taken, whether IoU equal to the threshold covers, and whether the
            mean is over annotations (Ego4D) or over classes (ActionFormer, OpenTAD).
        labels: As for :func:`mean_average_precision`.

    Raises:
        KeyError, TypeError, ValueError: As :func:`mean_average_precision`; also when a k is not positive.
    """
    rules = get_convention(convention)
    thresholds = check_thresholds(tiou_thresholds)
    multiples = np.atleast_1d(np.asarray(ks))
    if multiples.ndim != 1 or not multiples.size or multiples.dtype.kind not in "iu" or (multiples < 1).any():
        raise ValueError(f"ks must be positive integers; found {np.asarray(ks).tolist()}")
    multiples = multiples.astype(np.int64)
    annotations = read_columns(ground_truth, "ground_truth", rules, labels)
    detections = read_columns(predictions, "predictions", rules, labels)
    check_same_kind(annotations, detections)
    problem = build_problem(annotations, detections, rules)
    assert detections.scores is not None
    rows, group, rank = _ranked(problem, detections.scores, int(multiples.max()), rules)

    first = np.full((len(thresholds), len(problem.rows)), np.iinfo(np.int64).max)
    for prediction, annotation in candidate_pairs(group, problem.group_offsets):
        iou = temporal_iou(
            detections.segments_sec[rows[prediction]],
            problem.segments_sec[annotation],
            rules,
            hull=rules.recall_union == "hull",
        )
        for row, threshold in zip(first, thresholds, strict=True):
            covers = iou > threshold if rules.recall_comparison == ">" else iou >= threshold
            np.minimum.at(row, annotation[covers], rank[prediction[covers]])

    counts = np.diff(problem.group_offsets)
    annotated = np.repeat(counts, counts)  # x of each annotation
    covered = first[:, None, :] < multiples[:, None] * annotated  # (T, K, G)
    annotations_per_class = problem.annotations_per_class
    class_begins = np.cumsum(annotations_per_class) - annotations_per_class
    per_class = np.add.reduceat(covered.astype(np.float64), class_begins, axis=2) / annotations_per_class
    average = covered.mean(axis=2) if rules.recall_average == "annotations" else per_class.mean(axis=2)
    return RecallAtK(thresholds, multiples, problem.classes, average, per_class, len(problem.rows), rules.name)


def _ranked(
    problem: Problem, scores: FloatArray, largest_k: int, rules: Convention
) -> tuple[IntArray, IntArray, IntArray]:
    """Rows, groups and ranks inside the group (from 0) of the predictions among the first largest_k * x."""
    counts = np.diff(problem.group_offsets)
    inside = np.flatnonzero(problem.prediction_group >= 0)
    rows, group = problem.prediction_rows[inside], problem.prediction_group[inside]
    by_file = rules.recall_order == "file" or rules.ties == "argsort"
    order = np.lexsort((rows if by_file else inside, group))
    rows, group = rows[order], group[order]
    begins = np.searchsorted(group, np.arange(len(counts) + 1))
    if rules.recall_order == "score" and rules.ties == "argsort":
        for begin, end in zip(begins[:-1].tolist(), begins[1:].tolist(), strict=True):
            rows[begin:end] = rows[begin:end][score_order(scores[rows[begin:end]], rules)]
    rank = np.arange(len(group)) - begins[group]
    top = rank < largest_k * counts[group]
    return rows[top], group[top], rank[top]
