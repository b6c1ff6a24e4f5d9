# SPDX-License-Identifier: Apache-2.0
"""How each benchmark is scored: which videos, which thresholds, which convention, and what it counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from asl_fast.evaluation.columns import Array, FloatArray, as_array, read_columns
from asl_fast.evaluation.conventions import DEFAULT, PUBLISHED, Convention, get_convention
from asl_fast.evaluation.mean_ap import MeanAveragePrecision, mean_average_precision
from asl_fast.evaluation.recall import RecallAtK, recall_at_k
from asl_fast.evaluation.spotting import Spotting, SpottingRule, spot
from asl_fast.wording import nearest

EPIC_NOUNS = 300


def thresholds(first: float, last: float, step: float) -> tuple[float, ...]:
    """``first``, ``first + step``, ... up to ``last``, each the number nearest to its decimal form."""
    return tuple(round(first + index * step, 10) for index in range(_number(first, last, step)))


def published_thresholds(first: float, last: float, step: float) -> tuple[float, ...]:
    """Return the same with the bits that every public evaluator uses: a benchmark's numbers are its evaluator's.

    These come from numpy.linspace, so 0.3 of 0.1:0.5:0.1 is 0.30000000000000004, and an IoU of exactly 0.3 is below
    it; annotations and detections rounded to hundredths do meet that.
    """
    count = _number(first, last, step)
    return tuple(np.linspace(first, round(first + (count - 1) * step, 10), count).tolist())


def _number(first: float, last: float, step: float) -> int:
    return math.floor((last - first) / step + 1e-6) + 1


@dataclass(frozen=True)
class Measure:
    """One number per threshold.

    Attributes:
        name: As printed.
        tiou_thresholds: (T,) in (0, 1].
        labels: The column that holds the class.
        ks: Empty for mAP; else Recall@kx at these k.
        spotting: Rule of a track that counts results instead, and has no thresholds.
        score_threshold: By that rule, of the detections that are results.
    """

    name: str
    tiou_thresholds: tuple[float, ...]
    labels: str = "labels"
    ks: tuple[int, ...] = ()
    spotting: SpottingRule | None = None
    score_threshold: float = 0.3


@dataclass(frozen=True)
class Protocol:
    """A benchmark's way of scoring.

    Attributes:
        name: The name it is asked for by.
        counts: What is counted, in a sentence or two.
        measures: The numbers it reports, the main one first.
        subset: The subset that is scored.
        convention: What to do where evaluators differ.
        excluded_videos: Videos left out on both sides.
        listed_videos_only: Leave out predictions in videos that the ground truth does not list, instead of counting
            them as false positives.
    """

    name: str
    counts: str
    measures: tuple[Measure, ...]
    subset: str | None = None
    convention: Convention = DEFAULT
    excluded_videos: tuple[str, ...] = ()
    listed_videos_only: bool = False


@dataclass(frozen=True)
class ProtocolResult:
    """What a protocol found.

    Attributes:
        protocol: The protocol, with the convention that was used.
        measures: Result of each measure by name.
        num_videos: Videos scored.
        num_excluded_predictions: Predictions left out with their videos.
    """

    protocol: Protocol
    measures: dict[str, MeanAveragePrecision | RecallAtK | Spotting]
    num_videos: int
    num_excluded_predictions: int

    @property
    def average_map(self) -> float:
        """Average mAP of the main measure."""
        main = self.measures[self.protocol.measures[0].name]
        assert isinstance(main, MeanAveragePrecision)
        return main.average_map

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers, lists and strings, for JSON."""
        return {
            "protocol": self.protocol.name,
            "convention": self.protocol.convention.name,
            "average_map": self.average_map,
            "num_videos": self.num_videos,
            "num_excluded_predictions": self.num_excluded_predictions,
            "measures": {name: result.as_dict() for name, result in self.measures.items()},
        }


_THUMOS14 = "THUMOS14 test, 20 classes, instances marked Ambiguous not used"
_WRONG, _AMBIGUOUS, _THIRD = "video_test_0000270", "video_test_0001292", "video_test_0001496"


def _thumos14(name: str, counts: str, excluded: tuple[str, ...]) -> Protocol:
    measures = (Measure("mAP", published_thresholds(0.3, 0.7, 0.1)),)
    return Protocol(name, f"{_THUMOS14}; {counts}", measures, "Test", PUBLISHED, excluded)


def _tenths(last: float) -> tuple[Measure, ...]:
    return (Measure("mAP", published_thresholds(0.1, last, 0.1)),)


_STRICT = published_thresholds(0.5, 0.95, 0.05)

