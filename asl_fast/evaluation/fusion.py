# SPDX-License-Identifier: Apache-2.0
"""Joining detections with other predictions: video-level class scores, or a second detector's labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from asl_fast.evaluation.columns import Array, Columns, FloatArray, Table, as_array, read_columns
from asl_fast.evaluation.conventions import DEFAULT
from asl_fast.evaluation.matching import candidate_pairs, temporal_iou


def fuse_video_scores(
    predictions: Table,
    video_scores: Mapping[str, Sequence[float] | npt.NDArray[Any]],
    class_names: Sequence[str] | None = None,
    *,
    top_classes: int = 2,
    max_per_video: int | None = None,
) -> dict[str, Array]:
    """Give every detection of a video each of the video's best classes, as published ActivityNet results do.

    A class-agnostic detector finds where something happens and a video classifier (such as CUHK's) says what:
    score = sqrt(class score * detection score), as in ActionFormer's post-processing. Labels of the detections are
    not looked at.

    Args:
        predictions: N detections, columns as :func:`mean_average_precision` takes them; scores must not be negative.
        video_scores: (C,) class scores of each video, not negative.
        class_names: (C,) names to use as labels; default: class ids 0 to C - 1.
        top_classes: Classes given to each video.
        max_per_video: Detections of each video to use, the best ones; default all.

    Returns:
        Columns ``video``, ``segments``, ``labels``, ``scores`` of the N * top_classes new detections.

    Raises:
        KeyError: A predicted video has no scores.
        ValueError: Scores are negative, NaN, or not C of them.
    """
    columns = read_columns(predictions, "predictions", DEFAULT)
    scores = _not_negative(columns)
    if top_classes < 1:
        raise ValueError(f"top_classes must be at least 1; found {top_classes}")
    rows: list[npt.NDArray[np.int64]] = []
    labels: list[Array] = []
    fused: list[FloatArray] = []
    for video, members in _by_video(columns.video).items():
        best, weight = _best_classes(video, video_scores, class_names, top_classes)
        members = members[np.argsort(-scores[members], kind="stable")][:max_per_video]
        rows.append(np.tile(members, len(best)))
        labels.append(np.repeat(best, len(members)))
        fused.append(np.sqrt(np.outer(weight, scores[members])).ravel())
    row = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    label = np.concatenate([np.zeros(0, dtype=np.int64), *labels])
    return {
        "video": columns.video[row],
        "segments": columns.segments_sec[row],
        "labels": label if class_names is None else np.asarray(class_names)[label],
        "scores": np.concatenate([np.zeros(0), *fused]),
    }


def combine_verbs_and_nouns(
    verbs: Table,
    nouns: Table,
    *,
    min_tiou: float = 0.5,
    verb_weight: float = 0.5,
    max_per_video: int = 2000,
) -> dict[str, Array]:
    """Actions from a verb detector and a noun detector (EPIC-Kitchens-100).

    Every verb is paired with every noun of its video that overlaps it enough. An action's score is the weighted
    geometric mean of the two scores, its segment their mean weighted by score, and each video keeps its best.

    Args:
        verbs: Detections with integer labels, columns as :func:`mean_average_precision` takes them.
        nouns: Likewise.
        min_tiou: Least temporal IoU of a pair.
        verb_weight: Weight of the verb's score in [0, 1]; the noun's is the rest.
        max_per_video: Actions kept per video.

    Returns:
        Columns ``video``, ``segments``, ``verb``, ``noun``, ``scores``, by video and descending score.

    Raises:
        ValueError: Labels are not integers, scores are negative or a weight is outside its range.
    """
    if not 0 < min_tiou <= 1 or not 0 <= verb_weight <= 1:
        raise ValueError(f"min_tiou must be in (0, 1] and verb_weight in [0, 1]; found {min_tiou} and {verb_weight}")
    verb, noun = (read_columns(table, "predictions", DEFAULT) for table in (verbs, nouns))
    verb_score, noun_score = _not_negative(verb), _not_negative(noun)
    for columns in (verb, noun):
        if len(columns) and columns.labels.dtype.kind not in "iu":
            raise ValueError(f"verbs and nouns need integer class ids; found {columns.labels.tolist()[0]!r}")
    noun_rows = _by_video(noun.video)
    first_of = {video: index for index, video in enumerate(noun_rows)}
    group = np.array([first_of.get(video, -1) for video in verb.video.tolist()], dtype=np.int64)
    order = np.concatenate([np.zeros(0, dtype=np.int64), *noun_rows.values()])
    offsets = np.cumsum([0, *map(len, noun_rows.values())])
    pairs = [(np.zeros(0, dtype=np.int64),) * 2]
    for a, b in candidate_pairs(group, offsets):
        close = temporal_iou(verb.segments_sec[a], noun.segments_sec[order[b]], DEFAULT) >= min_tiou
        pairs.append((a[close], order[b[close]]))
    a, b = (np.concatenate(side) for side in zip(*pairs, strict=True))
    score = verb_score[a] ** verb_weight * noun_score[b] ** (1 - verb_weight)
    total = verb_score[a] + noun_score[b]
    share = np.divide(verb_score[a], total, out=np.full(len(a), 0.5), where=total > 0)[:, None]
    segments = share * verb.segments_sec[a] + (1 - share) * noun.segments_sec[b]
    kept = [
        members[np.argsort(-score[members], kind="stable")][:max_per_video]
        for members in _by_video(verb.video[a]).values()
    ]
    row = np.concatenate([np.zeros(0, dtype=np.int64), *kept])
    return {
        "video": verb.video[a][row],
        "segments": segments[row],
        "verb": verb.labels[a][row],
        "noun": noun.labels[b][row],
        "scores": score[row],
    }


def _not_negative(columns: Columns) -> FloatArray:
    assert columns.scores is not None
    if (columns.scores < 0).any():
        row = int(np.argmax(columns.scores < 0))
        raise ValueError(f"predictions['scores'][{row}] is {columns.scores[row]}; scores to fuse must not be negative")
    return columns.scores


def _by_video(video: Array) -> dict[Any, npt.NDArray[np.int64]]:
    """Rows of each video, videos in order of first appearance."""
    code: dict[Any, int] = {}
    codes = np.array([code.setdefault(name, len(code)) for name in video.tolist()], dtype=np.int64)
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(code)))
    return dict(zip(code, np.split(order, ends[:-1]), strict=True)) if code else {}


def _best_classes(
    video: str, video_scores: Mapping[str, Any], class_names: Sequence[str] | None, top_classes: int
) -> tuple[Array, FloatArray]:
    if video not in video_scores:
        raise KeyError(f"video_scores has no video {video!r}, which has detections")
    scores = as_array(video_scores[video]).astype(np.float64)
    if scores.ndim != 1 or (class_names is not None and len(scores) != len(class_names)):
        wanted = f"({len(class_names)},)" if class_names is not None else "(C,)"
        raise ValueError(f"video_scores[{video!r}] must have shape {wanted}; found {scores.shape}")
    if not (scores >= 0).all():
        raise ValueError(f"video_scores[{video!r}] must not be negative or NaN; found {scores.min()}")
    best = np.argsort(-scores, kind="stable")[:top_classes]
    return best, scores[best]
