# SPDX-License-Identifier: Apache-2.0
"""Turns two tables into the sorted integer form that matching works on: classes, (class, video) groups, score order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from asl_fast.evaluation.columns import Array, Columns, FloatArray
from asl_fast.evaluation.conventions import Convention
from asl_fast.wording import count

IntArray = npt.NDArray[np.int64]
_CHUNK = 1 << 18  # ids turned into Python objects at a time


@dataclass(frozen=True)
class Problem:
    """An evaluation problem with C classes, V annotated videos, K non-empty (class, video) groups, G annotations kept.

    Attributes:
        classes: (C,) annotated classes, sorted.
        segments_sec: (G, 2) float64, annotations kept, sorted by group, inside a group in the order in which ties go:
            by start and end, or that of the file.
        rows: (G,) int64, their rows in the table.
        group_offsets: (K + 1,) int64, annotations of group k are group_offsets[k]:group_offsets[k + 1].
        group_class: (K,) int64, in [0, C).
        prediction_rows: (M,) int64, rows of the predictions that count, by class, then by descending score.
        prediction_group: (M,) int64, their group, -1 where the video has no annotation of that class.
        class_offsets: (C + 1,) int64, predictions of class c are class_offsets[c]:class_offsets[c + 1].
        num_removed: Annotations removed as duplicate or too short.
        num_ignored: Predictions left out because their class has no annotation.
    """

    classes: Array
    segments_sec: FloatArray
    rows: IntArray
    group_offsets: IntArray
    group_class: IntArray
    prediction_rows: IntArray
    prediction_group: IntArray
    class_offsets: IntArray
    num_removed: int
    num_ignored: int

    @property
    def annotations_per_class(self) -> IntArray:
        """(C,) annotations kept."""
        counts = np.diff(self.group_offsets)
        return np.bincount(self.group_class, weights=counts, minlength=len(self.classes)).astype(np.int64)

    @property
    def annotation_class(self) -> IntArray:
        """(G,) class of each annotation, in [0, C)."""
        return np.repeat(self.group_class, np.diff(self.group_offsets))

    @property
    def prediction_class(self) -> IntArray:
        """(M,) class of each prediction, in [0, C)."""
        return np.repeat(np.arange(len(self.classes)), np.diff(self.class_offsets))

    def class_blocks(self, limit: int) -> Iterator[tuple[int, int]]:
        """Ranges of classes with at most ``limit`` predictions together, or a single class with more."""
        first = 0
        while first < len(self.classes):
            last = int(np.searchsorted(self.class_offsets, self.class_offsets[first] + limit, side="right")) - 1
            last = min(max(last, first + 1), len(self.classes))
            yield first, last
            first = last


def build_problem(ground_truth: Columns, predictions: Columns, convention: Convention) -> Problem:
    """Encode, clean, group and sort.

    Raises:
        ValueError: No annotation is left, or a predicted class is unknown and the convention does not accept that.
    """
    _, gt_video = np.unique(_sortable(ground_truth.video), return_inverse=True)
    _, gt_label = np.unique(_sortable(ground_truth.labels), return_inverse=True)
    kept = np.flatnonzero(_clean(gt_video, gt_label, ground_truth.segments_sec, convention))
    if not len(kept):
        found = (
            f"{count(len(ground_truth), 'annotation')}, all removed as too short"
            if len(ground_truth)
            else "no annotation"
        )
        raise ValueError(f"ground_truth holds {found}: there is nothing to evaluate against")

    videos, gt_video = np.unique(_sortable(ground_truth.video[kept]), return_inverse=True)
    classes, gt_class = np.unique(_sortable(ground_truth.labels[kept]), return_inverse=True)
    key = gt_class.astype(np.int64) * len(videos) + gt_video
    if convention.ties == "segment":
        order = np.lexsort((*ground_truth.segments_sec[kept].T[::-1], key))
    else:
        order = np.argsort(key, kind="stable")
    group_keys, starts = np.unique(key[order], return_index=True)
    group_offsets = np.append(starts, len(kept)).astype(np.int64)

    pred_class = _lookup(predictions.labels, classes)
    _resolve_unknown(pred_class, predictions.labels, classes, convention)
    rows, class_offsets = _prediction_order(pred_class, predictions.scores, len(classes), convention)
    if convention.ties == "segment":
        _order_ties(rows, class_offsets, predictions)
    group = _prediction_groups(predictions.video, pred_class, rows, videos, group_keys)
    return Problem(
        classes=classes,
        segments_sec=np.ascontiguousarray(ground_truth.segments_sec[kept][order]),
        rows=kept[order],
        group_offsets=group_offsets,
        group_class=group_keys // len(videos),
        prediction_rows=rows,
        prediction_group=group,
        class_offsets=class_offsets,
        num_removed=len(ground_truth) - len(kept),
        num_ignored=len(predictions) - len(rows),
    )


def _sortable(values: Array) -> Array:
    """Object columns, as data frames have them, as plain string or integer arrays."""
    return np.array(values.tolist()) if values.dtype == object else values


def _clean(video: Array, label: Array, segments: FloatArray, convention: Convention) -> npt.NDArray[np.bool_]:
    """(N,) True for annotations to keep; a duplicate is judged against those kept before it, in the order of ties."""
    keep = np.ones(len(segments), dtype=np.bool_)
    if convention.min_length_sec is not None:
        keep &= (segments[:, 1] - segments[:, 0]) >= convention.min_length_sec
    tolerance = convention.duplicate_tolerance_sec
    if tolerance is None:
        return keep
    order = np.lexsort((segments[:, 1], segments[:, 0], label, video))
    order = order[keep[order]]
    near = (
        (video[order][1:] == video[order][:-1])
        & (label[order][1:] == label[order][:-1])
        & (np.diff(segments[order, 0]) <= tolerance)
    )
    # Only inside runs of nearby starts can there be duplicates; these are few and short.
    ends = np.append(np.flatnonzero(~near) + 1, len(order))
    begins = np.append(0, ends[:-1])
    for run in np.flatnonzero(ends - begins > 1):
        rows = order[begins[run] : ends[run]]
        _drop_duplicates(rows if convention.ties == "segment" else np.sort(rows), segments, tolerance, keep)
    return keep


def _drop_duplicates(rows: IntArray, segments: FloatArray, tolerance: float, keep: npt.NDArray[np.bool_]) -> None:
    kept: list[int] = []
    for row in rows.tolist():
        if any((np.abs(segments[row] - segments[other]) <= tolerance).all() for other in kept):
            keep[row] = False
        else:
            kept.append(row)


def _lookup(values: Array, known: Array) -> IntArray:
    """(N,) positions of values in ``known``, -1 where absent."""
    position: dict[Any, int] = {value: index for index, value in enumerate(known.tolist())}
    found = np.empty(len(values), dtype=np.int64)
    for begin in range(0, len(values), _CHUNK):
        chunk = values[begin : begin + _CHUNK].tolist()
        found[begin : begin + len(chunk)] = [position.get(value, -1) for value in chunk]
    return found


def _resolve_unknown(codes: IntArray, labels: Array, classes: Array, convention: Convention) -> None:
    unknown = np.flatnonzero(codes < 0)
    if not len(unknown) or convention.unknown_class == "ignore":
        return
    if convention.unknown_class == "error":
        raise ValueError(
            f"predictions['labels'][{unknown[0]}] is {labels[unknown[0]]!s}, a class without annotations "
            f"({count(len(unknown), 'such prediction')}), which convention {convention.name!r} does not accept"
        )
    values = np.array(labels[unknown].tolist())
    if values.dtype.kind in "iu":
        inside = (values >= 0) & (values < len(classes))
        codes[unknown[inside]] = values[inside]


def _prediction_order(
    codes: IntArray, scores: FloatArray | None, num_classes: int, convention: Convention
) -> tuple[IntArray, IntArray]:
    assert scores is not None
    order = score_order(scores, convention)
    small = codes.astype(np.min_scalar_type(-max(num_classes, 1)))
    order = order[np.argsort(small[order], kind="stable")]
    class_offsets = np.cumsum(np.bincount(codes + 1, minlength=num_classes + 1)).astype(np.int64)
    if convention.ties == "argsort":
        for begin, end in pairwise(class_offsets):
            rows = np.sort(order[begin:end])
            order[begin:end] = rows[score_order(scores[rows], convention)]
    return order[class_offsets[0] :], class_offsets - class_offsets[0]


def _order_ties(rows: IntArray, class_offsets: IntArray, predictions: Columns) -> None:
    """Put equal scores of a class in the order of their videos, starts and ends, in place."""
    assert predictions.scores is not None
    scores = predictions.scores[rows]
    follows = np.zeros(len(rows) + 1, dtype=np.bool_)  # one of the same class and score lies before
    follows[1:-1] = scores[1:] == scores[:-1]
    follows[class_offsets] = False
    tied = np.flatnonzero(follows[:-1] | follows[1:])
    if not len(tied):
        return
    run = np.cumsum(~follows)[tied]
    among = rows[tied]
    _, video = np.unique(_sortable(predictions.video[among]), return_inverse=True)
    start, end = predictions.segments_sec[among].T
    rows[tied] = among[np.lexsort((end, start, video, run))]


def score_order(scores: FloatArray, convention: Convention) -> IntArray:
    """(N,) positions by descending score; NaN first, where the convention accepts it."""
    if convention.ties in ("segment", "first"):
        return np.argsort(-scores, kind="stable")
    return np.argsort(scores, kind="stable" if convention.ties == "last" else None)[::-1]


def _prediction_groups(video: Array, codes: IntArray, rows: IntArray, videos: Array, group_keys: IntArray) -> IntArray:
    video_code = _lookup(video, videos)[rows]
    key = codes[rows] * len(videos) + video_code
    group = np.searchsorted(group_keys, key)
    group[group == len(group_keys)] = 0
    group[(group_keys[group] != key) | (video_code < 0)] = -1
    return group.astype(np.int64, copy=False)
