# SPDX-License-Identifier: Apache-2.0
"""Which detection takes which annotation: temporal IoU and greedy matching by descending score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from asl_fast import native
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
    *,
    threads: int = 0,
) -> Matches:
    """Greedy matching in the given order of predictions, at every threshold separately; C++ where it is built.

    Args:
        segments_sec: (M, 2) float64 predictions, best score first inside each group.
        group: (M,) int64, the group of annotations each may match, -1 = none.
        annotations_sec: (G, 2) float64, sorted by group.
        group_offsets: (K + 1,) int64.
        tiou_thresholds: (T,) float64.
        convention: Rules for ties and for empty unions.
        threads: At most this many; 0 means all processors. The result is the same.

    Returns:
        (T, M) int32, the annotation each prediction takes, -1 = none (a false positive).
    """
    module = native.cpu_module()
    if module is None:
        native.warn_slow_path_once("match_segments", "cpu", native.why_missing())
        return match_segments_numpy(segments_sec, group, annotations_sec, group_offsets, tiou_thresholds, convention)
    predictions, annotations, thresholds = (
        np.ascontiguousarray(array, dtype=np.float64) for array in (segments_sec, annotations_sec, tiou_thresholds)
    )
    groups, offsets = (np.ascontiguousarray(array, dtype=np.int64) for array in (group, group_offsets))
    matched = np.full((len(thresholds), len(predictions)), -1, dtype=np.int32)
    tied = np.zeros(len(offsets) - 1, dtype=np.uint8)
    module.match_segments(
        predictions=predictions.ctypes.data,
        group=groups.ctypes.data,
        count=len(groups),
        annotations=annotations.ctypes.data,
        group_offsets=offsets.ctypes.data,
        num_groups=len(tied),
        thresholds=thresholds.ctypes.data,
        num_thresholds=len(thresholds),
        union_floor=convention.union_floor_sec,
        empty_union_matches=convention.empty_union == "match",
        last_wins=convention.ties in ("last", "argsort"),
        out_matched=matched.ctypes.data,
        out_tied=tied.ctypes.data,
        threads=threads,
    )
    if convention.ties == "argsort" and tied.any():
        # Only numpy itself knows where its unstable sort leaves ties; groups do not depend on each other.
        redo = np.flatnonzero(tied.astype(np.bool_)[groups] & (groups >= 0))
        matched[:, redo] = match_segments_numpy(
            predictions[redo], groups[redo], annotations, offsets, thresholds, convention
        )
    return matched


def match_segments_numpy(
    segments_sec: FloatArray,
    group: IntArray,
    annotations_sec: FloatArray,
    group_offsets: IntArray,
    tiou_thresholds: FloatArray,
    convention: Convention,
) -> Matches:
    """Match as :func:`match_segments` does: its reference, and what runs where the C++ module is not built."""
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
    tie = -annotation[near] if convention.ties in ("last", "argsort") else annotation[near]
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
