# SPDX-License-Identifier: Apache-2.0
"""ActivityNet-style JSON as tables, both ways: annotations under ``database``, detections under ``results``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.data.annotations.activitynet import read_database, read_listed_video, read_results
from asl_fast.data.annotations.entries import LARGEST_ID, BadEntry, Entry, ReversedSegments, read_entries
from asl_fast.data.annotations.problems import AnnotationError
from asl_fast.evaluation.columns import Array, FloatArray, Table, read_columns
from asl_fast.evaluation.conventions import DEFAULT
from asl_fast.files import atomic_write, collector_paused, write_json
from asl_fast.wording import count


@dataclass(frozen=True)
class SegmentFile:
    """The content of one file.

    Attributes:
        path: Where it was read.
        columns: ``video`` (N,), ``segments`` (N, 2) seconds, ``labels`` (N,), for detections ``scores`` (N,); and
            ``label_ids`` (N,) integers where every entry of the file has a ``label_id``.
        videos: Every video of the file (of the subset asked for) that was not skipped, with or without entries.
        durations_sec: Duration of each video that states one.
        skipped: Videos that were left out because they, or all their entries, cannot be used, and why.
        left_out: Entries of the other videos that cannot be used: what is wrong with each.
        borders_sec: Borders between frames of each video that states them, as ``frame_borders_sec``.
    """

    path: Path
    columns: dict[str, Array]
    videos: tuple[str, ...]
    durations_sec: dict[str, float]
    skipped: dict[str, str]
    left_out: tuple[str, ...] = ()
    borders_sec: Mapping[str, FloatArray] = field(default_factory=dict)


@collector_paused()
def read_ground_truth(
    path: str | Path,
    *,
    subset: str | None = None,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
    reversed_segments: ReversedSegments = "error",
) -> SegmentFile:
    """Read ``{"database": {video: {"subset", "duration", "annotations": [{"segment", "label"}]}}}``.

    Also the other forms that `asl_fast.data.annotations.activitynet` names.

    Args:
        path: The file.
        subset: Which subset to read; needed when the file has annotations in more than one. Upper and lower case are
            one only where no subset of exactly that name exists.
        columns: Columns of a table by what they hold, see `asl_fast.data.annotations.table`; None goes by their names.
        strict: Raise on the first unusable entry instead of leaving it out.
        reversed_segments: Whether a segment that ends before it starts is unusable ("error") or read ("keep").

    Raises:
        FileNotFoundError: There is no such file.
        AnnotationError: It is not such a file, has no such subset, or ``strict`` and an entry cannot be used.
    """
    path = Path(path)
    database = read_database(path, columns)
    objects = [entry for entry in database.values() if isinstance(entry, dict)]
    if not any("annotations" in entry or "actions" in entry for entry in objects):
        raise AnnotationError(f"{path}: no video has 'annotations'; found keys {sorted(map(str, database))[:5]}")
    chosen = _choose_subset(path, objects, subset)
    videos: dict[str, tuple[Entry, ...]] = {}
    durations: dict[str, float] = {}
    borders: dict[str, FloatArray] = {}
    skipped: dict[str, str] = {}
    left_out: list[str] = []
    bad = None if strict else _note_in(left_out)
    for video, entry in database.items():
        if chosen is not None and isinstance(entry, dict) and entry.get("subset") != chosen:
            continue
        try:
            listed = read_listed_video(entry, f"{path}, video {video!r}", reversed_segments=reversed_segments, bad=bad)
        except AnnotationError as error:
            if strict:
                raise
            skipped[video] = str(error)
            continue
        videos[video] = listed.entries
        if isinstance(entry, dict) and (stated := _borders(entry)) is not None:
            borders[video] = stated
        if listed.duration_sec is not None:
            durations[video] = listed.duration_sec
    columns_read = _columns(path, videos, scores=False)
    return SegmentFile(path, columns_read, tuple(videos), durations, skipped, tuple(left_out), borders)


def _borders(entry: Mapping[str, Any]) -> FloatArray | None:
    """Read the borders between frames of one video; None where it has none that could be used."""
    stated = entry.get("frame_borders_sec")
    if not isinstance(stated, list) or len(stated) < 2 or not all(type(each) in (int, float) for each in stated):
        return None
    borders = np.array(stated, np.float64)
    return borders if np.isfinite(borders).all() and (np.diff(borders) >= 0).all() else None


@collector_paused()
def read_detections(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
    reversed_segments: ReversedSegments = "error",
) -> SegmentFile:
    """Read ``{"version", "results": {video: [{"segment", "label", "score"}]}, "external_data"}``.

    Only ``results`` is needed. A video without a list of entries counts as having no detections.

    Args, Raises: As :func:`read_ground_truth`.
    """
    path = Path(path)
    videos: dict[str, list[Entry]] = {}
    skipped: dict[str, str] = {}
    left_out: list[str] = []
    bad = None if strict else _note_in(left_out)
    for video, listed in read_results(path, columns).items():
        where = f"{path}, video {video!r}"
        try:
            videos[video] = read_entries(listed, where, scores=True, reversed_segments=reversed_segments, bad=bad)
        except AnnotationError as error:
            if strict:
                raise
            skipped[video] = str(error)
    return SegmentFile(path, _columns(path, videos, scores=True), tuple(videos), {}, skipped, tuple(left_out))


def write_detections(
    path: str | Path, predictions: Table, *, videos: Iterable[str] = (), version: str = "asl_fast", **extra: Any
) -> None:
    """Write a detection file, each video's detections by descending score; atomically.

    Args:
        path: File to write.
        predictions: Columns as :func:`mean_average_precision` takes them.
        videos: Videos to list even when they have no detection.
        version: Written as ``version``.
        extra: Further top-level keys; ``external_data`` is written as an empty object unless given.
    """
    columns = read_columns(predictions, "predictions", DEFAULT)
    assert columns.scores is not None
    order = np.argsort(-columns.scores, kind="stable")
    rows: dict[str, list[int]] = {str(video): [] for video in videos}
    for row, video in zip(order.tolist(), columns.video[order].tolist(), strict=True):
        rows.setdefault(str(video), []).append(row)
    scores = columns.scores
    found = (
        (video, columns.segments_sec[own].tolist(), columns.labels[own].tolist(), scores[own].tolist())
        for video, own in rows.items()
    )
    write_detections_of_videos(path, found, version=version, **extra)


OfVideo = tuple[str, Sequence[Sequence[float]], Sequence[str | int], Sequence[float]]


def write_detections_of_videos(
    path: str | Path, found: Iterable[OfVideo], *, version: str = "asl_fast", **extra: Any
) -> None:
    """Write a detection file, video after video, so that only one of them is in memory as text; atomically.

    Args:
        path: File to write.
        found: Videos, each once, with segments in seconds, labels and scores of their detections, the best first.
        version: As of :func:`write_detections`, like ``extra``.
        extra: See there.
    """
    rest = json.dumps({"external_data": {}} | extra, allow_nan=False)
    with atomic_write(path) as file:
        file.write(f'{{"version": {json.dumps(version)}, "results": {{'.encode())
        for number, (video, segments, labels, scores) in enumerate(found):
            entries = [
                {"segment": list(segment), "label": label, "score": score}
                for segment, label, score in zip(segments, labels, scores, strict=True)
            ]
            text = f"{', ' if number else ''}{json.dumps(video)}: {json.dumps(entries, allow_nan=False)}"
            file.write(text.encode())
        file.write(f"}}, {rest[1:]}\n".encode())


def write_ground_truth(
    path: str | Path,
    ground_truth: Table,
    *,
    subset: str,
    durations_sec: Mapping[str, float] | None = None,
    borders_sec: Mapping[str, Sequence[float]] | None = None,
    version: str = "asl_fast",
) -> None:
    """Write a ground-truth file, annotations in the table's order; atomically.

    Args:
        path: File to write.
        ground_truth: Columns as :func:`mean_average_precision` takes them.
        subset: Written with every video.
        durations_sec: Seconds by video; its videos are written even when they have no annotation.
        borders_sec: Borders between frames by video, where a protocol counts in frames.
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
    for video, borders in (borders_sec or {}).items():
        if video in database:
            database[video]["frame_borders_sec"] = [round(float(each), 6) for each in borders]
    write_json(path, {"version": version, "taxonomy": [], "database": database})


