# SPDX-License-Identifier: Apache-2.0
"""ActivityNet-style JSON, both ways: annotations by video under ``database``, detections under ``results``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.evaluation.columns import Array, Table, read_columns
from asl_fast.evaluation.conventions import DEFAULT
from asl_fast.files import read_json, write_json


class AnnotationError(ValueError):
    """A file cannot be used; the message names file, video, key and the value found."""


@dataclass(frozen=True)
class SegmentFile:
    """The content of one file.

    Attributes:
        path: Where it was read.
        columns: ``video`` (N,), ``segments`` (N, 2) seconds, ``labels`` (N,), for detections ``scores`` (N,); and
            ``label_ids`` (N,) integers where every entry of the file has a ``label_id``.
        videos: Every video of the file (of the subset asked for) that was not skipped, with or without entries.
        durations_sec: Duration of each video that states one.
        skipped: Videos that were left out because an entry cannot be used, and why.
    """

    path: Path
    columns: dict[str, Array]
    videos: tuple[str, ...]
    durations_sec: dict[str, float]
    skipped: dict[str, str]


def read_ground_truth(
    path: str | Path, *, subset: str | None = None, strict: bool = False, keep_reversed: bool = False
) -> SegmentFile:
    """Reads ``{"database": {video: {"subset", "duration", "annotations": [{"segment", "label"}]}}}``.

    Also the same without the outer ``database`` (Ego4D clips), and ``"actions": [[class, start, end]]`` in place of
    ``annotations`` (MultiTHUMOS, Charades).

    Args:
        path: The file.
        subset: Which subset to read; needed when the file has annotations in more than one. Upper and lower case are
            one only where no subset of exactly that name exists.
        strict: Raise on the first unusable entry instead of skipping its video.
        keep_reversed: Read segments that end before they start instead of taking them for unusable.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: It is not such a JSON file, has no such subset, or ``strict`` and an entry cannot be used.
    """
    path = Path(path)
    data = load_object(path)
    database = data.get("database", data)
    if not isinstance(database, dict) or not all(isinstance(entry, dict) for entry in database.values()):
        raise AnnotationError(f"{path}: 'database' must map video ids to objects; found {_show(database)}")
    if not any("annotations" in entry or "actions" in entry for entry in database.values()):
        raise AnnotationError(f"{path}: no video has 'annotations'; found keys {sorted(map(str, database))[:5]}")
    chosen = _choose_subset(path, database, subset)
    videos = {video: entry for video, entry in database.items() if chosen in (None, entry.get("subset"))}
    reader = _Reader(path, strict, scores=False, keep_reversed=keep_reversed)
    return reader.read((video, *_annotations(entry)) for video, entry in videos.items())


def read_detections(path: str | Path, *, strict: bool = False, keep_reversed: bool = False) -> SegmentFile:
    """Reads ``{"version", "results": {video: [{"segment", "label", "score"}]}, "external_data"}``.

    Only ``results`` is needed. A video skipped for an unusable entry counts as having no detections.

    Args, Raises: As :func:`read_ground_truth`.
    """
    path = Path(path)
    data = load_object(path)
    results = data.get("results")
    if not isinstance(results, dict):
        raise AnnotationError(f"{path}: key 'results' must map video ids to lists; found {_show(results)}")
    reader = _Reader(path, strict, scores=True, keep_reversed=keep_reversed)
    return reader.read((video, entries, None) for video, entries in results.items())


def write_detections(
    path: str | Path, predictions: Table, *, videos: Iterable[str] = (), version: str = "asl_fast", **extra: Any
) -> None:
    """Writes a detection file, each video's detections by descending score; atomically.

    Args:
        path: File to write.
        predictions: Columns as :func:`mean_average_precision` takes them.
        videos: Videos to list even when they have no detection.
        version: Written as ``version``.
        extra: Further top-level keys; ``external_data`` is written as an empty object unless given.
    """
    columns = read_columns(predictions, "predictions", DEFAULT)
    assert columns.scores is not None
    results: dict[str, list[dict[str, Any]]] = {str(video): [] for video in videos}
    order = np.argsort(-columns.scores, kind="stable")
    for video, segment, label, score in zip(
        columns.video[order].tolist(),
        columns.segments_sec[order].tolist(),
        columns.labels[order].tolist(),
        columns.scores[order].tolist(),
        strict=True,
    ):
        results.setdefault(str(video), []).append({"segment": segment, "label": label, "score": score})
    write_json(path, {"version": version, "results": results, "external_data": {}} | extra)


def write_ground_truth(
    path: str | Path,
    ground_truth: Table,
    *,
    subset: str,
    durations_sec: Mapping[str, float] | None = None,
    version: str = "asl_fast",
) -> None:
    """Writes a ground-truth file, annotations in the table's order; atomically.

    Args:
        path: File to write.
        ground_truth: Columns as :func:`mean_average_precision` takes them.
        subset: Written with every video.
        durations_sec: Seconds by video; its videos are written even when they have no annotation.
        version: Written as ``version``.
    """
    columns = read_columns(ground_truth, "ground_truth", DEFAULT)
    durations = durations_sec or {}
    database: dict[str, dict[str, Any]] = {
        str(video): {"subset": subset, "duration": float(seconds), "annotations": []}
        for video, seconds in durations.items()
    }
    for video, segment, label in zip(
        columns.video.tolist(), columns.segments_sec.tolist(), columns.labels.tolist(), strict=True
    ):
        entry = database.setdefault(str(video), {"subset": subset, "annotations": []})
        entry["annotations"].append({"segment": segment, "label": label})
    write_json(path, {"version": version, "taxonomy": [], "database": database})


def load_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: It cannot be read, is not valid JSON, or holds something else.
    """
    try:
        data = read_json(path)
    except ValueError as error:
        raise AnnotationError(str(error)) from error
    if not isinstance(data, dict):
        raise AnnotationError(f"{path}: must hold a JSON object; found {_show(data)}")
    return data


