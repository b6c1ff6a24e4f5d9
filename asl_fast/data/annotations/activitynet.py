# SPDX-License-Identifier: Apache-2.0
"""The ActivityNet layout that most of the field uses: official ActivityNet, and ActionFormer's and OpenTAD's files.

``{"database": {video: {"subset", "duration", "fps"?, "annotations": [{"segment": [s, e], "label", "label_id"?}]}}}``;
Ego4D conversions have the same entries by clip, with or without ``"database"`` around them; MultiTHUMOS and Charades
have ``"actions": [[class, s, e]]`` in place of annotations. Detections are ``{"results": {video: [{..., "score"}]}}``.
Training and ``check_data`` take `Annotations` from here; evaluation makes tables of the same videos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.data.annotations.classes import Classes, number_classes
from asl_fast.data.annotations.entries import (
    BadEntry,
    Entry,
    ReversedSegments,
    is_usable,
    read_action_rows,
    read_entries,
    read_label,
    with_told_duration,
)
from asl_fast.data.annotations.problems import AnnotationError, Problems
from asl_fast.data.annotations.table import TABLES, is_table, read_table
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.files import number, read_json, write_json
from asl_fast.wording import count

_DURATIONS = ("duration", "duration_second", "duration_sec")
_OWN_KEYS = {"subset", "fps", "annotations", *_DURATIONS}


@dataclass(frozen=True)
class ListedVideo:
    """One video as the file has it.

    Attributes:
        subset: Split, None where the file does not say.
        duration_sec: Length, a finite number, None where the file does not say.
        fps: Frame rate, None where the file does not say.
        entries: Its annotations; none where the file has no list.
    """

    subset: str | None
    duration_sec: float | None
    fps: float | None
    entries: tuple[Entry, ...]


def read_object(path: str | Path) -> dict[str, Any]:
    """Read the JSON object in a file.

    Raises:
        FileNotFoundError: When there is no such file.
        AnnotationError: When it cannot be read, is not valid JSON, or holds something else.
    """
    try:
        content = read_json(path)
    except ValueError as error:
        raise AnnotationError(str(error)) from None
    if not isinstance(content, dict):
        raise AnnotationError(
            f"{path}: expected a JSON object, found {content!r:.40}; is this an ActivityNet-style file?"
        )
    return content


def read_database(path: str | Path, columns: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read what an annotation file holds by video: JSON with or without ``"database"`` around it, or a table.

    Args:
        path: The file.
        columns: Of a table, see `table.read_table`.

    Raises:
        FileNotFoundError, AnnotationError: As `read_object` and `read_table`; when it is another kind of file, or a
            video has no name.
    """
    if is_table(path):
        return read_table(path, columns)
    _no_columns(path, columns)
    content = read_object(path)
    wrapped = "database" in content
    database = content["database"] if wrapped else content
    # Without "database" around them, entries of another kind say that this is another format.
    if not isinstance(database, dict) or not (wrapped or all(isinstance(entry, dict) for entry in database.values())):
        raise AnnotationError(
            f"{path}: 'database' must map video ids to objects, found {database!r:.60}; is this an ActivityNet-style "
            "file?"
        )
    _require_names(database, path)
    return database


