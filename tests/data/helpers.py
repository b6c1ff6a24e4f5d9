# SPDX-License-Identifier: Apache-2.0
"""Small data sets for the tests of this folder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asl_fast.data.annotations.video import Video
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.data.grid import FeatureGrid

GRID = FeatureGrid(fps=10, stride_frame=5, window_frame=5)


def video(
    video_id: str = "a",
    segments: Sequence[Sequence[float]] = ((1.0, 4.0), (10.0, 20.0)),
    labels: Sequence[int] | None = None,
    duration_sec: float = 50.0,
    subset: str = "train",
    fps: float | None = None,
) -> Video:
    """Make a video whose labels count up unless given."""
    return Video(
        id=video_id,
        subset=subset,
        duration_sec=duration_sec,
        segments_sec=np.array(segments, np.float64).reshape(-1, 2),
        labels=np.arange(len(segments)) if labels is None else np.array(labels, np.int64),
        fps=fps,
    )


def ramp(steps: int = 100, dim: int = 3) -> np.ndarray:
    """Make (steps, dim) float32 whose first channel is the index."""
    return (np.arange(steps, dtype=np.float32)[:, None] + np.arange(dim, dtype=np.float32)[None] * 1000).astype(
        np.float32
    )


def dataset(count: int = 4, *, training: bool = True, **options: object) -> DetectionDataset:
    """``count`` videos of 100 steps with two actions each."""
    videos = [video(f"v{index}") for index in range(count)]
    store = InMemoryFeatureStore({v.id: ramp() for v in videos})
    return DetectionDataset(videos, store, GRID, training=training, **options)  # type: ignore[arg-type]


def overlapping(video: Video) -> tuple[int, int, int]:
    """Pairs of instances that overlap, instances that overlap an earlier one, and one of their own class."""
    if len(video.labels) < 2:
        return 0, 0, 0
    order = np.argsort(video.segments_sec[:, 0], kind="stable")
    segments, labels = video.segments_sec[order], video.labels[order]
    before = np.triu(segments[None, :, 0] < segments[:, None, 1], 1) & (segments[:, None, 0] < segments[None, :, 1])
    same = before & (labels[:, None] == labels[None])
    return int(before.sum()), int(before.any(axis=0).sum()), int(same.any(axis=0).sum())