def _show(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _choose_subset(path: Path, database: dict[str, Any], subset: str | None) -> str | None:
    counts = Counter(str(entry["subset"]) for entry in database.values() if "subset" in entry)
    listing = ", ".join(f"{name} ({count} videos)" for name, count in counts.most_common()) or "none"
    if subset is None:
        used = {entry.get("subset") for entry in database.values() if entry.get("annotations") or entry.get("actions")}
        if len(used) > 1:
            raise AnnotationError(f"{path}: has annotations in several subsets; choose one of: {listing}")
        return None if len(counts) < 2 else str(next(iter(used)))
    if subset in counts:
        return subset
    alike = [name for name in counts if name.lower() == subset.lower()]
    if len(alike) != 1:
        raise AnnotationError(f"{path}: has no subset {subset!r}; subsets found: {listing}")
    return alike[0]


def _annotations(entry: dict[str, Any]) -> tuple[Any, Any]:
    if "actions" in entry and "annotations" not in entry:
        rows = entry["actions"]
        if isinstance(rows, list):
            rows = [
                {"label": row[0], "segment": row[1:3]} if isinstance(row, list) and len(row) == 3 else row
                for row in rows
            ]
        return rows, entry.get("duration")
    return entry.get("annotations"), entry.get("duration")


class _Reader:
    """Collects columns video by video; a video with an unusable entry leaves no trace but a message."""

    def __init__(self, path: Path, strict: bool, *, scores: bool, keep_reversed: bool) -> None:
        self.path = path
        self.strict = strict
        self.scores = scores
        self.keep_reversed = keep_reversed

    def read(self, videos: Iterable[tuple[str, Any, Any]]) -> SegmentFile:
        rows: list[tuple[str, float, float, str | int, int | None, float]] = []
        names: list[str] = []
        durations: dict[str, float] = {}
        skipped: dict[str, str] = {}
        for video, entries, duration in videos:
            try:
                found = list(self._video(video, entries))
                if duration is not None:
                    durations[video] = self._number(duration, video, "duration")
            except AnnotationError as error:
                if self.strict:
                    raise
                skipped[video] = str(error)
                continue
            rows += found
            names.append(video)
        return SegmentFile(self.path, self._columns(rows), tuple(names), durations, skipped)

    def _video(self, video: str, entries: Any) -> Iterator[tuple[str, float, float, str | int, int | None, float]]:
        if not isinstance(entries, list):
            raise self._error(video, "annotations" if not self.scores else "results", entries, "must be a list")
        for index, entry in enumerate(entries):
            where = f"[{index}]"
            if not isinstance(entry, dict):
                raise self._error(video, where, entry, "must be an object with segment and label")
            segment = entry.get("segment")
            if not isinstance(segment, list) or len(segment) != 2:
                raise self._error(video, f"{where}.segment", segment, "must be [start, end] in seconds")
            start, end = (self._number(value, video, f"{where}.segment") for value in segment)
            if end < start and not self.keep_reversed:
                raise self._error(video, f"{where}.segment", segment, "must not end before it starts")
            identifier = entry.get("label_id")
            label = entry.get("label", identifier)
            if not isinstance(label, (str, int)) or isinstance(label, bool):
                raise self._error(video, f"{where}.label", label, "must be a class name or an integer id")
            if identifier is not None and (not isinstance(identifier, int) or isinstance(identifier, bool)):
                raise self._error(video, f"{where}.label_id", identifier, "must be an integer")
            score = self._number(entry.get("score"), video, f"{where}.score") if self.scores else 0.0
            yield video, start, end, label, identifier, score

    def _number(self, value: Any, video: str, key: str) -> float:
        try:
            number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise self._error(video, key, value, "must be a finite number")
        return number

    def _error(self, video: str, key: str, value: object, demand: str) -> AnnotationError:
        return AnnotationError(f"{self.path}: video {video}: {key} {demand}; found {_show(value)}")

    def _columns(self, rows: list[tuple[str, float, float, str | int, int | None, float]]) -> dict[str, Array]:
        video, start, end, label, identifier, score = zip(*rows, strict=True) if rows else ((),) * 6
        if len(set(map(type, label))) > 1:
            raise AnnotationError(f"{self.path}: labels are class names in some entries and integer ids in others")
        columns: dict[str, Array] = {
            "video": np.array(video, dtype=str),
            "segments": np.stack([np.array(start, dtype=np.float64), np.array(end, dtype=np.float64)], axis=1),
            "labels": np.array(label) if label else np.zeros(0, dtype=str),
        }
        if identifier and None not in identifier:
            columns["label_ids"] = np.array(identifier, dtype=np.int64)
        if self.scores:
            columns["scores"] = np.array(score, dtype=np.float64)
        return columns
