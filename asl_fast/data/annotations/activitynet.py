# SPDX-License-Identifier: Apache-2.0
"""The ActivityNet layout that most of the field uses: official ActivityNet, and ActionFormer's and OpenTAD's files.

``{"database": {video: {"subset", "duration", "fps"?, "annotations": [{"segment": [s, e], "label", "label_id"?}]}}}``;
Ego4D conversions have the same entries by clip, with or without ``"database"`` around them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.files import number, read_json, write_json

_OWN_KEYS = {"subset", "duration", "fps", "annotations"}


def read_activitynet_json(
    path: str | Path,
    *,
    name: str | None = None,
    class_names: Sequence[str] | None = None,
    durations_sec: Mapping[str, float] | None = None,
    fps: Mapping[str, float] | None = None,
    default_subset: str | None = None,
    strict: bool = False,
) -> Annotations:
    """Read an ActivityNet-style file.

    Class ids are, in this order: positions in ``class_names``; ``label_id`` where the file has it; the alphabetical
    order of the labels that occur. An id that no label uses is named ``unused_<id>``.

    Args:
        path: The file, plain or ``.gz``.
        name: Name of the data set; None takes the file's.
        class_names: Names by id.
        durations_sec: Length by video, for files without ``duration``.
        fps: Frame rate by video, for files without ``fps``.
        default_subset: Subset of videos without ``subset``; None makes that an error.
        strict: Stop at the first bad video instead of skipping it with a counted warning.

    Raises:
        FileNotFoundError: when the file is not there.
        ValueError: when it is no such file, when ``label_id`` contradicts itself, when no video is left; when strict,
            also for a video with an unknown class, no duration or subset, or a segment that is not two numbers.
    """
    content = read_json(path)
    wrapped = isinstance(content, dict) and "database" in content
    database = content["database"] if wrapped else content
    # Without "database" around them, entries of another kind say that this is another format.
    if not isinstance(database, dict) or not (wrapped or all(isinstance(entry, dict) for entry in database.values())):
        raise ValueError(f"{path}: expected {{'database': {{video: {{...}}}}}}; is this an ActivityNet-style file?")
    name = name or Path(path).name.split(".")[0]
    names = tuple(class_names) if class_names is not None else _class_names(database, path)
    ids = {label: index for index, label in enumerate(names)}
    problems = Problems(name, strict=strict)
    videos = {}
    for video_id, entry in database.items():
        try:
            if default_subset is not None and isinstance(entry, dict):
                entry = {"subset": default_subset} | entry
            videos[video_id] = _video(
                video_id, entry, ids, f"{path}, video {video_id!r}", (durations_sec or {}), (fps or {})
            )
        except ValueError as error:
            problems.skip(video_id, "bad annotation", error, path)
    problems.summarise()
    if not videos:
        raise ValueError(f"{path}: no usable video ({len(database)} in the file)")
    return Annotations(name, names, videos, problems.skipped)


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


def _instances(entry: Mapping[str, Any], where: str) -> list[Any]:
    found = entry.get("annotations") or []
    if not isinstance(found, list) or not all(isinstance(instance, dict) for instance in found):
        raise ValueError(f"{where}: 'annotations' must be a list of objects, found {found!r:.80}")
    return found


def _class_names(database: Mapping[str, Any], path: str | Path) -> tuple[str, ...]:
    by_label: dict[str, int | None] = {}
    by_id: dict[int, str] = {}
    for video_id, entry in database.items():
        where = f"{path}, video {video_id!r}"
        found = entry.get("annotations") if isinstance(entry, dict) else None
        for instance in found if isinstance(found, list) else []:
            # Entries that are no instance at all are reported with their video, later.
            if not isinstance(instance, dict) or not isinstance(instance.get("label"), str):
                continue
            label, label_id = instance["label"], instance.get("label_id")
            if label_id is not None and not _is_id(label_id):
                continue
            if by_label.setdefault(label, label_id) != label_id:
                raise ValueError(f"{where}: {label!r} has label_id {label_id}, elsewhere {by_label[label]}")
            if label_id is not None and by_id.setdefault(label_id, label) != label:
                raise ValueError(f"{where}: label_id {label_id} is {label!r}, elsewhere {by_id[label_id]!r}")
    if by_id:
        return tuple(by_id.get(index, f"unused_{index}") for index in range(max(by_id) + 1))
    return tuple(sorted(by_label))


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _video(
    video_id: str,
    entry: Any,
    ids: Mapping[str, int],
    where: str,
    durations_sec: Mapping[str, float],
    rates: Mapping[str, float],
) -> Video:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected {{'subset', 'duration', 'annotations'}}, found {entry!r:.80}")
    duration = entry.get("duration", durations_sec.get(video_id))
    if duration is None:
        raise ValueError(f"{where}: no 'duration'; add it, or give durations_sec")
    if not isinstance(entry.get("subset"), str):
        raise ValueError(f"{where}: 'subset' must name its split, found {entry.get('subset')!r}")
    rate = entry.get("fps", rates.get(video_id))
    segments, labels = [], []
    for position, instance in enumerate(_instances(entry, where)):
        here = f"{where}, annotation {position}"
        segment, label = instance.get("segment"), instance.get("label")
        if not isinstance(segment, list) or len(segment) != 2:
            raise ValueError(f"{here}: 'segment' must be [start, end] in seconds, found {segment!r}")
        if instance.get("label_id") is not None and not _is_id(instance["label_id"]):
            raise ValueError(f"{here}: label_id of {label!r} must be a whole number, found {instance['label_id']!r}")
        if not isinstance(label, str) or label not in ids:
            known = f"{len(ids)} classes, e.g. {', '.join(map(repr, list(ids)[:3]))}"
            raise ValueError(f"{here}: unknown class {label!r}; known are {known}")
        segments.append([number(value, f"{here}, 'segment'") for value in segment])
        labels.append(ids[label])
    return Video(
        id=video_id,
        subset=entry["subset"],
        duration_sec=number(duration, f"{where}, 'duration'"),
        segments_sec=np.asarray(segments, np.float64).reshape(-1, 2),
        labels=np.asarray(labels, np.int64),
        fps=None if rate is None else number(rate, f"{where}, 'fps'"),
        extra={key: value for key, value in entry.items() if key not in _OWN_KEYS},
    )