def _note_in(left_out: list[str]) -> BadEntry:
    return lambda error: left_out.append(str(error))


def _choose_subset(path: Path, entries: Sequence[Mapping[str, Any]], subset: str | None) -> str | None:
    counts = Counter(str(entry["subset"]) for entry in entries if "subset" in entry)
    listing = ", ".join(f"{name} ({count(number, 'video')})" for name, number in counts.most_common()) or "none"
    if subset is None:
        # A subset that is no text is said with its video.
        annotated = [entry.get("subset") for entry in entries if entry.get("annotations") or entry.get("actions")]
        used = {found for found in annotated if found is None or isinstance(found, str)}
        if len(used) > 1:
            if None in used:
                number = sum("subset" not in entry for entry in entries)
                raise AnnotationError(
                    f"{path}: {count(number, 'video')} without 'subset' beside videos with one: {listing}; give each "
                    "its subset, or choose one of these"
                )
            raise AnnotationError(f"{path}: has annotations in several subsets; choose one of: {listing}")
        return None if len(counts) < 2 or not used else str(next(iter(used)))
    if subset in counts:
        return subset
    alike = [name for name in counts if name.lower() == subset.lower()]
    if len(alike) != 1:
        raise AnnotationError(f"{path}: has no subset {subset!r}; subsets found: {listing}")
    return alike[0]


def _columns(path: Path, videos: Mapping[str, Sequence[Entry]], *, scores: bool) -> dict[str, Array]:
    entries = [entry for listed in videos.values() for entry in listed]
    start, end, label, identifier, score = zip(*entries, strict=True) if entries else ((),) * 5
    if len(set(map(type, label))) > 1:
        raise AnnotationError(f"{path}: labels are class names in some entries and integer ids in others")
    columns: dict[str, Array] = {
        "video": np.repeat(np.array(list(videos), dtype=str), [len(listed) for listed in videos.values()]),
        "segments": np.stack([np.array(start, dtype=np.float64), np.array(end, dtype=np.float64)], axis=1),
        "labels": np.array(label) if label else np.zeros(0, dtype=str),
    }
    if identifier and None not in identifier and max(identifier) <= LARGEST_ID:
        columns["label_ids"] = np.array(identifier, dtype=np.int64)
    if scores:
        columns["scores"] = np.array(score, dtype=np.float64)
    return columns
