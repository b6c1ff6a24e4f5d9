# SPDX-License-Identifier: Apache-2.0
"""Where a detector loses its score: kinds of false positives, and which annotations it finds.

After Alwassel et al., Diagnosing Error in Temporal Action Detectors, ECCV 2018 (DETAD).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from asl_fast.evaluation.across_classes import pairs_of_videos
from asl_fast.evaluation.columns import Columns, FloatArray, Table, check_same_kind, read_columns
from asl_fast.evaluation.conventions import DEFAULT, Convention, get_convention
from asl_fast.evaluation.matching import match_segments
from asl_fast.evaluation.problem import IntArray, Problem, build_problem

KINDS = ("true positive", "double detection", "wrong label", "localization", "confusion", "background")
"""What a prediction is that found no annotation is decided by the annotation of its video that it overlaps most, of any
class (at equal IoU one of its own class): double detection: its own class, IoU >= threshold (a better prediction took
that one); wrong label: another class, IoU >= threshold; localization: its own class, IoU >= 0.1; confusion: another
class, IoU >= 0.1; background: everything else."""


@dataclass(frozen=True)
class Kind:
    """One kind of prediction among the top ones.

    Attributes:
        name: One of :data:`KINDS`.
        share: Its share of the first G, second G, ... predictions: of every class j with N_j annotations the best N_j,
            the next N_j, and so on, all classes together; 0 where no class has as many.
        map_gain: What removing all of its predictions would add to mAP; 0 for true positives.
        normalized_map_gain: Likewise to mAP_N, which is what DETAD gives.
    """

    name: str
    share: tuple[float, ...]
    map_gain: float
    normalized_map_gain: float


@dataclass(frozen=True)
class Bucket:
    """The annotations of one range of a characteristic.

    Attributes:
        characteristic: "length", "density" (annotations of its class in its video) or "coverage" (of its video).
        range: As text, with its unit.
        annotations: How many there are.
        normalized_map: mAP over this bucket's annotations alone, with precision normalised for their number (DETAD
            mAP_N, so that buckets of different size compare).
        missed: Share that no prediction found.
    """

    characteristic: str
    range: str
    annotations: int
    normalized_map: float
    missed: float


@dataclass(frozen=True)
class Analysis:
    """What :func:`analyse` found, at one temporal IoU threshold.

    Attributes:
        tiou: The threshold.
        map: mAP over all annotations.
        normalized_map: mAP_N over all annotations, to compare the buckets with.
        kinds: Kinds of predictions.
        buckets: Annotations by characteristic.
    """

    tiou: float
    map: float
    normalized_map: float
    kinds: tuple[Kind, ...]
    buckets: tuple[Bucket, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, for JSON."""
        return asdict(self)


