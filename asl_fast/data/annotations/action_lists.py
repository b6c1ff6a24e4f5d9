# SPDX-License-Identifier: Apache-2.0
"""MultiTHUMOS (Yeung et al., IJCV 2018) and Charades (Sigurdsson et al., ECCV 2016) in the layout of super-events.

``{video: {"subset", "duration", "actions": [[class, start, end], ...]}}``, times in seconds. MultiTHUMOS counts classes
from 1 to 65, Charades from 0 to 156. About a third of the Charades segments end after their video.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.data.annotations.classes import ids_count
from asl_fast.data.annotations.entries import LARGEST_ID, Entry, class_id, read_action_rows, with_told_duration
from asl_fast.data.annotations.problems import AnnotationError, Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.files import number, read_json, read_text
from asl_fast.wording import count

_CLASS_LINE = re.compile(r"^c?(\d{1,18})[\s,]+(.+?)\s*$")


def read_class_list(path: str | Path, first_id: int) -> tuple[str, ...]:
    """Names of a ``id name`` file (``7 Diving``, ``c007 Washing clothes``), ordered by id.

    Raises:
        ValueError: When a line is of another form, or the ids do not run on from ``first_id``.
    """
    names: dict[int, str] = {}
    for line_number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        match = _CLASS_LINE.match(line)
        if match is None:
            raise ValueError(f"{path}, line {line_number}: expected 'id name', found {line!r}")
        if names.setdefault(int(match[1]), match[2]) != match[2]:
            raise ValueError(f"{path}, line {line_number}: id {match[1]} has two names")
    if sorted(names) != list(range(first_id, first_id + len(names))):
        raise ValueError(
            f"{path}: ids must run on from {first_id}, found {sorted(names)[:3]} to {max(names, default=0)}"
        )
    return tuple(names[key] for key in sorted(names))


def read_action_lists(
    path: str | Path,
    *,
    name: str,
    num_classes: int | None = None,
    first_id: int = 0,
    class_names: Sequence[str] | None = None,
    fps: Callable[[str], float] | None = None,
    told_durations_sec: Mapping[str, float] | None = None,
    strict: bool = False,
) -> Annotations:
    """Read ``multithumos.json`` or ``charades.json``.

    Args:
        path: The file.
        name: Name of the data set.
        num_classes: Number of classes; None takes the ids that occur, from ``first_id`` on where they count classes
            (see `classes.ids_count`).
        first_id: Id of the first class in the file; labels are counted from 0 afterwards.
        class_names: Names by label; None calls them by the file's ids.
        fps: Frame rate by video id; the files do not give it.
        told_durations_sec: Length by video, which goes before what the file says.
        strict: Stop at the first bad video or action instead of leaving it out with a counted warning.

    Raises:
        FileNotFoundError: When the file is not there.
        ValueError: When it is no such file or no video is left; when strict, also for a class id out of range or an
            action that is not three numbers.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected {{video: {{'subset', 'duration', 'actions'}}}}")
    ids: Sequence[int] = range(first_id, first_id + (num_classes or 0))
    if num_classes is None:
        ids = occurring_ids(content)
        if not ids:
            raise ValueError(f"{path}: no 'actions' of the form [class, start, end], so there are no classes")
        if ids_count(ids, first_id):
            ids = range(first_id, ids[-1] + 1)
    names = tuple(class_names) if class_names else tuple(f"class_{class_id}" for class_id in ids)
    if len(names) != len(ids):
        raise ValueError(f"{name}: {count(len(names), 'class name')} for {count(len(ids), 'class', 'classes')}")
    labels = {class_id: label for label, class_id in enumerate(ids)}
    problems = Problems(name, strict=strict)
    videos = {}
    told = told_durations_sec or {}
    for video_id, entry in content.items():
        try:
            videos[video_id] = _video(
                video_id,
                with_told_duration(entry, told.get(video_id)),
                labels,
                fps and fps(video_id),
                f"{path}, video {video_id!r}",
                problems.entry_of(video_id),
            )
        except ValueError as error:
            problems.skip(video_id, "bad annotation", error, path)
    problems.summarise()
    if not videos:
        raise ValueError(f"{path}: no usable video ({len(content)} in the file)")
    return Annotations(name, names, videos, problems.skipped, problems.left_out)


def occurring_ids(content: Mapping[str, Any]) -> list[int]:
    """Class ids in the usable rows of all videos, sorted."""
    found: set[int] = set()
    for entry in content.values():
        rows = entry.get("actions") if isinstance(entry, dict) else None
        for row in rows if isinstance(rows, list) else []:
            key = class_id(row[0]) if isinstance(row, list) and len(row) == 3 else None
            if key is not None and key <= LARGEST_ID:
                found.add(key)
    return sorted(found)


def _video(
    video_id: str,
    entry: Any,
    labels: Mapping[int, int],
    fps: float | None,
    where: str,
    bad: Callable[[AnnotationError], object],
) -> Video:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected {{'subset', 'duration', 'actions'}}, found {entry!r:.80}")
    for key, kind in (("subset", str), ("duration", (int, float))):
        if not isinstance(entry.get(key), kind):
            raise ValueError(f"{where}: {key!r} is missing or of the wrong kind, found {entry.get(key)!r:.80}")

    def known(action: Entry) -> None:
        if action.label not in labels:
            raise ValueError(f"unknown class {action.label!r}; ids run from {min(labels)} to {max(labels)}")

    actions = read_action_rows(entry.get("actions"), where, bad=bad, accept=known)
    return Video(
        id=video_id,
        subset=entry["subset"],
        duration_sec=number(entry["duration"], f"{where}, 'duration'"),
        segments_sec=np.array([action[:2] for action in actions], np.float64).reshape(-1, 2),
        labels=np.array([labels[int(action.label)] for action in actions], np.int64),
        fps=fps,
    )
