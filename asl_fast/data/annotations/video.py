# SPDX-License-Identifier: Apache-2.0
"""What a data set is made of: videos with labelled segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asl_fast.wording import count

LARGEST = 1e12
"""Seconds that no recording lasts, and frames a second that no camera takes."""


@dataclass(frozen=True, eq=False)
class Video:
    """One untrimmed recording and the segments that were labelled in it, exactly as the annotation file has them.

    Args:
        id: Name that annotations, features and detections share.
        subset: Split name as in the annotation file.
        duration_sec: Length of the recording in seconds.
        segments_sec: (G, 2) float64, start and end in seconds; raw, so they may lie outside the recording or be empty.
        labels: (G,) int64, index into ``Annotations.class_names``.
        fps: Frames per second of the recording where the file gives it.
        extra: What else the annotation file says about it, by the file's own keys; some protocols need it.

    Raises:
        ValueError: Naming the video, when shapes disagree, or a value is not finite or beyond all reason.
    """

    id: str
    subset: str
    duration_sec: float
    segments_sec: NDArray[np.float64]
    labels: NDArray[np.int64]
    fps: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        segments = np.asarray(self.segments_sec, dtype=np.float64)
        labels = np.asarray(self.labels, dtype=np.int64)
        segments = segments.reshape(0, 2) if segments.size == 0 else segments
        if segments.ndim != 2 or segments.shape[1] != 2 or labels.shape != (segments.shape[0],):
            raise ValueError(
                f"video {self.id!r}: segments_sec must be (G, 2) and labels (G,), "
                f"got {segments.shape} and {labels.shape}"
            )
        if not np.isfinite(segments).all():
            bad = segments[~np.isfinite(segments).all(axis=1)][0]
            raise ValueError(f"video {self.id!r}: segment [{bad[0]}, {bad[1]}] is not finite; correct the annotation")
        for name, value in (("duration_sec", self.duration_sec), ("fps", self.fps)):
            if value is not None and not (np.isfinite(value) and value > 0):
                raise ValueError(f"video {self.id!r}: {name} must be positive, got {value!r}")
            if value is not None and value > LARGEST:
                raise ValueError(f"video {self.id!r}: {name} {value:g} is beyond all reason; correct the annotation")
        object.__setattr__(self, "segments_sec", segments)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "duration_sec", float(self.duration_sec))


@dataclass(frozen=True, eq=False)
class Annotations:
    """All videos of a data set, with the names that their labels index.

    Args:
        name: Name of the data set.
        class_names: Names by label.
        videos: By id.
        skipped: Videos that the files list but that cannot be used: id -> what is wrong.
        left_out: Annotations that cannot be used in videos that can: id -> how many.

    Raises:
        ValueError: When a label lies outside ``class_names``, or a key differs from its video's id.
    """

    name: str
    class_names: tuple[str, ...]
    videos: Mapping[str, Video]
    skipped: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, video in self.videos.items():
            if key != video.id:
                raise ValueError(f"{self.name}: video {video.id!r} is filed under {key!r}; the key must be its id")
            outside = video.labels[(video.labels < 0) | (video.labels >= len(self.class_names))]
            if outside.size:
                raise ValueError(
                    f"{self.name}: video {key!r} has label {int(outside[0])}, but there are "
                    f"{count(len(self.class_names), 'class', 'classes')} (ids 0 to {len(self.class_names) - 1})"
                )

    @property
    def subsets(self) -> tuple[str, ...]:
        """Split names that occur, in order of first appearance."""
        return tuple(dict.fromkeys(video.subset for video in self.videos.values()))

    def subset(self, name: str) -> tuple[Video, ...]:
        """Videos of one split, compared without regard to case.

        Raises:
            ValueError: When no video has that split; the message lists those that exist.
        """
        found = tuple(video for video in self.videos.values() if video.subset.lower() == name.lower())
        if not found:
            raise ValueError(f"{self.name}: no video in subset {name!r}; the subsets are {', '.join(self.subsets)}")
        return found

    def select(self, ids: Iterable[str]) -> Annotations:
        """Return the same data set with only the named videos, in the given order.

        Raises:
            KeyError: For an id that is not there.
        """
        return replace(self, videos={key: self.videos[key] for key in ids})