def read_results(path: str | Path, columns: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read what a detection file holds by video: JSON, or a table with a column of scores.

    Args:
        path: The file.
        columns: Of a table, see `table.read_table`.

    Raises:
        FileNotFoundError, AnnotationError: As `read_object` and `read_table`; when it is another kind of file, or a
            video has no name.
    """
    if is_table(path):
        return read_table(path, columns, scores=True)
    _no_columns(path, columns)
    content = read_object(path)
    results = content.get("results")
    if not isinstance(results, dict):
        found = f"{results!r:.80}"
        if "results" not in content:
            keys = ", ".join(map(repr, list(content)[:5])) or "none"
            found = f"None; its keys are {keys}" + ("; are these annotations?" if "database" in content else "")
        raise AnnotationError(f"{path}: key 'results' must map video ids to lists, found {found}")
    _require_names(results, path)
    return results


def _require_names(videos: Mapping[str, Any], path: str | Path) -> None:
    nameless = next((video for video in videos if not video.strip()), None)
    if nameless is not None:
        raise AnnotationError(
            f"{path}, video {nameless!r}: has no name, so nobody knows whose actions these are; name or remove it"
        )


def _no_columns(path: str | Path, columns: Mapping[str, str] | None) -> None:
    if columns:
        raise AnnotationError(f"{path}: columns can be named for tables, {' and '.join(TABLES)}, not for JSON")


def read_listed_video(
    entry: object,
    where: str,
    *,
    reversed_segments: ReversedSegments = "keep",
    bad: BadEntry | None = None,
    accept: Callable[[Entry], object] = lambda entry: None,
) -> ListedVideo:
    """Read one video of `read_database`.

    Args:
        entry: Its value there.
        where: File and video, for messages.
        reversed_segments: See `read_entries`.
        bad: Likewise.
        accept: Likewise.

    Raises:
        AnnotationError: Naming what cannot be used.
    """
    if not isinstance(entry, dict):
        raise AnnotationError(f"{where}: expected {{'subset', 'duration', 'annotations'}}, found {entry!r:.80}")
    subset, rate = entry.get("subset"), entry.get("fps")
    duration = next((entry[key] for key in _DURATIONS if entry.get(key) is not None), None)
    if subset is not None and not isinstance(subset, str):
        raise AnnotationError(f"{where}: 'subset' must name its split, found {subset!r:.80}")
    if "actions" in entry and "annotations" not in entry:
        listed, read = entry["actions"], read_action_rows
    else:
        listed, read = entry.get("annotations"), read_entries
    entries = read(listed, where, reversed_segments=reversed_segments, bad=bad, accept=accept)
    try:
        return ListedVideo(
            subset,
            _one_number(duration, f"{where}, 'duration'"),
            _one_number(rate, f"{where}, 'fps'"),
            tuple(entries),
        )
    except ValueError as error:
        raise AnnotationError(str(error)) from None


def _one_number(value: object, where: str) -> float | None:
    # Where lines of a table contradict each other, it is a list of what they say.
    if isinstance(value, list):
        raise AnnotationError(
            f"{where}: expected one number for the whole video, found {value!r:.80}; correct all but one"
        )
    return None if value is None else number(value, where)


def read_activitynet_json(
    path: str | Path,
    *,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    durations_sec: Mapping[str, float] | None = None,
    told_durations_sec: Mapping[str, float] | None = None,
    fps: Mapping[str, float] | None = None,
    default_subset: str | None = None,
    columns: Mapping[str, str] | None = None,
    strict: bool = False,
) -> Annotations:
    """Read an ActivityNet-style file, or a table of the same.

    Class ids are, in this order: positions in ``class_names``; ``label_id`` where the file has it, or a ``label`` that
    is an id itself, as `number_classes` says; the alphabetical order of the labels that occur. An id without a name is
    called ``class_<id>``, one that no label uses ``unused_<id>``.

    Args:
        path: The file, plain or ``.gz``: JSON, or a ``.csv`` or ``.tsv`` table.
        name: Name of the data set; None takes the file's.
        class_names: Names by id.
        durations_sec: Length by video, for files without ``duration``.
        told_durations_sec: Length by video, which goes before what the file says.
        fps: Frame rate by video, for files without ``fps``.
        default_subset: Subset of videos without ``subset``; None makes that an error.
        columns: Column of a table by what it holds, see `table.read_table`; None goes by their names.
        strict: Stop at the first bad video or annotation instead of leaving it out with a counted warning.

    Raises:
        FileNotFoundError: When the file is not there.
        AnnotationError: When it is no such file, when ``label_id`` contradicts itself, when no video is left; when
            strict, also for a video with an unknown class, no duration or subset, or a segment that is not two numbers.
    """
    database = read_database(path, columns)
    name = name or Path(path).name.split(".")[0]
    if class_names is not None:
        names = tuple(class_names)
        ids: Mapping[str | int, int] = dict(zip((*range(len(names)), *names), [*range(len(names))] * 2, strict=True))
    else:
        names, ids = _classes(database, path)
    problems = Problems(name, strict=strict)

    def known(entry: Entry) -> None:
        if entry.label not in ids:
            first = ", ".join(map(repr, names[:3])) or "none"
            raise ValueError(
                f"unknown class {entry.label!r:.80}; known are {count(len(names), 'class', 'classes')}, e.g. {first}"
            )

    videos, told = {}, told_durations_sec or {}
    for video_id, entry in database.items():
        where = f"{path}, video {video_id!r}"
        try:
            entry = with_told_duration(entry, told.get(video_id))
            listed = read_listed_video(entry, where, bad=problems.entry_of(video_id), accept=known)
            subset = listed.subset if listed.subset is not None else default_subset
            duration = listed.duration_sec if listed.duration_sec is not None else (durations_sec or {}).get(video_id)
            if duration is None:
                missing = "no 'duration'" + (", and no recording of it" if durations_sec is not None else "")
                raise AnnotationError(f"{where}: {missing}; add it, or give --durations FILE")
            if subset is None:
                raise AnnotationError(f"{where}: 'subset' must name its split, found None")
            videos[video_id] = Video(
                id=video_id,
                subset=subset,
                duration_sec=duration,
                segments_sec=np.array([each[:2] for each in listed.entries], np.float64).reshape(-1, 2),
                labels=np.array([ids[each.label] for each in listed.entries], np.int64),
                fps=listed.fps if listed.fps is not None else (fps or {}).get(video_id),
                extra={key: value for key, value in entry.items() if key not in _OWN_KEYS},
            )
        except ValueError as error:
            problems.skip(video_id, "bad annotation", error, path)
    problems.summarise()
    if not videos:
        raise AnnotationError(f"{path}: no usable video ({len(database)} in the file)")
    return Annotations(name, names, videos, problems.skipped, problems.left_out)


def write_activitynet_json(annotations: Annotations, path: str | Path) -> None:
    """Write the ActivityNet layout with ``label_id``; `read_activitynet_json` gives the same annotations back."""
    database = {}
    for video in annotations.videos.values():
        entry: dict[str, Any] = {"subset": video.subset, "duration": video.duration_sec}
        if video.fps is not None:
            entry["fps"] = video.fps
        entry |= {key: value for key, value in video.extra.items() if isinstance(value, (str, int, float))}
        entry["annotations"] = [
            {"segment": segment, "label": annotations.class_names[label], "label_id": label}
            for segment, label in zip(video.segments_sec.tolist(), video.labels.tolist(), strict=True)
        ]
        database[video.id] = entry
    write_json(path, {"version": annotations.name, "database": database})


def _classes(database: Mapping[str, Any], path: str | Path) -> Classes:
    """Classes that occur, also in videos that are of no use: leaving one out must not change ids."""
    by_label: dict[str, int | None] = {}
    by_id: dict[int, str] = {}
    bare_ids: set[int] = set()
    without_id: set[str] = set()
    for video_id, entry in database.items():
        where = f"{path}, video {video_id!r}"
        found = entry.get("annotations") if isinstance(entry, dict) else None
        for instance in found if isinstance(found, list) else []:
            try:
                label, label_id = read_label(instance)
            except (ValueError, AttributeError):
                continue  # no instance at all, which is said when its video is read
            if isinstance(label, int):
                bare_ids.add(label)
                continue
            known = by_label.setdefault(label, label_id)
            if label_id is None:
                if is_usable(instance):
                    without_id.add(label)
                continue
            if known is None:
                by_label[label] = label_id
            elif known != label_id:
                raise AnnotationError(f"{where}: {label!r} has label_id {label_id}, elsewhere {known}")
            if by_id.setdefault(label_id, label) != label:
                raise AnnotationError(f"{where}: label_id {label_id} is {label!r}, elsewhere {by_id[label_id]!r}")
    if by_label and bare_ids and not by_id:
        raise AnnotationError(f"{path}: labels are class names in some entries and integer ids in others")
    if by_id or bare_ids:
        return number_classes(by_id, bare_ids, without_id - set(by_id.values()), str(path))
    return number_classes({}, (), by_label, str(path))
