# SPDX-License-Identifier: Apache-2.0
"""What detection evaluators disagree about, as one record of named choices per evaluator."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

SHORTEST_POSITIVE_SEC = math.ulp(0.0)
"""The smallest positive float: as a minimum length it removes exactly the segments of zero or negative length."""


@dataclass(frozen=True)
class Convention:
    """Every choice that makes two evaluators print different numbers for the same files.

    All of them share the rest: greedy matching by descending score, where a prediction takes the free annotation of
    highest temporal IoU among those with IoU >= threshold, and the area under the interpolated precision-recall curve
    at all recall points (VOC 2011). A class without predictions has AP 0 and counts; a prediction in a video without
    that class is a false positive.

    Attributes:
        name: The name it is asked for by, and written into results.
        duplicate_tolerance_sec: An annotation is removed when one before it in the same video has the same class and
            both its ends within this many seconds; None keeps all.
        min_length_sec: Annotations shorter than this are removed; None keeps all.
        unknown_class: What to do with predictions of a class that has no annotation: leave them out ("ignore"), raise
            ("error"), or read an integer class id below the number of annotated classes as a position in the sorted
            list of annotated classes, so that they become false positives of an unrelated class ("merge_by_position").
        ties: By "segment", equal scores rank by video name, then by earlier start, then by earlier end, and of equally
            overlapping annotations the one that starts (then ends) earlier is taken: the result does not depend on the
            order of a file. Or the "first" or the "last" of the file wins; or whichever numpy's unstable sort brings
            up ("argsort"), which is what the public evaluators do: the result then depends on the order of the file,
            on the numpy build and on the processor.
        empty_union: Whether IoU 0/0 (two segments of zero length, wherever they lie) is a "match" or "no_match".
        union_floor_sec: Unions are raised to at least this before dividing.
        nan_scores: Raise an "error", or rank them "first".
        reversed_segments: Raise an "error" on a segment that ends before it starts, or "keep" it (its IoU is 0).
        recall_order: Recall@kx keeps the first k*x predictions by "score", or in the order of the "file".
        recall_comparison: Recall@kx counts an annotation when IoU ">=" threshold, or only when ">".
        recall_average: Recall@kx is averaged over "classes", or over all "annotations" alike.
        recall_union: Recall@kx measures the union of two segments as the "sum" of lengths less the intersection, or as
            their "hull"; the same for segments that touch, up to the last bit.
    """

    name: str
    duplicate_tolerance_sec: float | None = None
    min_length_sec: float | None = None
    unknown_class: Literal["ignore", "error", "merge_by_position"] = "ignore"
    ties: Literal["segment", "first", "last", "argsort"] = "segment"
    empty_union: Literal["match", "no_match"] = "no_match"
    union_floor_sec: float = 0.0
    nan_scores: Literal["error", "first"] = "error"
    reversed_segments: Literal["error", "keep"] = "error"
    recall_order: Literal["score", "file"] = "score"
    recall_comparison: Literal[">=", ">"] = ">="
    recall_average: Literal["classes", "annotations"] = "annotations"
    recall_union: Literal["sum", "hull"] = "sum"


DEFAULT = Convention("default")
"""The official evaluators' rules without their accidents.

Like ActivityNet's, EPIC-Kitchens' and Ego4D's it keeps duplicate and short annotations. It deviates from them where
they err: equal scores rank by video, start and end instead of in the order an unstable sort leaves them; NaN scores
and reversed segments are errors instead of top-ranked detections; two zero-length segments do not overlap, where 0/0
was counted as a hit; a predicted class without annotations is left out, where ActivityNet's stops with a KeyError;
Recall@kx ranks by score instead of trusting the file's order, counts an annotated video without any prediction as
missed instead of failing, and takes IoU equal to the threshold for a hit, as mAP does.
"""

PUBLISHED = replace(
    DEFAULT, name="published", duplicate_tolerance_sec=1e-3, min_length_sec=1e-3, recall_average="classes"
)
"""The rules behind published THUMOS14, MultiTHUMOS and Charades detection numbers, which have no official evaluator
of their own: those of ActionFormer and OpenTAD (duplicates within 1 ms and annotations shorter than 1 ms removed),
with the corrections listed at :data:`DEFAULT`."""

_REFERENCE = Convention(
    "reference",
    ties="argsort",
    empty_union="match",
    nan_scores="first",
    reversed_segments="keep",
    recall_average="classes",
)

ACTIVITYNET = replace(_REFERENCE, name="activitynet", unknown_class="error")
"""``Evaluation/eval_detection.py`` of activitynet/ActivityNet."""

EPIC = replace(_REFERENCE, name="epic")
"""``EvaluationCode/evaluate_detection_json_ek100.py`` of epic-kitchens/C2-Action-Detection."""

EGO4D = replace(
    _REFERENCE,
    name="ego4d",
    recall_order="file",
    recall_comparison=">",
    recall_average="annotations",
    recall_union="hull",
)
"""Ego4D Moment Queries: ``eval_detection.py`` and ``get_retrieval_performance.py`` as JonnyS1226/ego4d_asl has them."""

ACTIONFORMER = replace(
    _REFERENCE,
    name="actionformer",
    duplicate_tolerance_sec=1e-3,
    min_length_sec=1e-3,
    unknown_class="merge_by_position",
)
"""``libs/utils/metrics.py`` of happyharrycn/actionformer_release."""

OPENTAD = replace(
    _REFERENCE,
    name="opentad",
    duplicate_tolerance_sec=1e-3,
    min_length_sec=SHORTEST_POSITIVE_SEC,
    union_floor_sec=1e-8,
)
"""``opentad/evaluations/mAP.py`` of sming256/OpenTAD."""

OPENTAD_EPIC = replace(_REFERENCE, name="opentad-epic", unknown_class="merge_by_position", union_floor_sec=1e-8)
"""``opentad/evaluations/mAP_epic.py`` of sming256/OpenTAD."""

CONVENTIONS: dict[str, Convention] = {
    convention.name: convention
    for convention in (DEFAULT, PUBLISHED, ACTIONFORMER, OPENTAD, OPENTAD_EPIC, ACTIVITYNET, EPIC, EGO4D)
}


def get_convention(convention: str | Convention) -> Convention:
    """Find the convention of that name; a :class:`Convention` passes through.

    Raises:
        ValueError: No convention has that name.
    """
    if isinstance(convention, Convention):
        return convention
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown evaluation convention {convention!r}; choose one of {', '.join(CONVENTIONS)}")
    return CONVENTIONS[convention]
