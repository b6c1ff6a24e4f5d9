# SPDX-License-Identifier: Apache-2.0
"""Annotations and detections of every video, small enough to travel inside a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.reporting.packed import pack, shares
from asl_fast.reporting.run_record import RunRecord

MOST_DETECTIONS = 200_000
"""Of one page, all runs together: what a browser still loads at once, about 1.5 MB."""
MOST_OF_A_VIDEO = 800
"""Likewise, of one video: more than anybody looks at."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Index:
    """What numbers stand for in a page.

    Attributes:
        classes: Names of classes, those of the first run first.
        videos: Names of videos, likewise.
        tick_sec: Unit of all times.
    """

    classes: tuple[str, ...]
    videos: tuple[str, ...]
    tick_sec: float

    def ticks(self, seconds: NDArray[np.float64]) -> IntArray:
        """Return times as whole ticks, within what 32 bits hold."""
        return np.rint(np.clip(seconds / self.tick_sec, -(2**30), 2**30)).astype(np.int64)


def make_index(records: Sequence[RunRecord]) -> Index:
    """Give every class and video of the runs its number."""
    classes: dict[str, None] = {}
    videos: dict[str, None] = {}
    lengths, ends = [np.zeros(0)], [np.zeros(1)]
    for record in records:
        classes |= dict.fromkeys(map(str, record.dataset.get("class_names", ())))
        if record.learned is not None:
            classes |= dict.fromkeys(record.learned.class_names)
        if record.truth is not None:
            truth, found = record.tables
            for table in (truth, found):
                classes |= dict.fromkeys(sorted(set(table["labels"].tolist())))
                ends.append(table["segments"].ravel())
            lengths.append(truth["segments"][:, 1] - truth["segments"][:, 0])
            videos |= dict.fromkeys([*map(str, record.truth.videos), *found["video"].tolist()])
    return Index(
        tuple(classes), tuple(videos), _tick(np.concatenate(lengths), float(np.abs(np.concatenate(ends)).max()))
    )


def _tick(lengths_sec: NDArray[np.float64], last_sec: float) -> float:
    """Return a power of ten that is small beside most annotations, and for which the last time still is a number."""
    typical = float(np.median(lengths_sec)) if len(lengths_sec) else 0.0
    fine = 10.0 ** math.floor(math.log10(typical / 100)) if typical > 0 else 0.01
    coarse = 10.0 ** math.ceil(math.log10(max(last_sec, 1e-6) / 2**29))
    return float(f"{max(min(fine, 0.1), coarse):.0e}")


def check_comparable(records: Sequence[RunRecord]) -> None:
    """Check that runs were scored against the same annotations.

    Raises:
        ValueError: Naming a video that is annotated differently, or saying that no video is common.
    """
    finished = [record for record in records if record.finished]
    for first, other in pairwise(finished):
        ours, theirs = (_by_video(record) for record in (first, other))
        names = f"{first.folder.path} and {other.folder.path}"
        common = [video for video in ours if video in theirs]
        if not common:
            raise ValueError(f"{names} have no test video in common, so there is nothing to compare")
        for video in common:
            if ours[video] != theirs[video]:
                raise ValueError(
                    f"{names} were scored against different annotations of video {video!r}; compare runs on one test "
                    "split"
                )


def _by_video(record: RunRecord) -> dict[str, list[tuple[float, float, str]]]:
    assert record.truth is not None
    truth, _ = record.tables
    listed: dict[str, list[tuple[float, float, str]]] = {str(video): [] for video in record.truth.videos}
    for video, (start, end), label in zip(
        truth["video"].tolist(), truth["segments"].tolist(), truth["labels"].tolist(), strict=True
    ):
        listed[video].append((start, end, label))
    return {video: sorted(entries) for video, entries in listed.items()}


def pack_truth(records: Sequence[RunRecord], index: Index) -> dict[str, Any]:
    """Pack the annotations of all videos, by video and start.

    Returns:
        ``per_video`` (V,) numbers of annotations; ``packed``: ``start``, ``length`` in ticks, ``label``, and for run i
        ``found<i>``: the score of the detection that found it as 16 bits, 0 where none did.
    """
    video, segments, label = _shared_truth(records, index)
    order = _order(video, segments, label)
    columns = _times(segments[order], index) | {"label": label[order].astype(np.uint16)}
    for number, record in enumerate(records):
        score = np.zeros(len(order))
        if record.truth is not None:
            # In this order the annotations of a run are those of its videos: all runs have the same of each video.
            mine = np.isin(video[order], _numbers(np.array(record.truth.videos, dtype=str), index.videos))
            score[mine] = _found_scores(record, index)
        columns[f"found{number}"] = shares(score, np.uint16)
    per_video = np.bincount(video, minlength=len(index.videos))
    return {"per_video": per_video.tolist(), "packed": pack(columns, differences=frozenset({"start"}))}


