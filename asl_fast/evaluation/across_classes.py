# SPDX-License-Identifier: Apache-2.0
"""Predictions beside all annotations of their video, whatever their classes: for what is taken for what."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from asl_fast.evaluation.columns import Columns, FloatArray
from asl_fast.evaluation.conventions import Convention
from asl_fast.evaluation.matching import candidate_pairs, temporal_iou
from asl_fast.evaluation.problem import IntArray, Problem


def pairs_of_videos(
    problem: Problem, annotations: Columns, detections: Columns, convention: Convention
) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
    """All pairs of a prediction and an annotation of one video, by prediction, in blocks of bounded size.

    Args:
        problem: What the two tables make.
        annotations: The table of annotations.
        detections: The table of predictions.
        convention: Rules for empty unions.

    Yields:
        (K,) predictions in [0, M), (K,) annotations in [0, G) of the problem, and their (K,) temporal IoU; NaN for 0/0
        where the convention takes that for a match.
    """
    rows = problem.prediction_rows
    annotated_video = annotations.video[problem.rows].astype(str)
    order = np.argsort(annotated_video, kind="stable")
    videos, starts = np.unique(annotated_video[order], return_index=True)
    position = {video: index for index, video in enumerate(videos.tolist())}
    in_video = np.array([position.get(str(video), -1) for video in detections.video[rows].tolist()], dtype=np.int64)
    for prediction, index in candidate_pairs(in_video, np.append(starts, len(order))):
        annotation = order[index]
        iou = temporal_iou(detections.segments_sec[rows[prediction]], problem.segments_sec[annotation], convention)
        yield prediction, annotation, iou