def analyse(
    ground_truth: Table,
    predictions: Table,
    *,
    tiou: float = 0.5,
    durations_sec: Mapping[str, float] | None = None,
    convention: str | Convention = DEFAULT,
    multiples: int = 10,
    num_buckets: int = 5,
) -> Analysis:
    """Diagnoses a detector.

    Args:
        ground_truth: As for :func:`mean_average_precision`.
        predictions: Likewise.
        tiou: The threshold at which a prediction is right.
        durations_sec: Seconds of each video; adds the characteristic coverage.
        convention: As for :func:`mean_average_precision`.
        multiples: Kinds are counted for so many ranges of N_j predictions of every class j.
        num_buckets: Ranges per characteristic, with about equally many annotations each.
    """
    rules = get_convention(convention)
    annotations, detections, problem, matched = _match(ground_truth, predictions, tiou, rules)
    kind = _kinds(problem, annotations, detections, matched >= 0, tiou, rules)
    score = _ClassScore(problem, matched)
    return Analysis(
        tiou=tiou,
        map=score.map(),
        normalized_map=score.map(normalized=True),
        kinds=tuple(_count_kinds(problem, kind, score, multiples)),
        buckets=tuple(
            bucket
            for name, unit, values in _characteristics(problem, annotations, durations_sec)
            for bucket in _buckets(name, unit, values, score, num_buckets)
        ),
    )


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What became of each prediction and of each annotation, at one temporal IoU threshold.

    Attributes:
        kind: (N,) index into :data:`KINDS` by row of the table; -1 where the class has no annotation, so that the
            prediction is not counted.
        found_by: (G,) row of the prediction that found each annotation, by row of the table; -1 where none did, or the
            convention removed it.
    """

    kind: npt.NDArray[np.int8]
    found_by: IntArray


def verdicts(
    ground_truth: Table, predictions: Table, *, tiou: float = 0.5, convention: str | Convention = DEFAULT
) -> Verdicts:
    """Say of each prediction what it is, and of each annotation what found it.

    Predictions are paired with annotations by descending score. So those above a score are what they are, whatever lies
    below it, and an annotation is found by all above a score if what found it is among them.

    Args:
        ground_truth: As for :func:`mean_average_precision`.
        predictions: Likewise.
        tiou: The threshold at which a prediction is right.
        convention: As for :func:`mean_average_precision`.
    """
    rules = get_convention(convention)
    annotations, detections, problem, matched = _match(ground_truth, predictions, tiou, rules)
    kind = np.full(len(detections), -1, dtype=np.int8)
    kind[problem.prediction_rows] = _kinds(problem, annotations, detections, matched >= 0, tiou, rules)
    found_by = np.full(len(annotations), -1, dtype=np.int64)
    hits = matched >= 0
    found_by[problem.rows[matched[hits]]] = problem.prediction_rows[hits]
    return Verdicts(kind, found_by)


def _match(
    ground_truth: Table, predictions: Table, tiou: float, rules: Convention
) -> tuple[Columns, Columns, Problem, npt.NDArray[np.int32]]:
    """Return both tables checked, the problem they make, and the annotation that each of its predictions finds."""
    annotations = read_columns(ground_truth, "ground_truth", rules)
    detections = read_columns(predictions, "predictions", rules)
    check_same_kind(annotations, detections)
    problem = build_problem(annotations, detections, rules)
    segments = detections.segments_sec[problem.prediction_rows]
    (matched,) = match_segments(
        segments, problem.prediction_group, problem.segments_sec, problem.group_offsets, np.array([tiou]), rules
    )
    return annotations, detections, problem, matched


class _ClassScore:
    """mAP at one threshold from which predictions or annotations can be taken away."""

    def __init__(self, problem: Problem, matched: npt.NDArray[np.int32]) -> None:
        self.problem = problem
        self.matched = matched
        self.annotation_class = problem.annotation_class

    def map(
        self,
        *,
        predictions: npt.NDArray[np.bool_] | None = None,
        annotations: npt.NDArray[np.bool_] | None = None,
        normalized: bool = False,
    ) -> float:
        """Mean over classes that have an annotation left.

        Args:
            predictions: (M,) those to keep.
            annotations: (G,) those to look for; predictions that found another one are neither right nor wrong.
            normalized: Precision as if every class had as many annotations as classes have on average (mAP_N).
        """
        hits = self.matched >= 0
        keep = np.ones(len(hits), dtype=np.bool_) if predictions is None else predictions.copy()
        wanted = np.ones(len(self.annotation_class), dtype=np.bool_) if annotations is None else annotations
        keep[hits] &= wanted[self.matched[hits]]
        num_classes = len(self.problem.classes)
        counts = np.bincount(self.annotation_class[wanted], minlength=num_classes)
        typical = len(self.annotation_class) / num_classes
        ap = []
        for index in np.flatnonzero(counts):
            inside = slice(self.problem.class_offsets[index], self.problem.class_offsets[index + 1])
            ranks = np.flatnonzero(hits[inside][keep[inside]]) + 1
            found = np.arange(1, len(ranks) + 1)
            right = found / counts[index] * typical if normalized else found
            precision = right / (right + ranks - found)
            ap.append(np.maximum.accumulate(precision[::-1]).sum() / counts[index])
        return float(np.mean(ap))


def _kinds(
    problem: Problem,
    annotations: Columns,
    detections: Columns,
    hits: npt.NDArray[np.bool_],
    tiou: float,
    rules: Convention,
) -> npt.NDArray[np.int8]:
    """(M,) index into KINDS of each prediction."""
    same = np.zeros(len(hits))
    other = np.zeros(len(hits))
    prediction_class = problem.prediction_class
    annotation_class = problem.annotation_class
    for prediction, annotation, iou in pairs_of_videos(problem, annotations, detections, rules):
        iou[np.isnan(iou)] = 1.0  # 0/0, where the convention takes it for a match
        alike = prediction_class[prediction] == annotation_class[annotation]
        np.maximum.at(same, prediction[alike], iou[alike])
        np.maximum.at(other, prediction[~alike], iou[~alike])
    low = min(0.1, tiou)
    own, most = same >= other, np.maximum(same, other)
    conditions = [hits, own & (most >= tiou), ~own & (most >= tiou), own & (most >= low), ~own & (most >= low)]
    return np.select(conditions, [np.int8(i) for i in range(len(conditions))], np.int8(len(conditions)))


def _count_kinds(problem: Problem, kind: npt.NDArray[np.int8], score: _ClassScore, multiples: int) -> Iterator[Kind]:
    sizes = np.diff(problem.class_offsets)
    rank = np.arange(len(kind)) - np.repeat(problem.class_offsets[:-1], sizes)
    part = rank // np.repeat(problem.annotations_per_class, sizes)
    total = np.bincount(part, minlength=multiples)[:multiples]
    base, normalized_base = score.map(), score.map(normalized=True)
    for index, name in enumerate(KINDS):
        number = np.bincount(part[kind == index], minlength=multiples)[:multiples]
        share = tuple((number / np.maximum(total, 1)).tolist())
        if index == 0:
            yield Kind(name, share, 0.0, 0.0)
            continue
        others = kind != index
        gain = score.map(predictions=others) - base
        yield Kind(name, share, gain, score.map(predictions=others, normalized=True) - normalized_base)


def _characteristics(
    problem: Problem, annotations: Columns, durations_sec: Mapping[str, float] | None
) -> Iterator[tuple[str, str, FloatArray]]:
    length = problem.segments_sec[:, 1] - problem.segments_sec[:, 0]
    yield "length", "s", length
    counts = np.diff(problem.group_offsets)
    yield "density", "", np.repeat(counts, counts).astype(np.float64)
    if durations_sec:
        videos = annotations.video[problem.rows].tolist()
        if all(video in durations_sec for video in videos):
            yield "coverage", "%", 100 * length / np.array([durations_sec[video] for video in videos])


def _buckets(name: str, unit: str, values: FloatArray, score: _ClassScore, num_buckets: int) -> Iterator[Bucket]:
    edges = np.unique(np.quantile(values, np.linspace(0, 1, num_buckets + 1)[1:-1], method="lower"))
    found = np.zeros(len(values), dtype=np.bool_)
    found[score.matched[score.matched >= 0]] = True
    bucket_of: IntArray = np.searchsorted(edges, values, side="left")
    for index in np.unique(bucket_of).tolist():
        inside = bucket_of == index
        low, high = values[inside].min(), values[inside].max()
        text = f"{low:g}" if low == high else f"{low:.3g} to {high:.3g}"
        yield Bucket(
            name,
            f"{text} {unit}".strip(),
            int(inside.sum()),
            score.map(annotations=inside, normalized=True),
            float(1 - found[inside].mean()),
        )
