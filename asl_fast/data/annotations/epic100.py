# SPDX-License-Identifier: Apache-2.0
"""EPIC-Kitchens-100 in its official CSV files (Damen et al., IJCV 2022).

Times come from the timestamps: the frame columns count at 60 (or 50) frames per second whatever the video's rate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.entries import BadEntry, ReversedSegments, read_each
from asl_fast.data.annotations.problems import AnnotationError, Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.files import number, read_csv

EpicTask = Literal["verb", "noun", "action"]

_TIMESTAMP = re.compile(r"^(\d+):([0-5]?\d):([0-5]?\d(?:\.\d+)?)$")
_COLUMNS = ("narration_id", "video_id", "start_timestamp", "stop_timestamp", "verb_class", "noun_class")


class EpicAction(NamedTuple):
    """One row: times in seconds, and the ids of its verb and noun."""

    start_sec: float
    stop_sec: float
    verb: int
    noun: int


@dataclass(frozen=True, eq=False)
class EpicVideo:
    """One video with both labels of every segment: ``segments_sec`` (G, 2), ``verbs`` and ``nouns`` (G,)."""

    id: str
    subset: str
    duration_sec: float
    fps: float
    segments_sec: NDArray[np.float64]
    verbs: NDArray[np.int64]
    nouns: NDArray[np.int64]
    narration_ids: tuple[str, ...]

    @property
    def participant(self) -> str:
        """Id of the person, e.g. ``P01``; the protocol scores unseen participants apart."""
        return self.id.split("_")[0]


@dataclass(frozen=True, eq=False)
class EpicAnnotations:
    """Verbs and nouns of all usable videos, and why others are not; `task` makes annotations of one task from them."""

    videos: Mapping[str, EpicVideo]
    verb_names: tuple[str, ...]
    noun_names: tuple[str, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def actions(self) -> NDArray[np.int64]:
        """List the pairs of verb and noun that occur, (A, 2), in order; the classes of the action task."""
        pairs = [np.stack([video.verbs, video.nouns], axis=1) for video in self.videos.values()]
        return np.unique(np.concatenate(pairs), axis=0)

    def task(self, task: EpicTask) -> Annotations:
        """Annotations with verbs, nouns, or pairs of both as classes.

        Raises:
            ValueError: For another task.
        """
        if task == "action":
            pairs = self.actions()
            names = tuple(f"{self.verb_names[verb]} {self.noun_names[noun]}" for verb, noun in pairs)
            codes = pairs @ np.array([len(self.noun_names), 1])
        elif task in ("verb", "noun"):
            names = self.verb_names if task == "verb" else self.noun_names
        else:
            raise ValueError(f"EPIC-Kitchens-100 has the tasks verb, noun and action, not {task!r}")
        videos = {}
        for video in self.videos.values():
            if task == "action":
                labels = np.searchsorted(codes, video.verbs * len(self.noun_names) + video.nouns)
            else:
                labels = video.verbs if task == "verb" else video.nouns
            videos[video.id] = Video(
                id=video.id,
                subset=video.subset,
                duration_sec=video.duration_sec,
                segments_sec=video.segments_sec,
                labels=labels.astype(np.int64),
                fps=video.fps,
                extra={"participant": video.participant},
            )
        return Annotations(f"epic100-{task}", names, videos, self.skipped, self.left_out)


def parse_timestamp(text: str | None, where: str) -> float:
    """Seconds of ``HH:MM:SS.cc``.

    Raises:
        ValueError: Beginning with ``where``, for text of another form.
    """
    match = _TIMESTAMP.match(text or "")
    if match is None:
        raise ValueError(f"{where}: expected HH:MM:SS.cc, found {text!r}")
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def read_epic_row(
    row: Mapping[str, str],
    where: str,
    num_classes: tuple[int, int],
    *,
    reversed_segments: ReversedSegments = "keep",
) -> EpicAction:
    """Read a row of ``EPIC_100_{train,validation}.csv``, for training and evaluation alike.

    Args:
        row: Text by column.
        where: File and row, for messages.
        num_classes: Numbers of verbs and of nouns.
        reversed_segments: Whether an action that stops before it starts is taken as it is ("keep") or not ("error").

    Raises:
        AnnotationError: Naming the column and value that cannot be used.
    """
    if not row["video_id"].strip():
        raise AnnotationError(f"{where}: video_id is blank; write it in every row")
    try:
        start, stop = (parse_timestamp(row[key], f"{where}, {key}") for key in ("start_timestamp", "stop_timestamp"))
        classes = [number(row[key], f"{where}, {key}") for key in ("verb_class", "noun_class")]
    except ValueError as error:
        raise AnnotationError(str(error)) from None
    if stop < start and reversed_segments == "error":
        raise AnnotationError(f"{where}: stop_timestamp {row['stop_timestamp']} lies before start_timestamp")
    for key, value, count in zip(("verb_class", "noun_class"), classes, num_classes, strict=True):
        if value != int(value) or not 0 <= value < count:
            raise AnnotationError(f"{where}: unknown {key} {row[key]}; ids run from 0 to {count - 1}")
    return EpicAction(start, stop, int(classes[0]), int(classes[1]))


def read_class_names(path: str | Path) -> tuple[str, ...]:
    """Names by id from ``EPIC_100_{verb,noun}_classes.csv`` (``id, key, ...``).

    Raises:
        ValueError: When the ids do not run on from 0.
    """
    rows = read_csv(path, ("id", "key"))
    if [row["id"] for row in rows] != [str(index) for index in range(len(rows))]:
        raise ValueError(f"{path}: ids must run on from 0")
    return tuple(row["key"] for row in rows)


def read_epic100(
    splits: Mapping[str, str | Path],
    video_info: str | Path,
    verb_classes: str | Path,
    noun_classes: str | Path,
    *,
    strict: bool = False,
) -> EpicAnnotations:
    """Read the official files.

    Args:
        splits: Subset name -> CSV (plain or ``.gz``), e.g. ``{"train": "EPIC_100_train.csv", "validation": ...}``.
        video_info: ``EPIC_100_video_info.csv``, for durations and frame rates.
        verb_classes: ``EPIC_100_verb_classes.csv``.
        noun_classes: ``EPIC_100_noun_classes.csv``.
        strict: Stop at the first bad row or video instead of leaving it out with a counted warning.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: For missing columns; when strict, also for a bad time, an unknown class, a video in two splits, or
            one that ``video_info`` lists not once.
    """
    verb_names, noun_names = read_class_names(verb_classes), read_class_names(noun_classes)
    info: dict[str, list[dict[str, str]]] = {}
    for row in read_csv(video_info, ("video_id", "duration", "fps")):
        info.setdefault(row["video_id"], []).append(row)
    problems = Problems("epic100", strict=strict)
    videos: dict[str, EpicVideo] = {}
    for subset, path in splits.items():
        by_video: dict[str, list[dict[str, str]]] = {}
        for row in read_csv(path, _COLUMNS):
            by_video.setdefault(row["video_id"], []).append(row)
        for video_id, rows in by_video.items():
            try:
                if video_id in videos:
                    other = videos.pop(video_id).subset
                    raise ValueError(f"{path}, video {video_id!r}: it is in subset {other!r} as well")
                listed = info.get(video_id, [])
                if len(listed) != 1:
                    fault = "lists twice" if listed else "does not list"
                    raise ValueError(f"{video_info} {fault} video {video_id!r} of {path}")
                videos[video_id] = _video(
                    rows,
                    subset,
                    listed[0],
                    (len(verb_names), len(noun_names)),
                    f"{path}, video {video_id!r}",
                    problems.entry_of(video_id),
                )
            except ValueError as error:
                problems.skip(video_id, "bad annotation", error, path)
    problems.summarise()
    if not videos:
        raise ValueError(f"epic100: no usable video in {', '.join(map(str, splits.values()))}")
    return EpicAnnotations(videos, verb_names, noun_names, problems.skipped, problems.left_out)


def _video(
    rows: list[dict[str, str]],
    subset: str,
    info: Mapping[str, str],
    num_classes: tuple[int, int],
    where: str,
    bad: BadEntry,
) -> EpicVideo:
    def read(row: dict[str, str]) -> tuple[EpicAction, str]:
        return read_epic_row(row, f"{where}, row {row['narration_id']!r}", num_classes), row["narration_id"]

    actions, narrations = zip(*read_each(rows, read, bad=bad), strict=True)
    times = np.array([(action.start_sec, action.stop_sec) for action in actions])
    # Rows are sorted by id as text; put them in time order.
    order = np.lexsort(times.T[::-1])
    labels = np.array([(action.verb, action.noun) for action in actions], np.int64)[order]
    return EpicVideo(
        id=rows[0]["video_id"],
        subset=subset,
        duration_sec=number(info["duration"], f"{where}, duration"),
        fps=number(info["fps"], f"{where}, fps"),
        segments_sec=times[order],
        verbs=labels[:, 0],
        nouns=labels[:, 1],
        narration_ids=tuple(narrations[int(index)] for index in order),
    )
