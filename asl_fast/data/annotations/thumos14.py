# SPDX-License-Identifier: Apache-2.0
"""THUMOS14 in the CSV files of AFSD, which keep the ``Ambiguous`` rows (THUMOS challenge 2014, Idrees et al.).

ActionFormer's and OpenTAD's ``thumos14.json`` is read by `read_activitynet_json`. Splits: ``Validation`` (200 videos)
trains, ``Test`` is scored. Test counts in use are 213 (all), 212 (without 0001292, which has only ambiguous rows), and
210 (also without 0000270 and 0001496).
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from asl_fast.data.annotations.entries import read_each
from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.files import number, read_csv

AMBIGUOUS = "Ambiguous"
# Files that give no frame rate (MultiTHUMOS) are about the same videos; all others run at 30.
_FRAME_RATES = {
    30000 / 1001: "test: 273 379 591 716 793 1075 1164 1235 1281 1369 1495 validation: 209 314 363 369 902 903 947",
    25.0: "test: 950 1058 1195 1255 1459 validation: 311 413 419 420 484 666",
    24.0: "test: 1207 validation: 411",
}
_VIDEO_COLUMNS = ("video", "fps", "count")
_INSTANCE_COLUMNS = ("video", "type", "start", "end")


def _rates_by_video() -> dict[str, float]:
    rates, subset = {}, ""
    for fps, text in _FRAME_RATES.items():
        for word in text.split():
            if word.endswith(":"):
                subset = word[:-1]
            else:
                rates[f"video_{subset}_{int(word):07d}"] = fps
    return rates


_RATE_BY_VIDEO = _rates_by_video()


def thumos14_fps(video_id: str) -> float:
    """Frames per second of a THUMOS14 (or MultiTHUMOS) video."""
    return _RATE_BY_VIDEO.get(video_id, 30.0)


def read_video_info(path: str | Path, problems: Problems | None = None) -> tuple[dict[str, float], dict[str, float]]:
    """Duration in seconds and frame rate by video, from a ``*_video_info.csv`` (columns ``video, fps, count``).

    Args:
        path: The file.
        problems: Collects videos with an impossible or second row; None raises on the first.

    Raises:
        FileNotFoundError: When the file is missing.
        ValueError: For a missing column; without ``problems``, also for a bad row.
    """
    problems = problems or Problems(str(path), strict=True)
    durations: dict[str, float] = {}
    rates: dict[str, float] = {}
    for row in read_csv(path, _VIDEO_COLUMNS):
        video_id = row["video"]
        where = f"{path}, video {video_id!r}"
        try:
            if video_id in rates:
                raise ValueError(f"{where}: listed twice; remove one of the rows")
            fps, count = (number(row[key], f"{where}, {key!r}") for key in ("fps", "count"))
            if not (fps > 0 and count > 0):
                raise ValueError(f"{where}: 'fps' and 'count' must be positive, found {row['fps']} and {row['count']}")
            rates[video_id], durations[video_id] = fps, count / fps
        except ValueError as error:
            problems.skip(video_id, "bad video info", error)
    return durations, rates


def read_thumos14_csv(folder: str | Path, *, strict: bool = False) -> Annotations:
    """Read ``{val,test}_Annotation.csv`` and ``{val,test}_video_info.csv`` of a folder.

    Classes are numbered alphabetically, as in ``thumos14.json``. Ambiguous rows are no instances: they are kept in
    ``Video.extra["ambiguous_sec"]`` as (N, 2) lists.

    Args:
        folder: Where the four files lie.
        strict: Stop at the first bad video or row instead of leaving it out with a counted warning.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: For missing columns; when strict, also for a bad row.
    """
    folder = Path(folder)
    problems = Problems("thumos14", strict=strict)
    rows: dict[str, list[dict[str, str]]] = defaultdict(list)
    subsets: dict[str, str] = {}
    durations: dict[str, float] = {}
    rates: dict[str, float] = {}
    for prefix, subset in (("val", "Validation"), ("test", "Test")):
        more_durations, more_rates = read_video_info(folder / f"{prefix}_video_info.csv", problems)
        durations |= more_durations
        rates |= more_rates
        file = folder / f"{prefix}_Annotation.csv"
        for row in read_csv(file, _INSTANCE_COLUMNS):
            video_id = row["video"]
            if subsets.setdefault(video_id, subset) != subset and video_id not in problems.skipped:
                error = ValueError(f"{file}, video {video_id!r}: it is in subset {subsets[video_id]!r} as well")
                problems.skip(video_id, "video in two subsets", error)
            rows[video_id].append(row)
    class_names = tuple(sorted({row["type"] for found in rows.values() for row in found} - {AMBIGUOUS, ""}))
    videos = {}
    for video_id, found in rows.items():
        if video_id in problems.skipped:
            continue
        file = folder / f"{'val' if subsets[video_id] == 'Validation' else 'test'}_Annotation.csv"
        where = f"{file}, video {video_id!r}"
        try:
            if video_id not in durations:
                raise ValueError(f"{where}: not in the video_info.csv files, so its duration is unknown")
            table = read_each(found, partial(_instance, where=where), bad=problems.entry_of(video_id))
            clear = [row for row in table if row[0] != AMBIGUOUS]
            videos[video_id] = Video(
                id=video_id,
                subset=subsets[video_id],
                duration_sec=durations[video_id],
                segments_sec=np.array([row[1:] for row in clear], np.float64).reshape(-1, 2),
                labels=np.array([class_names.index(row[0]) for row in clear], np.int64),
                fps=rates[video_id],
                extra={"ambiguous_sec": [list(row[1:]) for row in table if row[0] == AMBIGUOUS]},
            )
        except ValueError as error:
            problems.skip(video_id, "bad annotation", error, file)
    problems.summarise()
    if not videos:
        raise ValueError(f"{folder}: no usable video ({len(rows)} in the files)")
    return Annotations("thumos14", class_names, videos, problems.skipped, problems.left_out)


def _instance(row: dict[str, str], where: str) -> tuple[str, float, float]:
    if not row["type"]:
        raise ValueError(f"{where}: 'type' must name a class, found ''")
    return row["type"], number(row["start"], f"{where}, 'start'"), number(row["end"], f"{where}, 'end'")
