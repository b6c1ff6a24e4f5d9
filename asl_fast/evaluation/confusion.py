# SPDX-License-Identifier: Apache-2.0
"""Which class an annotated action is taken for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asl_fast.evaluation.across_classes import pairs_of_videos
from asl_fast.evaluation.columns import Array, Table, check_same_kind, read_columns
from asl_fast.evaluation.conventions import DEFAULT, Convention, get_convention
from asl_fast.evaluation.problem import IntArray, build_problem


@dataclass(frozen=True, eq=False)
class Confusion:
    """Annotated against detected classes, at one temporal IoU threshold.

    Attributes:
        tiou: The threshold.
        min_score: Detections that score less were left out.
        classes: (C,) annotated classes, sorted.
        counts: (C, C + 1) int64: annotations of the class of the row whose surest detection, of all that reach the
            threshold with them, is of the class of the column; in the last column those that none reaches.
    """

    tiou: float
    min_score: float
    classes: Array
    counts: IntArray


def confusion(
    ground_truth: Table,
    predictions: Table,
    *,
    tiou: float = 0.5,
    min_score: float = 0.0,
    convention: str | Convention = DEFAULT,
) -> Confusion:
    """Count which class each annotation is taken for: that of the surest detection in its place.

    A detection may stand for several annotations, because this asks what a viewer would read there, not which
    detection is paired with which annotation.

    Args:
        ground_truth: As for :func:`mean_average_precision`.
        predictions: Likewise; those of classes without annotation are left out.
        tiou: Temporal IoU from which a detection lies in the place of an annotation.
        min_score: Detections that score less are left out.
        convention: As for :func:`mean_average_precision`.
    """
    rules = get_convention(convention)
    annotations = read_columns(ground_truth, "ground_truth", rules)
    detections = read_columns(predictions, "predictions", rules)
    check_same_kind(annotations, detections)
    problem = build_problem(annotations, detections, rules)
    assert detections.scores is not None
    scores = detections.scores[problem.prediction_rows]
    surest = np.full(len(problem.rows), -np.inf)
    taken_for = np.full(len(problem.rows), len(problem.classes))
    prediction_class = problem.prediction_class
    for prediction, annotation, iou in pairs_of_videos(problem, annotations, detections, rules):
        # Not below rather than above: NaN is a match.
        near = ~(iou < tiou) & (scores[prediction] >= min_score)
        prediction, annotation = prediction[near], annotation[near]
        # By annotation, the surest first; of equally sure ones the right class, so that a tie is no mistake.
        wrong = prediction_class[prediction] != problem.annotation_class[annotation]
        order = np.lexsort((wrong, -scores[prediction], annotation))
        first, place = np.unique(annotation[order], return_index=True)
        best = prediction[order[place]]
        better = scores[best] > surest[first]
        surest[first[better]] = scores[best[better]]
        taken_for[first[better]] = prediction_class[best[better]]
    counts = np.zeros((len(problem.classes), len(problem.classes) + 1), dtype=np.int64)
    np.add.at(counts, (problem.annotation_class, taken_for), 1)
    return Confusion(tiou, min_score, problem.classes, counts)