# Both tracks count a gesture as found when a result of its class covers half of it; in 2022 a result must not be longer
# than twice the gesture, in 2021 it must cover more than half, and what lies on a gesture of another class is counted
# against that class. The evaluator of 2021 counts false positives outside of all gestures against whichever class is
# annotated last in the recording; here it is the class that the result claims, which leaves their number as it is.
_SHREC22 = SpottingRule("shrec22", longest=2.0)
_SHREC21 = SpottingRule("shrec21", strictly_more=True, blamed="gesture")


def _track(name: str, counts: str, rule: SpottingRule) -> Protocol:
    measures = (
        Measure("mAP", published_thresholds(0.3, 0.7, 0.1)),
        Measure("strict mAP", _STRICT),
        Measure("spotting", (), spotting=rule),
    )
    return Protocol(name, counts, measures, "test")


_ALL = (
    _thumos14("thumos14", "212 videos, as ActionFormer and OpenTAD: without 0001292", (_AMBIGUOUS,)),
    _thumos14("thumos14-213", "213 videos: predictions in 0001292, all Ambiguous, are false positives", ()),
    _thumos14("thumos14-212", "212 videos: without 0001292, whose instances are all Ambiguous", (_AMBIGUOUS,)),
    _thumos14("thumos14-211", "211 videos: without the wrongly annotated 0000270 and 0001496", (_WRONG, _THIRD)),
    _thumos14("thumos14-210", "210 videos: without 0000270, 0001292 and 0001496", (_WRONG, _AMBIGUOUS, _THIRD)),
    Protocol(
        "multithumos",
        "MultiTHUMOS testing, 213 videos, 65 classes: detection mAP of instances, not the frame-level mAP of the "
        "dense-prediction papers; zero-length and duplicate annotations do not count",
        _tenths(0.9),
        "testing",
        PUBLISHED,
    ),
    Protocol(
        "charades",
        "Charades testing, 1863 videos, 157 classes: detection mAP of instances, not the frame-level mAP of the "
        "Charades challenge; duplicate annotations do not count",
        _tenths(0.9),
        "testing",
        PUBLISHED,
    ),
    Protocol(
        "ego4d-mq",
        "Ego4D Moment Queries val clips, 110 classes, the annotators' instances unmerged and duplicates kept: mAP, and "
        "Recall@kx over all instances with predictions ranked by score",
        (*_tenths(0.5), Measure("Recall", (0.3, 0.5, 0.7), ks=(1, 5))),
        "val",
    ),
    Protocol(
        "epic100",
        "EPIC-Kitchens-100 validation, 138 videos: mAP of verbs, nouns and actions; an action is a (verb, noun) pair, "
        "so tables have the columns verb and noun instead of labels",
        tuple(
            Measure(f"{task} mAP", published_thresholds(0.1, 0.5, 0.1), labels=task)
            for task in ("action", "verb", "noun")
        ),
        "validation",
    ),
    Protocol("epic100-verb", "EPIC-Kitchens-100 validation, 138 videos, 97 verbs", _tenths(0.5), "validation"),
    Protocol("epic100-noun", "EPIC-Kitchens-100 validation, 138 videos, 300 nouns", _tenths(0.5), "validation"),
    Protocol(
        "activitynet13",
        "ActivityNet 1.3 validation, 200 classes: the videos that the ground truth lists (usually the 4728 of 4926 "
        "that are still to be had), predictions elsewhere left out; published numbers fuse video-level scores first",
        (Measure("mAP", _STRICT),),
        "validation",
        listed_videos_only=True,
    ),
    Protocol(
        "hapt",
        "UCI HAPT, the 19 recordings of the 9 test users, 12 activities",
        (Measure("mAP", published_thresholds(0.3, 0.7, 0.1)), Measure("strict mAP", _STRICT)),
    ),
    _track("shrec22", "SHREC'22, the 144 test recordings, 16 gestures", _SHREC22),
    _track("shrec21", "SHREC'21, the 72 test recordings, 17 gestures, annotations as revised", _SHREC21),
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}


