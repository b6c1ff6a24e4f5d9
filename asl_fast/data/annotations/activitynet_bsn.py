# SPDX-License-Identifier: Apache-2.0
"""ActivityNet 1.3 in the files of BSN and BMN (Lin et al., ECCV 2018): a JSON by video and a CSV with the splits.

The official JSON is read by `read_activitynet_json`. BSN writes ``v_`` before every video id and the official files do
not; ids are kept here without it, so the two agree.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.data.annotations.entries import Entry, read_entries
from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.files import number, read_csv, read_json

_ID_LENGTH = 11


def official_id(video_id: str) -> str:
    """Take off BSN's prefix's prefix; ids have 11 characters, and some begin with ``v_`` themselves."""
    return video_id[2:] if len(video_id) == _ID_LENGTH + 2 and video_id.startswith("v_") else video_id


def read_activitynet13_bsn(
    annotations: str | Path, video_info: str | Path, class_list: str | Path | None = None, *, strict: bool = False
) -> Annotations:
    """Read ``anet_anno_action.json`` and ``video_info_new.csv``.

    Args:
        annotations: ``{video: {"duration_second", "annotations": [{"segment", "label"}]}}``.
        video_info: Columns ``video, fps, subset``.
        class_list: CSV with a column ``action`` whose order gives the class ids; None numbers classes alphabetically.
        strict: Stop at the first bad video or annotation instead of leaving it out with a counted warning.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When a file is of another form; when strict, also for a bad video.
    """
    content = read_json(annotations)
    if not isinstance(content, dict):
        raise ValueError(f"{annotations}: expected {{video: {{'duration_second', 'annotations'}}}}")
    info: dict[str, list[dict[str, str]]] = {}
    for row in read_csv(video_info, ("video", "fps", "subset")):
        info.setdefault(row["video"], []).append(row)
    if class_list is not None:
        class_names = tuple(row["action"] for row in read_csv(class_list, ("action",)))
        if len(set(class_names)) < len(class_names):
            twice = next(name for name in class_names if class_names.count(name) > 1)
            raise ValueError(f"{class_list}: class {twice!r} is listed twice; remove one of the rows")
    else:
        class_names = tuple(sorted(_labels(content)))
    ids = {label: index for index, label in enumerate(class_names)}
    problems = Problems("activitynet13", strict=strict)

    def known(entry: Entry) -> None:
        if entry.label not in ids:
            raise ValueError(f"unknown class {entry.label!r}, {len(ids)} are known")

    videos = {}
    for key, entry in content.items():
        where = f"{annotations}, video {key!r}"
        try:
            listed = info.get(key, [])
            if len(listed) != 1:
                raise ValueError(
                    f"{where}: {'listed twice' if listed else 'not'} in {video_info}, so its subset is unknown"
                )
            if not isinstance(entry, dict):
                raise ValueError(f"{where}: expected {{'duration_second', 'annotations'}}, found {entry!r:.80}")
            video_id = official_id(key)
            bad = problems.entry_of(video_id)
            found = read_entries(entry.get("annotations"), where, bad=bad, accept=known)
            if video_id in videos:
                raise ValueError(f"{where}: {video_id!r} is in the file with and without the prefix 'v_'")
            videos[video_id] = Video(
                id=video_id,
                subset=listed[0]["subset"],
                duration_sec=number(entry.get("duration_second"), f"{where}, 'duration_second'"),
                segments_sec=np.array([each[:2] for each in found], np.float64).reshape(-1, 2),
                labels=np.array([ids[str(each.label)] for each in found], np.int64),
                fps=number(listed[0]["fps"], f"{video_info}, video {key!r}, 'fps'"),
                extra={name: entry[name] for name in ("duration_frame", "feature_frame") if name in entry},
            )
        except ValueError as error:
            problems.skip(official_id(key), "bad annotation", error, annotations)
    problems.summarise()
    if not videos:
        raise ValueError(f"{annotations}: no usable video ({len(content)} in the file)")
    return Annotations("activitynet13", class_names, videos, problems.skipped, problems.left_out)


def _labels(content: dict[str, Any]) -> set[str]:
    """Labels of all entries that are instances; the others are reported with their video."""
    lists = (entry.get("annotations") for entry in content.values() if isinstance(entry, dict))
    items = (item for found in lists if isinstance(found, list) for item in found if isinstance(item, dict))
    return {item["label"] for item in items if isinstance(item.get("label"), str)}
