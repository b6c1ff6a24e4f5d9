# SPDX-License-Identifier: Apache-2.0
"""Spotting: every result is right or wrong, as the gesture tracks of SHREC count them, by frames and without scores.

Detections with scores first become results (`choose_results`): those of at least a threshold, best first, without any
that overlaps a better one of whatever class, as a hand makes one gesture at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from asl_fast.evaluation.columns import Array, Columns, FloatArray

IntArray = np.ndarray[Any, np.dtype[np.int64]]
MOST_OVERLAP = 0.2
"""Largest share of the shorter of two results that may lie in the other one."""


@dataclass(frozen=True)
class SpottingRule:
    """How a track decides whether a result is right.

    Attributes:
        name: The track.
        least_overlap: Share of the annotated gesture that a result must cover.
        strictly_more: Whether it must cover more than that, instead of at least that.
        longest: A right result is at most this many times as long as the gesture; None sets no limit.
        blamed: Which class a result on a gesture of another class is a false positive of: that of the "result", or that
            of the "gesture". By the first rule a result that touches its gesture without covering enough of it is no
            false positive, by the second one that finds a gesture again is none.
    """

    name: str
    least_overlap: float = 0.5
    strictly_more: bool = False
    longest: float | None = None
    blamed: Literal["result", "gesture"] = "result"

    def covers(self, share: float) -> bool:
        """Whether a result that covers this share of a gesture finds it."""
        return share > self.least_overlap if self.strictly_more else share >= self.least_overlap


@dataclass(frozen=True)
class Spotting:
    """Counts by class, and the rates that a track reports: means over classes.

    Attributes:
        classes: (C,) annotated classes, sorted.
        annotated: (C,) gestures.
        correct: (C,) gestures that were found.
        false: (C,) false positives.
        num_ground_truth: Gestures, all classes together.
        num_results: Results, likewise.
        score_threshold: Of the detections that became results.
        by_frame: Whether all videos say when their frames are; seconds are counted instead where one does not.
        rule: Name of the rule.
    """

    classes: Array
    annotated: IntArray
    correct: IntArray
    false: IntArray
    num_ground_truth: int
    num_results: int
    score_threshold: float
    by_frame: bool
    rule: str

    @property
    def missed(self) -> IntArray:
        """(C,) gestures that were not found."""
        return self.annotated - self.correct

    @property
    def detection_rate(self) -> float:
        """Share of gestures that were found."""
        return float((self.correct / self.annotated).mean())

    @property
    def false_positive_rate(self) -> float:
        """False positives per gesture."""
        return float((self.false / self.annotated).mean())

    @property
    def jaccard(self) -> float:
        """Jaccard index: found among found, missed and false."""
        return float(self.jaccard_per_class.mean())

    @property
    def jaccard_per_class(self) -> FloatArray:
        """(C,) Jaccard index."""
        return np.asarray(self.correct / (self.annotated + self.false), np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, for JSON."""
        per_class = {
            str(name): {"annotated": n, "correct": right, "false": wrong, "jaccard": jaccard}
            for name, n, right, wrong, jaccard in zip(
                self.classes.tolist(),
                self.annotated.tolist(),
                self.correct.tolist(),
                self.false.tolist(),
                self.jaccard_per_class.tolist(),
                strict=True,
            )
        }
        return {
            "rule": self.rule,
            "score_threshold": self.score_threshold,
            "by_frame": self.by_frame,
            "detection_rate": self.detection_rate,
            "false_positive_rate": self.false_positive_rate,
            "jaccard": self.jaccard,
            "num_ground_truth": self.num_ground_truth,
            "num_results": self.num_results,
            "per_class": per_class,
        }


def choose_results(detections: Columns, score_threshold: float) -> IntArray:
    """Choose the detections that become results.

    Returns:
        Their rows, by video and then in the order of time.
    """
    assert detections.scores is not None
    segments = detections.segments_sec
    kept: list[int] = []
    candidates = np.flatnonzero(detections.scores >= score_threshold)
    best_first = candidates[np.argsort(-detections.scores[candidates], kind="stable")]
    by_video: dict[Any, list[int]] = {}
    for row in best_first.tolist():
        chosen = by_video.setdefault(detections.video[row], [])
        start, end = segments[row]
        if end <= start:
            continue
        for other in chosen:
            shared = min(end, segments[other, 1]) - max(start, segments[other, 0])
            if shared > MOST_OVERLAP * min(end - start, segments[other, 1] - segments[other, 0]):
                break
        else:
            chosen.append(row)
    for chosen in by_video.values():
        kept += sorted(chosen, key=lambda row: (segments[row, 0], segments[row, 1]))
    return np.array(kept, np.int64)


def frames_of(segments_sec: FloatArray, borders_sec: FloatArray) -> FloatArray:
    """Seconds (N, 2) to first and last frame (N, 2): from and to the nearest borders, and at least one frame.

    Args:
        segments_sec: Start and end.
        borders_sec: (F + 1,) borders of the F frames, rising.
    """
    middles = (borders_sec[1:] + borders_sec[:-1]) / 2
    first = np.minimum(np.searchsorted(middles, segments_sec[:, 0], side="left"), len(middles) - 1)
    last = np.searchsorted(middles, segments_sec[:, 1], side="left") - 1
    return np.stack([first, np.maximum(last, first)], axis=1).astype(np.float64)


