# SPDX-License-Identifier: Apache-2.0
"""The tables that are scored, from the files of ground truth and of detections."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from asl_fast.evaluation.activitynet_json import SegmentFile, read_detections, read_ground_truth
from asl_fast.evaluation.agreement import check_usable, check_videos, common_labels, differences, past_the_end
from asl_fast.evaluation.columns import FloatArray
from asl_fast.evaluation.epic import class_ids, is_epic_csv, read_epic_csv, read_epic_detections
from asl_fast.evaluation.protocols import Protocol

# Takes why each is not used (may be empty), what they are ("video", "annotation"), and what that means for the scores.
Warn = Callable[[Collection[str], str, str], None]


@dataclass(frozen=True)
class ScoringInputs:
    """Tables to score.

    Attributes:
        annotations: Columns of the ground truth.
        detections: Columns of the detections; of verbs where ``nouns`` are given.
        videos: The videos that are scored, with or without annotations.
        durations_sec: Video -> length, where the ground truth says so.
        nouns: Columns of the detections of nouns.
        excluded: Videos whose ground truth cannot be used.
        skipped: "ground_truth" or "predictions" -> video -> why it is not used.
        left_out: The same names -> what is wrong with each unusable entry of other videos.
        differences: What only one side has and how it is scored, in words.
        borders_sec: Video -> borders between its frames, where the ground truth says so.
    """

    annotations: dict[str, Any]
    detections: dict[str, Any]
    videos: Sequence[str]
    durations_sec: dict[str, float] = field(default_factory=dict)
    nouns: dict[str, Any] | None = None
    excluded: tuple[str, ...] = ()
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    differences: tuple[str, ...] = ()
    borders_sec: Mapping[str, FloatArray] = field(default_factory=dict)


def read_inputs(
    protocol: Protocol,
    ground_truth: Path,
    predictions: Path,
    *,
    nouns: Path | None = None,
    subset: str | None = None,
    columns: Mapping[str, str] | None = None,
    prediction_columns: Mapping[str, str] | None = None,
    strict: bool = False,
    warn: Warn,
) -> ScoringInputs:
    """Read what a protocol scores.

    Args:
        protocol: The rules.
        ground_truth: ActivityNet-style JSON, a table, or the CSV of EPIC-KITCHENS-100.
        predictions: ActivityNet-style JSON, a table, or the challenge's own for the actions of EPIC-KITCHENS-100.
        nouns: Detections of nouns; ``predictions`` are then those of verbs.
        subset: Of a file of ground truth; None takes the only one that has annotations.
        columns: Columns of a table of ground truth by what they hold; None goes by their names.
        prediction_columns: Likewise of a table of detections.
        strict: Raise at the first unusable entry instead of leaving it out.
        warn: Told which videos and entries are not used, with the reason, and what that means for the scores.

    Raises:
        OSError, ValueError: Naming the file, and the video, key or line that cannot be used; also when nothing of the
            predictions can be used, or no video or no label of theirs is one of the ground truth.
    """
    if is_epic_csv(ground_truth):
        return _read_epic(protocol, ground_truth, predictions, nouns, strict, warn)
    reversed_segments = protocol.convention.reversed_segments
    truth = read_ground_truth(
        ground_truth, subset=subset, columns=columns, strict=strict, reversed_segments=reversed_segments
    )
    found = read_detections(predictions, columns=prediction_columns, strict=strict, reversed_segments=reversed_segments)
    _tell(warn, truth.skipped, truth.left_out, found.skipped, found.left_out)
    annotations, detections = dict(truth.columns), dict(found.columns)
    check_usable(annotations, ground_truth, _reasons(truth), "annotation", len(truth.videos))
    check_usable(detections, predictions, _reasons(found), "detection", len(found.videos))
    check_videos(detections["video"], predictions, truth.videos, ground_truth)
    annotations["labels"], detections["labels"] = common_labels(annotations, detections, ground_truth, predictions)
    return ScoringInputs(
        annotations,
        detections,
        truth.videos,
        truth.durations_sec,
        excluded=tuple(truth.skipped),
        skipped={"ground_truth": truth.skipped, "predictions": found.skipped},
        left_out={"ground_truth": list(truth.left_out), "predictions": list(found.left_out)},
        differences=(
            *differences(protocol, annotations, detections, truth.videos, truth.skipped),
            *past_the_end(detections, truth.durations_sec),
        ),
        borders_sec=truth.borders_sec,
    )


def _read_epic(
    protocol: Protocol, ground_truth: Path, predictions: Path, nouns: Path | None, strict: bool, warn: Warn
) -> ScoringInputs:
    skipped: dict[str, dict[str, str]] = {"ground_truth": {}, "predictions": {}}
    entries: dict[str, list[str]] = {"ground_truth": [], "predictions": []}
    truth = read_epic_csv(
        ground_truth, skipped=None if strict else skipped["ground_truth"], left_out=entries["ground_truth"]
    )
    _tell(warn, skipped["ground_truth"], entries["ground_truth"])
    videos = sorted(set(truth["video"].tolist()))
    left_out: dict[str, Any] = {"excluded": tuple(skipped["ground_truth"]), "skipped": skipped, "left_out": entries}

    def labelled(path: Path, task: str) -> dict[str, Any]:
        found = read_detections(path, strict=strict)
        _tell(warn, {}, (), found.skipped, found.left_out)
        skipped["predictions"] |= found.skipped
        entries["predictions"] += found.left_out
        columns = _without(found.columns, skipped["ground_truth"])
        return {**columns, "labels": class_ids(columns["labels"], ground_truth.parent, task)}

    task = protocol.name.removeprefix("epic100-")
    if task in ("verb", "noun"):
        inputs = ScoringInputs({**truth, "labels": truth[task]}, labelled(predictions, task), videos, **left_out)
    elif protocol.name != "epic100":
        raise ValueError(f"{ground_truth} is scored with --protocol epic100, epic100-verb or epic100-noun")
    elif nouns is not None:
        noun_columns = labelled(nouns, "noun")
        inputs = ScoringInputs(
            {**truth, "labels": truth["verb"]}, labelled(predictions, "verb"), videos, nouns=noun_columns, **left_out
        )
    else:
        found = read_epic_detections(
            predictions, skipped=None if strict else skipped["predictions"], left_out=entries["predictions"]
        )
        _tell(warn, {}, (), skipped["predictions"], entries["predictions"])
        found = _without(found, skipped["ground_truth"])
        inputs = ScoringInputs(
            {**truth, "labels": truth["verb"]}, {**found, "labels": found["verb"]}, videos, **left_out
        )
    _check_epic(inputs, predictions, nouns, ground_truth)
    lines = differences(protocol, inputs.annotations, inputs.detections, videos, skipped["ground_truth"])
    return replace(inputs, differences=tuple(lines))


def _reasons(file: SegmentFile) -> list[str]:
    return [*file.skipped.values(), *file.left_out]


def _tell(
    warn: Warn,
    unused: Mapping[str, str],
    annotations: Collection[str],
    empty: Mapping[str, str] = MappingProxyType({}),
    detections: Collection[str] = (),
) -> None:
    warn(unused.values(), "video", "left out on both sides")
    warn(annotations, "annotation", "left out")
    warn(empty.values(), "video", "counted as without detections")
    warn(detections, "detection", "left out")


def _check_epic(inputs: ScoringInputs, predictions: Path, nouns: Path | None, ground_truth: Path) -> None:
    reasons = {
        side: [*inputs.skipped[side].values(), *inputs.left_out[side]] for side in ("ground_truth", "predictions")
    }
    check_usable(inputs.annotations, ground_truth, reasons["ground_truth"], "annotation", len(inputs.videos))
    for columns, path in ((inputs.detections, predictions), (inputs.nouns, nouns)):
        if columns is not None and path is not None:
            check_usable(columns, path, reasons["predictions"], "detection", len(set(columns["video"].tolist())))
            check_videos(columns["video"], path, inputs.videos, ground_truth)
    common_labels(inputs.annotations, inputs.detections, ground_truth, predictions)
    annotated = {"labels": inputs.annotations["noun"]}
    if inputs.nouns is not None and nouns is not None:
        common_labels(annotated, inputs.nouns, ground_truth, nouns)
    elif "noun" in inputs.detections:
        common_labels(annotated, {"labels": inputs.detections["noun"]}, ground_truth, predictions)


def _without(columns: dict[str, Any], videos: Iterable[str]) -> dict[str, Any]:
    kept = ~np.isin(columns["video"], list(videos))
    return {name: column[kept] for name, column in columns.items()}
