# SPDX-License-Identifier: Apache-2.0
"""Mean average precision of resampled recordings, from matches that are made once.

Which detection takes which annotation is decided within a recording and a class, so drawing recordings anew changes no
match: it only changes how often each recording's detections and annotations count. A thousand draws are then a few
cumulative sums per class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.evaluation.columns import Table, check_same_kind, read_columns
from asl_fast.evaluation.conventions import DEFAULT, Convention, get_convention
from asl_fast.evaluation.matching import match_segments
from asl_fast.evaluation.mean_ap import check_thresholds
from asl_fast.evaluation.problem import Problem, build_problem

Weights = NDArray[np.int64]
_BLOCK = 1 << 24  # numbers held per class: bounds the memory where detections are many


@dataclass(frozen=True, eq=False)
class MatchedClass:
    """One class: its detections by descending score, and what they found.

    Attributes:
        recording: (M,) int64, the recording of each detection; up to the last one that found anything, for the others
            change no average precision.
        hits: (T, M) bool, whether it found an annotation at each threshold.
        annotations: (V,) int64, annotations in each recording.
    """

    recording: NDArray[np.int64]
    hits: NDArray[np.bool_]
    annotations: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MatchedRun:
    """A run's detections on V recordings, matched at T thresholds.

    Attributes:
        recordings: Their names.
        tiou_thresholds: (T,) float64.
        classes: Of the classes that are annotated.
    """

    recordings: tuple[str, ...]
    tiou_thresholds: NDArray[np.float64]
    classes: tuple[MatchedClass, ...]


def match_run(
    ground_truth: Table,
    predictions: Table,
    recordings: Sequence[str],
    tiou_thresholds: Sequence[float],
    convention: str | Convention = DEFAULT,
) -> MatchedRun:
    """Match a run's detections once.

    Args:
        ground_truth: Columns as `asl_fast.evaluation.mean_ap.mean_average_precision` takes them.
        predictions: Likewise.
        recordings: Names of all V recordings that were scored, with or without annotations.
        tiou_thresholds: (T,) in (0, 1].
        convention: How to treat what evaluators disagree about.

    Raises:
        KeyError, TypeError, ValueError: As `mean_average_precision`; for entries of a recording that is not listed.
    """
    rules = get_convention(convention)
    thresholds = check_thresholds(tiou_thresholds)
    annotations = read_columns(ground_truth, "ground_truth", rules)
    detections = read_columns(predictions, "predictions", rules)
    check_same_kind(annotations, detections)
    number = {name: index for index, name in enumerate(recordings)}
    owner, place = (_numbered(each.video, number) for each in (annotations, detections))
    problem = build_problem(annotations, detections, rules)
    hits = (
        match_segments(
            detections.segments_sec[problem.prediction_rows],
            problem.prediction_group,
            problem.segments_sec,
            problem.group_offsets,
            thresholds,
            rules,
        )
        >= 0
    )
    annotated = _annotations(problem, owner, len(recordings))
    classes = []
    for index, counts in enumerate(annotated):
        inside = slice(problem.class_offsets[index], problem.class_offsets[index + 1])
        found = hits[:, inside]
        useful = np.flatnonzero(found.any(axis=0))
        length = int(useful[-1]) + 1 if len(useful) else 0
        classes.append(MatchedClass(place[problem.prediction_rows[inside]][:length], found[:, :length], counts))
    return MatchedRun(tuple(recordings), thresholds, tuple(classes))


def _numbered(video: NDArray[Any], number: Mapping[Any, int]) -> NDArray[np.int64]:
    names = video.tolist()
    unknown = next((name for name in names if name not in number), None)
    if unknown is not None:
        raise ValueError(f"recording {unknown!r} is not among the {len(number)} recordings that were scored")
    return np.array([number[name] for name in names], dtype=np.int64)


def _annotations(problem: Problem, owner: NDArray[np.int64], recordings: int) -> NDArray[np.int64]:
    """Count annotations, (C, V)."""
    label = np.repeat(problem.group_class, np.diff(problem.group_offsets))
    counted = np.zeros((len(problem.classes), recordings), dtype=np.int64)
    np.add.at(counted, (label, owner[problem.rows]), 1)
    return counted


def draw_recordings(number: int, times: int, rng: np.random.Generator) -> Weights:
    """Draw ``number`` recordings with replacement, ``times`` times -> how often each came, (times, number) int64."""
    return rng.multinomial(number, np.full(number, 1.0 / number), size=times)


def resampled_map(run: MatchedRun, weights: Weights) -> NDArray[np.float64]:
    """Compute the mean average precision of resampled recordings.

    A recording that was drawn twice counts as two recordings that look alike. Classes without an annotation in a draw
    do not count in its mean.

    Args:
        run: What was detected.
        weights: (B, V), how often each recording was drawn.

    Returns:
        (B, T) float64 in [0, 1]; 0 for a draw without any annotation.
    """
    longest = max((len(each.recording) for each in run.classes), default=0)
    block = max(_BLOCK // max(longest, 1), 1)
    parts = [_map_of_block(run, weights[begin : begin + block]) for begin in range(0, len(weights), block)]
    return np.concatenate([np.zeros((0, len(run.tiou_thresholds))), *parts])


def _map_of_block(run: MatchedRun, weights: Weights) -> NDArray[np.float64]:
    total = np.zeros((len(weights), len(run.tiou_thresholds)))
    present = np.zeros(len(weights), dtype=np.int64)
    for each in run.classes:
        annotations = weights @ each.annotations
        present += annotations > 0
        # (M, B), so that sums run over rows that lie together.
        times = weights.T[each.recording].astype(np.float64)
        so_far = np.cumsum(times, axis=0)
        for column, hits in enumerate(each.hits):
            found = times[hits]
            # At the last of several copies of a hit precision is highest, so it decides for all of them.
            precision = np.cumsum(found, axis=0) / np.maximum(so_far[hits], 1.0)
            envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
            total[:, column] += (found * envelope).sum(axis=0) / np.maximum(annotations, 1)
    mean: NDArray[np.float64] = total / np.maximum(present, 1)[:, None]
    return mean


@dataclass(frozen=True)
class Interval:
    """A mean difference and between which bounds it lies with 95 % confidence.

    Attributes:
        mean: Over seeds, of all recordings once.
        low: Lower bound.
        high: Upper bound.
    """

    mean: float
    low: float
    high: float


def interval(
    once: NDArray[np.float64], resampled: NDArray[np.float64], recordings: int, rng: np.random.Generator
) -> Interval:
    """Bound the mean over seeds of a difference that was measured on some recordings.

    Recordings and seeds are both drawn with replacement, the same draws for whatever is compared. Few draws with
    replacement vary too little, and how much a difference varies is itself uncertain where there are few: so the
    deviation that comes from seeds is widened by sqrt(S / (S - 1)) and by sqrt((S - 1) / chi2) with a new chi2 of
    S - 1 degrees of freedom each time, as Student's distribution is wider than the normal one, and that of recordings
    likewise. With one seed the interval speaks of recordings alone.

    Args:
        once: (S,) differences by seed, on all recordings.
        resampled: (B, S) the same on drawn recordings.
        recordings: V, how many were drawn each time.
        rng: Draws the seeds.
    """
    times, seeds = resampled.shape
    mean = float(once.mean())
    over_recordings = resampled.mean(axis=1)
    drawn = resampled[np.arange(times)[:, None], rng.integers(0, seeds, size=(times, seeds))].mean(axis=1)
    replicates = (
        mean
        + (over_recordings - mean) * _widening(recordings, times, rng)
        + (drawn - over_recordings) * _widening(seeds, times, rng)
    )
    low, high = np.quantile(replicates, (0.025, 0.975)).tolist()
    return Interval(mean, low, high)


def _widening(number: int, times: int, rng: np.random.Generator) -> NDArray[np.float64]:
    if number < 2:
        return np.ones(times)
    widths: NDArray[np.float64] = np.sqrt(number / rng.chisquare(number - 1, size=times))
    return widths
