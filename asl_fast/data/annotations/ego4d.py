# SPDX-License-Identifier: Apache-2.0
"""Ego4D moment queries in the official ``moments_{train,val}.json`` (Grauman et al., CVPR 2022).

Conversions by clip are read by `read_activitynet_json`, and `write_activitynet_json` makes one from what is read here.
Times are relative to the clip; annotators of a clip are not merged, so instances overlap and repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.data.annotations.entries import BadEntry, read_each
from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.files import number, read_json


def read_ego4d_moments(
    paths: Sequence[str | Path],
    *,
    class_names: Sequence[str] | None = None,
    primary_only: bool = True,
    strict: bool = False,
) -> Annotations:
    """Read official moments files, one entry per clip, subsets as the files' ``split``.

    Args:
        paths: The files of all splits.
        class_names: Names by id. Public conversions number the 110 classes differently, so take the ids from the file
            that came with a trained model; None numbers them alphabetically.
        primary_only: Keep the labels that the benchmark scores (``primary``), 110 classes, and leave the others out.
        strict: Stop at the first bad clip or label instead of leaving it out with a counted warning.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When a file is of another form; when strict, also for a bad clip or a clip that occurs twice.
    """
    problems = Problems("ego4d-mq", strict=strict)
    clips: dict[str, tuple[str | Path, Mapping[str, Any], Mapping[str, Any], list[tuple[str, float, float]]]] = {}
    for path in paths:
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("videos"), list):
            raise ValueError(f"{path}: expected {{'videos': [...]}}; is this the official moments file?")
        for video, clip, clip_id in _clips(content["videos"], path, problems):
            where = f"{path}, clip {clip_id!r}"
            try:
                if clip_id in clips:
                    del clips[clip_id]
                    raise ValueError(f"{where} occurs twice")
                found = _instances(clip, primary_only, class_names, where, problems.entry_of(clip_id))
                clips[clip_id] = (path, video, clip, found)
            except ValueError as error:
                problems.skip(clip_id, "bad annotation", error)
    if class_names is None:
        class_names = sorted({label for *_, found in clips.values() for label, _, _ in found})
    ids = {label: index for index, label in enumerate(class_names)}
    videos = {}
    for clip_id, (path, video, clip, found) in clips.items():
        try:
            videos[clip_id] = _clip(clip_id, video, clip, found, ids)
        except ValueError as error:
            problems.skip(clip_id, "bad annotation", error, path)
    problems.summarise()
    if not videos:
        raise ValueError(f"ego4d-mq: no usable clip in {', '.join(map(str, paths))}")
    return Annotations("ego4d-mq", tuple(class_names), videos, problems.skipped, problems.left_out)


def _clips(
    videos: Sequence[Any], path: str | Path, problems: Problems
) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], str]]:
    """Every clip with its video and id; what is no clip is skipped under its place in the file."""
    for index, video in enumerate(videos):
        found = video.get("clips", []) if isinstance(video, dict) else None
        if not isinstance(found, list):
            place = f"videos[{index}]"
            error = ValueError(f"{path}, {place}: expected {{'video_uid', 'split', 'clips'}}, found {video!r:.80}")
            problems.skip(place, "bad annotation", error)
            continue
        for number_of_clip, clip in enumerate(found):
            if isinstance(clip, dict) and isinstance(clip.get("clip_uid"), str):
                yield video, clip, clip["clip_uid"]
            else:
                place = f"videos[{index}].clips[{number_of_clip}]"
                error = ValueError(f"{path}, {place}: expected a clip with a 'clip_uid', found {clip!r:.80}")
                problems.skip(place, "bad annotation", error)


def _instances(
    clip: Mapping[str, Any], primary_only: bool, class_names: Sequence[str] | None, where: str, bad: BadEntry
) -> list[tuple[str, float, float]]:
    known = None if class_names is None else frozenset(class_names)

    def read(label: Mapping[str, Any]) -> tuple[str, float, float]:
        name = label.get("label")
        if not isinstance(name, str):
            raise ValueError(f"{where}: 'label' must be a name, found {name!r}")
        if known is not None and name not in known:
            raise ValueError(f"{where}: unknown class {name!r}, {len(known)} are known")
        times = [number(label.get(key), f"{where}, {key!r}") for key in ("start_time", "end_time")]
        return name, times[0], times[1]

    labels = [
        label
        for annotation in _objects(clip, "annotations", where)
        for label in _objects(annotation, "labels", where)
        if label.get("primary") or not primary_only
    ]
    return read_each(labels, read, bad=bad)


def _objects(entry: Mapping[str, Any], key: str, where: str) -> list[Mapping[str, Any]]:
    found = entry.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ValueError(f"{where}: {key!r} must be a list of objects, found {found!r:.80}")
    return found


def _clip(
    clip_id: str,
    video: Mapping[str, Any],
    clip: Mapping[str, Any],
    rows: Sequence[tuple[str, float, float]],
    ids: Mapping[str, int],
) -> Video:
    where = f"clip {clip_id!r}"
    start, end = (number(clip.get(key), f"{where}, {key!r}") for key in ("video_start_sec", "video_end_sec"))
    if not isinstance(video.get("split"), str):
        raise ValueError(f"{where}: its video has no 'split', found {video.get('split')!r}")
    return Video(
        id=clip_id,
        subset=video["split"],
        duration_sec=end - start,
        segments_sec=np.array([row[1:] for row in rows], np.float64).reshape(-1, 2),
        labels=np.array([ids[row[0]] for row in rows], np.int64),
        extra={
            "clip_id": clip_id,
            "video_id": video.get("video_uid"),
            "parent_start_sec": start,
            "parent_end_sec": end,
        },
    )