@dataclass(frozen=True)
class SpottingCounts:
    """Counts by recording and class.

    Attributes:
        videos: (V,) recordings with a gesture or a result, sorted.
        classes: (C,) annotated classes, sorted.
        annotated: (V, C) gestures.
        correct: (V, C) gestures that were found.
        false: (V, C) false positives.
        num_results: Results, all together.
        by_frame: See :class:`Spotting`.
    """

    videos: Array
    classes: Array
    annotated: IntArray
    correct: IntArray
    false: IntArray
    num_results: int
    by_frame: bool


def count_results(
    ground_truth: Columns,
    predictions: Columns,
    rule: SpottingRule,
    *,
    score_threshold: float,
    borders_sec: Mapping[str, Sequence[float] | FloatArray] | None = None,
) -> SpottingCounts:
    """Count results as a track does, each recording by itself; arguments as :func:`spot`."""
    classes, truth_class = np.unique(ground_truth.labels, return_inverse=True)
    borders = {} if borders_sec is None else dict(borders_sec)
    by_frame = all(str(video) in borders for video in np.unique(ground_truth.video).tolist())
    rows = choose_results(predictions, score_threshold)
    number = {label: index for index, label in enumerate(classes.tolist())}

    def places(segments: FloatArray, video: Any) -> list[list[float]]:
        found = frames_of(segments, np.asarray(borders[str(video)], np.float64)) if by_frame else segments
        return found.tolist()  # type: ignore[no-any-return]

    results_of: dict[Any, list[int]] = {}
    for row in rows.tolist():
        results_of.setdefault(predictions.video[row], []).append(row)
    annotated_videos = np.unique(ground_truth.video).tolist()
    videos = sorted({*annotated_videos, *results_of})
    annotated, correct, false = (np.zeros((len(videos), len(classes)), np.int64) for _ in range(3))
    for index, video in enumerate(videos):
        mine = np.array(results_of.get(video, []), np.int64)
        labels = [number.get(label, -1) for label in predictions.labels[mine].tolist()]
        here = np.flatnonzero(ground_truth.video == video)
        if not len(here):
            # A recording without a gesture.
            for label in labels:
                if label >= 0:
                    false[index, label] += 1
            continue
        gestures = list(zip(truth_class[here].tolist(), places(ground_truth.segments_sec[here], video), strict=True))
        results = list(zip(labels, places(predictions.segments_sec[mine], video), strict=True))
        _count(gestures, results, rule, correct[index], false[index])
        annotated[index] = np.bincount(truth_class[here], minlength=len(classes))
    return SpottingCounts(np.array(videos), classes, annotated, correct, false, len(rows), by_frame)


def spot(
    ground_truth: Columns,
    predictions: Columns,
    rule: SpottingRule,
    *,
    score_threshold: float,
    borders_sec: Mapping[str, Sequence[float] | FloatArray] | None = None,
) -> Spotting:
    """Count results as a track does.

    Args:
        ground_truth: Gestures; every class that is scored has one.
        predictions: Detections.
        rule: Of the track.
        score_threshold: Detections below it are no results.
        borders_sec: Borders between frames by video; without those of all videos, seconds are compared.
    """
    counts = count_results(ground_truth, predictions, rule, score_threshold=score_threshold, borders_sec=borders_sec)
    return Spotting(
        counts.classes,
        counts.annotated.sum(axis=0),
        counts.correct.sum(axis=0),
        counts.false.sum(axis=0),
        len(ground_truth),
        counts.num_results,
        score_threshold,
        counts.by_frame,
        rule.name,
    )


Place = tuple[int, list[float]]


def _count(gestures: list[Place], results: list[Place], rule: SpottingRule, correct: IntArray, false: IntArray) -> None:
    """Add what one recording has to the counts of each class."""
    open_gestures = set(range(len(gestures)))
    for label, (start, end) in results:
        shares = [_share(start, end, place) for _, place in gestures]
        right = [
            index
            for index in range(len(gestures))
            if gestures[index][0] == label and _fits(start, end, gestures[index][1], rule)
        ]
        hit = next((index for index in right if index in open_gestures and rule.covers(shares[index])), None)
        if hit is not None:
            open_gestures.discard(hit)
            correct[label] += 1
        elif rule.blamed == "gesture":
            covered = [index for index in range(len(gestures)) if rule.covers(shares[index])]
            for index in covered:
                # Of the right class it was found before; that is counted once and blames nobody.
                if gestures[index][0] != label:
                    false[gestures[index][0]] += 1
            if not covered and label >= 0:
                false[label] += 1
        elif label >= 0 and not any(index in open_gestures and shares[index] > 0 for index in right):
            false[label] += 1


def _fits(start: float, end: float, gesture: list[float], rule: SpottingRule) -> bool:
    return rule.longest is None or end - start <= rule.longest * (gesture[1] - gesture[0])


def _share(start: float, end: float, gesture: list[float]) -> float:
    length = gesture[1] - gesture[0]
    shared = min(end, gesture[1]) - max(start, gesture[0])
    # A gesture of one frame has no length in the organisers' count.
    return shared / length if length > 0 else float(shared >= 0)
