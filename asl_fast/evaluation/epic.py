# SPDX-License-Identifier: Apache-2.0
"""EPIC-Kitchens-100: its CSV annotations, the challenge's detection files, and scoring verbs, nouns and actions."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.evaluation.activitynet_json import AnnotationError, load_object
from asl_fast.evaluation.columns import Array
from asl_fast.evaluation.conventions import Convention
from asl_fast.evaluation.fusion import combine_verbs_and_nouns
from asl_fast.evaluation.protocols import ProtocolResult, evaluate_protocol, get_protocol

NUM_VERBS, NUM_NOUNS = 97, 300
_COLUMNS = ("video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class")


def read_epic_csv(path: str | Path) -> dict[str, Array]:
    """Columns ``video``, ``segments`` (N, 2) seconds, ``verb``, ``noun`` of an EPIC_100_*.csv file.

    Times are the timestamps, not the frame numbers, which are counted at a nominal rate.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: Naming the line, column and value that cannot be used.
    """
    path = Path(path)
    try:
        file = path.open(encoding="utf-8", newline="")
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    rows: list[tuple[str, float, float, int, int]] = []
    with file:
        reader = csv.DictReader(file)
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise AnnotationError(f"{path}: has no column {missing[0]!r}; found {list(reader.fieldnames or ())}")
        for row in reader:
            where = f"{path}: line {reader.line_num} (video {row['video_id']})"
            start, stop = (_seconds(row[column], where, column) for column in _COLUMNS[1:3])
            if stop < start:
                raise AnnotationError(f"{where}: stop_timestamp {row['stop_timestamp']} lies before start_timestamp")
            verb, noun = (_class(row[column], where, column) for column in _COLUMNS[3:])
            rows.append((row["video_id"], start, stop, verb, noun))
    video, start_sec, stop_sec, verbs, nouns = zip(*rows, strict=True) if rows else ((),) * 5
    return {
        "video": np.array(video, dtype=str),
        "segments": np.array([start_sec, stop_sec], dtype=np.float64).T,
        "verb": np.array(verbs, dtype=np.int64),
        "noun": np.array(nouns, dtype=np.int64),
    }


def read_epic_detections(path: str | Path) -> dict[str, Array]:
    """Columns ``video``, ``segments``, ``verb``, ``noun``, ``scores`` of a challenge file.

    ``{"results": {video: [{"verb": 1, "noun": 2, "action": "1,2", "score": 0.5, "segment": [0.0, 1.5]}]}}``; ``action``
    may be left out.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: Naming the video, entry and value that cannot be used.
    """
    path = Path(path)
    results = load_object(path).get("results")
    if not isinstance(results, dict):
        raise AnnotationError(f"{path}: has no 'results' that maps video ids to lists")
    video: list[str] = []
    numbers: list[tuple[float, float, int, int, float]] = []
    for name, entries in results.items():
        for index, entry in enumerate(entries):
            try:
                start, end = (float(value) for value in entry["segment"])
                verb, noun = int(entry["verb"]), int(entry["noun"])
                if "action" in entry and entry["action"] != f"{verb},{noun}":
                    raise ValueError(f"action {entry['action']!r} is not {verb},{noun}")
                numbers.append((start, end, verb, noun, float(entry["score"])))
            except (KeyError, TypeError, ValueError) as error:
                raise AnnotationError(f"{path}: video {name}: [{index}] cannot be used ({error!r}): {entry}") from error
            video.append(name)
    table = np.array(numbers, dtype=np.float64).reshape(-1, 5)
    return {
        "video": np.array(video, dtype=str),
        "segments": table[:, :2],
        "verb": table[:, 2].astype(np.int64),
        "noun": table[:, 3].astype(np.int64),
        "scores": table[:, 4],
    }


def class_ids(labels: Array, folder: Path, task: str) -> Array:
    """(N,) integer ids of labels that may be class names, by EPIC_100_{task}_classes.csv in ``folder``.

    Raises:
        AnnotationError: A label is not a class name.
        FileNotFoundError: Labels are names and that file is not there.
    """
    if labels.dtype.kind in "iu" or not labels.size:
        return labels.astype(np.int64)
    path = folder / f"EPIC_100_{task}_classes.csv"
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; it is needed because {task}s are given by name")
    with path.open(encoding="utf-8", newline="") as file:
        known = {row["key"]: int(row["id"]) for row in csv.DictReader(file)}
    unknown = sorted(set(labels.tolist()) - set(known))
    if unknown:
        raise AnnotationError(f"{unknown[0]!r} is not a {task} of {path}")
    return np.array([known[label] for label in labels.tolist()], dtype=np.int64)


def evaluate_verbs_and_nouns(
    ground_truth: Mapping[str, Any],
    verbs: Mapping[str, Any],
    nouns: Mapping[str, Any],
    *,
    convention: str | Convention | None = None,
    **combination: Any,
) -> ProtocolResult:
    """The protocol "epic100" for two detectors: each one's own mAP, and that of the actions that both together give.

    Args:
        ground_truth: Columns ``video``, ``segments``, ``verb``, ``noun``.
        verbs, nouns: Detections, columns as :func:`mean_average_precision` takes them, labels integer ids.
        convention: Replaces the protocol's own.
        combination: Options of :func:`combine_verbs_and_nouns`.
    """
    protocol = get_protocol("epic100")
    tables = {
        "action": combine_verbs_and_nouns(verbs, nouns, **combination),
        "verb": {**verbs, "verb": verbs["labels"]},
        "noun": {**nouns, "noun": nouns["labels"]},
    }
    parts = [
        evaluate_protocol(
            replace(protocol, measures=(measure,)), ground_truth, tables[measure.labels], convention=convention
        )
        for measure in protocol.measures
    ]
    merged = {name: result for part in parts for name, result in part.measures.items()}
    return replace(parts[0], protocol=replace(parts[0].protocol, measures=protocol.measures), measures=merged)


def _seconds(text: str, where: str, column: str) -> float:
    try:
        hours, minutes, seconds = map(float, text.split(":"))
    except (ValueError, AttributeError):
        raise AnnotationError(f"{where}: {column} is {text!r}; it must be HH:MM:SS.ss") from None
    return hours * 3600 + minutes * 60 + seconds


def _class(text: str, where: str, column: str) -> int:
    limit = NUM_VERBS if column == "verb_class" else NUM_NOUNS
    if not text.isdecimal() or int(text) >= limit:
        raise AnnotationError(f"{where}: {column} is {text!r}; it must be an integer below {limit}")
    return int(text)