def get_protocol(name: str) -> Protocol:
    """Find the protocol of that name.

    Raises:
        ValueError: There is none; names the nearest.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"unknown evaluation protocol {name!r}; {nearest(name, PROTOCOLS)}")
    return PROTOCOLS[name]


def run_protocol(dataset: str, settings: Mapping[str, Any], description: str = "") -> Protocol:
    """Say how a training run is scored: its own thresholds and convention, and what its benchmark reports beside mAP.

    Args:
        dataset: Name of the run's data set.
        settings: ``tiou_thresholds``, ``strict_thresholds``, ``convention`` and ``spotting_threshold`` as the run was
            configured; all but the first may be missing.
        description: What is counted, in words.

    Raises:
        KeyError: There are no ``tiou_thresholds``.
        ValueError: The convention is unknown.
    """
    measures = [Measure("mAP", tuple(map(float, settings["tiou_thresholds"])))]
    if strict := tuple(settings.get("strict_thresholds") or ()):
        measures.append(Measure("strict mAP", strict))
    if dataset in PROTOCOLS:
        own = [measure for measure in PROTOCOLS[dataset].measures if measure.ks or measure.spotting]
        least = settings.get("spotting_threshold")
        measures += [each if least is None else replace(each, score_threshold=least) for each in own]
    convention = get_convention(settings.get("convention", "default"))
    return Protocol(dataset, description, tuple(measures), convention=convention)


def evaluate_protocol(
    protocol: str | Protocol,
    ground_truth: Mapping[str, Any],
    predictions: Mapping[str, Any],
    *,
    videos: Iterable[str] | None = None,
    convention: str | Convention | None = None,
    borders_sec: Mapping[str, Sequence[float] | FloatArray] | None = None,
) -> ProtocolResult:
    """Scores predictions by a benchmark's rules.

    Args:
        protocol: A protocol or the name of one.
        ground_truth: Columns as :func:`mean_average_precision` takes them, of the subset to score; for "epic100" with
            integer columns ``verb`` and ``noun``.
        predictions: Likewise.
        videos: All videos of the subset, with or without annotations; by default those that have one.
        convention: Replaces the protocol's own.
        borders_sec: Borders between frames by video, for measures that count in frames.

    Raises:
        KeyError, TypeError, ValueError: As :func:`mean_average_precision`; unknown names.
    """
    rules = get_protocol(protocol) if isinstance(protocol, str) else protocol
    if convention is not None:
        rules = Protocol(**{**vars(rules), "convention": get_convention(convention)})
    annotations, detections, listed, num_excluded = select_videos(rules, ground_truth, predictions, videos)
    if any(measure.labels == "action" for measure in rules.measures):
        annotations, detections = with_actions(annotations), with_actions(detections)
    results: dict[str, MeanAveragePrecision | RecallAtK | Spotting] = {}
    for measure in rules.measures:
        arguments = (annotations, detections, measure.tiou_thresholds)
        if measure.spotting is not None:
            results[measure.name] = spot(
                read_columns(annotations, "ground_truth", rules.convention, measure.labels),
                read_columns(detections, "predictions", rules.convention, measure.labels),
                measure.spotting,
                score_threshold=measure.score_threshold,
                borders_sec=borders_sec,
            )
        elif measure.ks:
            results[measure.name] = recall_at_k(
                *arguments, measure.ks, convention=rules.convention, labels=measure.labels
            )
        else:
            results[measure.name] = mean_average_precision(
                *arguments, convention=rules.convention, labels=measure.labels
            )
    return ProtocolResult(rules, results, len(listed), num_excluded)


def select_videos(
    protocol: Protocol,
    ground_truth: Mapping[str, Any],
    predictions: Mapping[str, Any],
    videos: Iterable[str] | None = None,
) -> tuple[Mapping[str, Any], Mapping[str, Any], set[Any], int]:
    """Select what is scored: tables without left-out videos, the videos, and the number of predictions left out."""
    listed = set(as_array(ground_truth["video"]).tolist() if videos is None else videos)
    listed -= set(protocol.excluded_videos)
    annotations, _ = _restrict(ground_truth, _outside(ground_truth, protocol.excluded_videos))
    kept = _outside(predictions, protocol.excluded_videos)
    if protocol.listed_videos_only:
        kept &= np.isin(as_array(predictions["video"]), list(listed))
    detections, num_excluded = _restrict(predictions, kept)
    return annotations, detections, listed, num_excluded


def with_actions(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table with a column ``action`` = verb * 300 + noun added.

    Raises:
        ValueError: A noun is outside [0, 300) or a verb negative, so that actions would not be unique.
    """
    verb, noun = (as_array(table[column]).astype(np.int64) for column in ("verb", "noun"))
    for name, values, limit in (("verb", verb, np.iinfo(np.int64).max // EPIC_NOUNS), ("noun", noun, EPIC_NOUNS)):
        wrong = (values < 0) | (values >= limit)
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"column {name!r}, row {row}: class id {values[row]} is not in [0, {limit})")
    return {**{key: table[key] for key in table}, "action": verb * EPIC_NOUNS + noun}


def _outside(table: Mapping[str, Any], videos: tuple[str, ...]) -> Array:
    video = as_array(table["video"])
    return ~np.isin(video, videos) if videos and video.size else np.ones(video.shape, dtype=np.bool_)


def _restrict(table: Mapping[str, Any], kept: Array) -> tuple[Mapping[str, Any], int]:
    removed = int(kept.size - kept.sum())
    if not removed:
        return table, 0
    return {column: as_array(table[column])[kept] for column in table}, removed
