# SPDX-License-Identifier: Apache-2.0
"""Which detection takes which annotation: temporal IoU and greedy matching by descending score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from asl_fast.evaluation.columns import FloatArray
from asl_fast.evaluation.conventions import Convention
from asl_fast.evaluation.problem import IntArray

Matches = npt.NDArray[np.int32]
_PAIRS = 1 << 21  # (prediction, annotation) pairs looked at together: bounds the memory of the numpy path


def temporal_iou(a_sec: FloatArray, b_sec: FloatArray, convention: Convention, *, hull: bool = False) -> FloatArray:
    """IoU of aligned segments (N, 2) and (N, 2) in seconds, by the convention's rules for empty unions -> (N,) float64.

    0/0 is NaN where the convention takes it for a match, else 0.
    """
    intersection: FloatArray = (np.minimum(a_sec[:, 1], b_sec[:, 1]) - np.maximum(a_sec[:, 0], b_sec[:, 0])).clip(0)
    if hull:
        union = (np.maximum(a_sec[:, 1], b_sec[:, 1]) - np.minimum(a_sec[:, 0], b_sec[:, 0])).clip(0)
    else:
        union = (b_sec[:, 1] - b_sec[:, 0]) + (a_sec[:, 1] - a_sec[:, 0]) - intersection
    if convention.union_floor_sec:
        union = union.clip(convention.union_floor_sec)
    empty = union == 0
    iou: FloatArray = np.divide(intersection, union, out=np.zeros_like(union), where=~empty)
    if convention.empty_union == "match":
        iou[empty] = np.nan
    return iou


def candidate_pairs(group: IntArray, group_offsets: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """All (prediction, annotation) index pairs inside groups, by prediction, in blocks of bounded size.

    Args:
        group: (M,) int64, group of each prediction, -1 = none.
        group_offsets: (K + 1,) int64, annotations of each group.
    """
    counts = np.where(group >= 0, np.diff(group_offsets)[group], 0)
    ends = np.cumsum(counts)
    begin = 0
    while begin < len(group):
        done = int(ends[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(ends, done + _PAIRS, side="right")), begin + 1)
        count = counts[begin:end]
        prediction = np.repeat(np.arange(begin, end), count)
        inside = np.arange(len(prediction)) - np.repeat(ends[begin:end] - count - done, count)
        yield prediction, group_offsets[group[prediction]] + inside
        begin = end


def match_segments(
    segments_sec: FloatArray,
    group: IntArray,
    annotations_sec: FloatArray,
    group_offsets: IntArray,
    tiou_thresholds: FloatArray,
    convention: Convention,
) -> Matches:
    """Greedy matching in the given order of predictions, at every threshold separately.

    Args:
        segments_sec: (M, 2) float64 predictions, best score first inside each group.
        group: (M,) int64, the group of annotations each may match, -1 = none.
        annotations_sec: (G, 2) float64, sorted by group.
        group_offsets: (K + 1,) int64.
        tiou_thresholds: (T,) float64.
        convention: Rules for ties and for empty unions.

    Returns:
        (T, M) int32, the annotation each prediction takes, -1 = none (a false positive).
    """
    matched = np.full((len(tiou_thresholds), len(segments_sec)), -1, dtype=np.int32)
    taken = [bytearray(len(annotations_sec)) for _ in tiou_thresholds]
    lowest = tiou_thresholds.min(initial=np.inf)
    for prediction, annotation in candidate_pairs(group, group_offsets):
        iou = temporal_iou(segments_sec[prediction], annotations_sec[annotation], convention)
        near = np.flatnonzero(~(iou < lowest))
        order = near[_preference(prediction, annotation, iou, near, convention)]
        prediction, annotation, iou = prediction[order], annotation[order], iou[order]
        pairs = list(zip(prediction.tolist(), annotation.tolist(), iou.tolist(), strict=True))
        for row, (threshold, used) in enumerate(zip(tiou_thresholds.tolist(), taken, strict=True)):
            served = -1
            for p, g, overlap in pairs:
                if p != served and not overlap < threshold and not used[g]:
                    used[g] = 1
                    matched[row, p] = g
                    served = p
    return matched


def _preference(
    prediction: IntArray, annotation: IntArray, iou: FloatArray, near: IntArray, convention: Convention
) -> IntArray:
    """Order of the pairs ``near``: by prediction, by descending IoU (NaN first), ties as the convention has them."""
    tie = annotation[near] if convention.ties == "first" else -annotation[near]
    key = np.where(np.isnan(iou[near]), -np.inf, -iou[near])
    order = np.lexsort((tie, key, prediction[near]))
    if convention.ties != "argsort":
        return order
    owner, sorted_key = prediction[near][order], key[order]
    tied = np.unique(owner[1:][(owner[1:] == owner[:-1]) & (sorted_key[1:] == sorted_key[:-1])])
    begins, ends = (np.searchsorted(prediction, tied, side=side) for side in ("left", "right"))
    rank = np.zeros(len(iou), dtype=np.int64)
    for begin, end in zip(begins, ends, strict=True):
        # The evaluators sort all annotations of the group: where ties end up depends on the whole array.
        rank[begin:end][np.argsort(iou[begin:end])[::-1]] = np.arange(end - begin)
    tie = np.where(np.isin(prediction[near], tied), rank[near], tie)
    return np.lexsort((tie, key, prediction[near]))
