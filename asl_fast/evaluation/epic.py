# SPDX-License-Identifier: Apache-2.0
"""EPIC-Kitchens-100: its CSV annotations, the challenge's detection files, and scoring verbs, nouns and actions."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.data.annotations.activitynet import read_results
from asl_fast.data.annotations.entries import BadEntry, read_each
from asl_fast.data.annotations.epic100 import EpicAction, read_class_names, read_epic_row
from asl_fast.data.annotations.problems import AnnotationError
from asl_fast.data.annotations.table import is_table
from asl_fast.evaluation.columns import Array
from asl_fast.evaluation.conventions import Convention
from asl_fast.evaluation.fusion import combine_verbs_and_nouns
from asl_fast.evaluation.protocols import ProtocolResult, evaluate_protocol, get_protocol
from asl_fast.files import read_text

NUM_VERBS, NUM_NOUNS = 97, 300
_COLUMNS = ("video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class")


def is_epic_csv(path: Path) -> bool:
    """Tell an EPIC_100_*.csv file from other tables by its columns.

    Raises:
        FileNotFoundError, ValueError: As `read_text`.
    """
    if not is_table(path):
        return False
    first = read_text(path).partition("\n")[0]
    return set(_COLUMNS) <= {name.strip() for name in first.split(",")}


def read_epic_csv(
    path: str | Path, *, skipped: dict[str, str] | None = None, left_out: list[str] | None = None
) -> dict[str, Array]:
    """Read columns ``video``, ``segments`` (N, 2) seconds, ``verb``, ``noun`` of an EPIC_100_*.csv file.

    Times are the timestamps, not the frame numbers, which are counted at a nominal rate.

    Args:
        path: The file.
        skipped: Takes up the videos of which no row can be used and why; they are left out. None raises on the first.
        left_out: Takes up what is wrong with the unusable rows of other videos.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: Naming the line, column and value that cannot be used.
    """
    path = Path(path)
    videos: list[str] = []
    actions: list[EpicAction] = []
    bad: list[tuple[str, str]] = []
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise AnnotationError(f"{path}: has no column {missing[0]!r}; found {list(reader.fieldnames or ())}")
    for row in _rows(reader, path):
        where = f"{path}: line {reader.line_num} (video {row['video_id']})"
        try:
            actions.append(read_epic_row(row, where, (NUM_VERBS, NUM_NOUNS), reversed_segments="error"))
            videos.append(row["video_id"])
        except AnnotationError as error:
            if skipped is None:
                raise
            bad.append((row["video_id"], str(error)))
    usable = set(videos)
    for video, error_text in bad:
        if video not in usable:
            assert skipped is not None
            skipped.setdefault(video, error_text)
        elif left_out is not None:
            left_out.append(error_text)
    return {
        "video": np.array(videos, dtype=str),
        "segments": np.array([action[:2] for action in actions], dtype=np.float64).reshape(-1, 2),
        "verb": np.array([action.verb for action in actions], dtype=np.int64),
        "noun": np.array([action.noun for action in actions], dtype=np.int64),
    }


def _rows(reader: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise AnnotationError(f"{path}: line {reader.line_num + 1}: {error}; is it a CSV file?") from None


def read_epic_detections(
    path: str | Path, *, skipped: dict[str, str] | None = None, left_out: list[str] | None = None
) -> dict[str, Array]:
    """Read columns ``video``, ``segments``, ``verb``, ``noun``, ``scores`` of a challenge file.

    ``{"results": {video: [{"verb": 1, "noun": 2, "action": "1,2", "score": 0.5, "segment": [0.0, 1.5]}]}}``; ``action``
    may be left out.

    Args:
        path: The file.
        skipped: Takes up the videos without a list of entries and why; they count as without detections. None raises
            on the first.
        left_out: Takes up what is wrong with entries that cannot be used.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: Naming the video, entry and value that cannot be used.
    """
    path = Path(path)
    video: list[str] = []
    faults = left_out if left_out is not None else []
    bad: BadEntry | None = None if skipped is None else lambda error: faults.append(str(error))
    numbers: list[tuple[float, float, int, int, float]] = []
    for name, entries in read_results(path).items():
        try:
            found = _detections(entries, f"{path}: video {name}", bad)
        except AnnotationError as error:
            if skipped is None:
                raise
            skipped[name] = str(error)
            continue
        numbers += found
        video += [name] * len(found)
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
    known = {name: index for index, name in enumerate(read_class_names(path))}
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
    """Score two detectors by the protocol "epic100": each one by itself, and the actions that both together give.

    Args:
        ground_truth: Columns ``video``, ``segments``, ``verb``, ``noun``.
        verbs: Detections, columns as :func:`mean_average_precision` takes them, labels integer ids.
        nouns: Likewise.
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


def _detections(entries: Any, where: str, bad: BadEntry | None) -> list[tuple[float, float, int, int, float]]:
    if not isinstance(entries, list):
        raise AnnotationError(f"{where}: must be a list of detections, found {entries!r:.80}")
    numbered = enumerate(entries)
    return read_each(numbered, lambda item: _detection(item[1], f"{where}: [{item[0]}]"), bad=bad, one_at_least=False)


def _detection(entry: Any, where: str) -> tuple[float, float, int, int, float]:
    try:
        start, end = (float(value) for value in entry["segment"])
        verb, noun, score = int(entry["verb"]), int(entry["noun"]), float(entry["score"])
        if not all(map(math.isfinite, (start, end, score))):
            raise ValueError("segment and score must be finite")
        if (verb, noun) != (float(entry["verb"]), float(entry["noun"])):
            raise ValueError("verb and noun must be whole numbers")
        if "action" in entry and entry["action"] != f"{verb},{noun}":
            raise ValueError(f"action {entry['action']!r} is not {verb},{noun}")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise AnnotationError(f"{where} cannot be used ({error!r}): {entry!r:.200}") from error
    return start, end, verb, noun, score