def _shared_truth(records: Sequence[RunRecord], index: Index) -> tuple[IntArray, NDArray[np.float64], IntArray]:
    """Annotations of every video from the first run that has it: video, segments in seconds, class."""
    parts: list[tuple[IntArray, NDArray[np.float64], IntArray]] = []
    done = np.zeros(len(index.videos), dtype=np.bool_)
    for record in records:
        if record.truth is not None:
            truth, _ = record.tables
            video, label = _numbers(truth["video"], index.videos), _numbers(truth["labels"], index.classes)
            new = ~done[video]
            parts.append((video[new], truth["segments"][new], label[new]))
            done[_numbers(np.array(record.truth.videos, dtype=str), index.videos)] = True
    if not parts:
        return np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0, np.int64)
    videos, segments, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return videos, segments, labels


def _found_scores(record: RunRecord, index: Index) -> NDArray[np.float64]:
    """(G,) score of the detection that found each annotation of a run, by video and start; 0 where none did."""
    truth, found = record.tables
    found_by = record.verdicts.found_by
    score = np.zeros(len(found_by))
    # No score is stored as 0, which stands for none.
    score[found_by >= 0] = np.maximum(found["scores"][found_by[found_by >= 0]], 1 / 65535)
    video, label = _numbers(truth["video"], index.videos), _numbers(truth["labels"], index.classes)
    return score[_order(video, truth["segments"], label)]


def pack_detections(record: RunRecord, index: Index, most: int, most_of_a_video: int) -> dict[str, Any]:
    """Pack the surest detections of each video of one finished run, by video and start.

    Args:
        record: The run.
        index: What numbers stand for.
        most: How many of all videos together there may be.
        most_of_a_video: How many of one video.

    Returns:
        ``per_video`` (V,) numbers of detections, ``total`` of all that the run has, ``limit`` of one video (null where
        all are there), ``scored`` (V,) 1 where the run was scored on the video; ``packed``: ``start``, ``length`` in
        ticks, ``label``, ``score`` as 16 bits, ``kind`` (index into KINDS of the analysis, 255 where not counted).
    """
    _, found = record.tables
    video, label = _numbers(found["video"], index.videos), _numbers(found["labels"], index.classes)
    kind = record.verdicts.kind.astype(np.uint8)  # -1, not counted, becomes 255
    kept, limit = _surest(video, found["scores"], most, most_of_a_video)
    segments = found["segments"][kept]
    order = _order(video[kept], segments, label[kept])
    columns = _times(segments[order], index)
    columns |= {
        "label": label[kept][order].astype(np.uint16),
        "score": shares(found["scores"][kept][order], np.uint16),
        "kind": kind[kept][order],
    }
    scored = np.zeros(len(index.videos), dtype=np.int64)
    scored[_numbers(np.array(record.truth.videos if record.truth else (), dtype=str), index.videos)] = 1
    return {
        "per_video": np.bincount(video[kept], minlength=len(index.videos)).tolist(),
        "total": len(video),
        "limit": limit,
        "scored": scored.tolist(),
        "packed": pack(columns, differences=frozenset({"start"})),
    }


def _surest(
    video: IntArray, scores: NDArray[np.float64], most: int, most_of_a_video: int
) -> tuple[IntArray, int | None]:
    """Return the rows of the surest detections of each video, and how many of each: None where all are there."""
    counts = np.bincount(video, minlength=1)
    if len(video) <= most and counts.max() <= most_of_a_video:
        return np.arange(len(video)), None
    order = np.lexsort((-scores, video))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    # As many detections have a rank below r as a limit of r keeps.
    kept = np.cumsum(np.bincount(rank))
    limit = min(max(int(np.searchsorted(kept, most, side="right")), 1), most_of_a_video)
    return np.sort(order[rank < limit]), limit


def _times(segments: NDArray[np.float64], index: Index) -> dict[str, NDArray[Any]]:
    start, end = index.ticks(segments[:, 0]), index.ticks(segments[:, 1])
    return {"start": start.astype(np.int32), "length": np.maximum(end - start, 0).astype(np.uint32)}


def _order(video: IntArray, segments: NDArray[np.float64], label: IntArray) -> IntArray:
    return np.lexsort((label, segments[:, 1], segments[:, 0], video))


def _numbers(values: NDArray[Any], names: Sequence[str]) -> IntArray:
    """Positions of names in a list that has all of them."""
    position: Mapping[str, int] = {name: number for number, name in enumerate(names)}
    unique, inverse = np.unique(values, return_inverse=True)
    return np.array([position[str(name)] for name in unique.tolist()], dtype=np.int64)[inverse]
