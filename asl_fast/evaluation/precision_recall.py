# SPDX-License-Identifier: Apache-2.0
"""Precision over recall of each class, whose area is its average precision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asl_fast.evaluation.columns import Array, FloatArray, Table, check_same_kind, read_columns
from asl_fast.evaluation.conventions import DEFAULT, Convention, get_convention
from asl_fast.evaluation.matching import match_segments
from asl_fast.evaluation.mean_ap import check_thresholds
from asl_fast.evaluation.problem import build_problem


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Interpolated curves, and the score at which detections and annotations agree best.

    Attributes:
        tiou_thresholds: (T,) float64.
        classes: (C,) annotated classes, sorted.
        recall: (P,) float64 from 0 to 1.
        precision: (T, C, P) float64: the best precision at that recall or a higher one; 0 where it is never reached.
        best_score: (T,) float64, the score from which detections have the highest F1 over all classes together; 0
            where nothing is found.
        best_f1: (T,) float64, that F1.
    """

    tiou_thresholds: FloatArray
    classes: Array
    recall: FloatArray
    precision: FloatArray
    best_score: FloatArray
    best_f1: FloatArray


def precision_recall(
    ground_truth: Table,
    predictions: Table,
    tiou_thresholds: float | Sequence[float] | FloatArray,
    *,
    points: int = 101,
    convention: str | Convention = DEFAULT,
) -> PrecisionRecall:
    """Trace the curve of each class at each threshold, as interpolated by Pascal VOC 2011.

    Args:
        ground_truth: As for :func:`mean_average_precision`.
        predictions: Likewise.
        tiou_thresholds: (T,) in (0, 1].
        points: Number of evenly spaced recalls, P.
        convention: As for :func:`mean_average_precision`.
    """
    rules = get_convention(convention)
    thresholds = check_thresholds(tiou_thresholds)
    annotations = read_columns(ground_truth, "ground_truth", rules)
    detections = read_columns(predictions, "predictions", rules)
    check_same_kind(annotations, detections)
    problem = build_problem(annotations, detections, rules)
    matched = match_segments(
        detections.segments_sec[problem.prediction_rows],
        problem.prediction_group,
        problem.segments_sec,
        problem.group_offsets,
        thresholds,
        rules,
    )
    hits = matched >= 0
    counts = problem.annotations_per_class
    recall = np.linspace(0.0, 1.0, points)
    precision = np.zeros((len(thresholds), len(problem.classes), points))
    for index in range(len(problem.classes)):
        inside = slice(problem.class_offsets[index], problem.class_offsets[index + 1])
        # Annotations that must be found to reach a recall: the first true positive serves recall 0 too.
        needed = np.maximum(np.ceil(recall * counts[index] - 1e-9).astype(np.int64), 1)
        for row, found in enumerate(hits[:, inside]):
            ranks = np.flatnonzero(found) + 1
            envelope = np.maximum.accumulate((np.arange(1, len(ranks) + 1) / ranks)[::-1])[::-1]
            reached = needed <= len(ranks)
            precision[row, index, reached] = envelope[needed[reached] - 1]
    assert detections.scores is not None
    best = [_best_f1(detections.scores[problem.prediction_rows], found, int(counts.sum())) for found in hits]
    best_score, best_f1 = np.array(best, dtype=np.float64).T
    return PrecisionRecall(thresholds, problem.classes, recall, precision, best_score, best_f1)


def _best_f1(scores: FloatArray, hits: Array, num_annotations: int) -> tuple[float, float]:
    """Return the score from which on predictions of all classes have the highest F1, and that F1."""
    if not hits.any():
        return 0.0, 0.0
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(ranked[1:] != ranked[:-1], True)  # equal scores are taken together
    f1 = 2 * np.cumsum(hits[order]) / (np.arange(1, len(order) + 1) + num_annotations)
    best = int(np.argmax(np.where(last, f1, -1.0)))
    return float(ranked[best]), float(f1[best])
