# SPDX-License-Identifier: Apache-2.0
"""How long the instances are in grid steps, and which level of a feature pyramid is responsible for them.

A level learns from points whose distance to the farther end of an instance lies in its regression range (ActionFormer,
ECCV 2022). For the point in the middle that is half the length, which decides the level here; points beside the
middle may fall to the level above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asl_fast.data.annotations.video import Video
from asl_fast.data.crop import clean_segments
from asl_fast.data.features.manifest import FeatureManifest

Range = tuple[float, float]


@dataclass(frozen=True)
class LevelCount:
    """Instances that one level is responsible for.

    Attributes:
        level: Of the backbone.
        range_grid: Regression range.
        lengths_sec: Shortest and longest length that fall to it, on the typical grid; the last may be infinite.
        count: Instances.
    """

    level: int
    range_grid: Range
    lengths_sec: Range
    count: int


def lengths_grid(videos: Sequence[Video], steps: Mapping[str, int], layout: FeatureManifest) -> NDArray[np.float64]:
    """(N,) lengths of all instances in grid steps, clipped to their videos; videos without an entry are left out."""
    found = [np.empty(0)]
    for video in videos:
        if video.id in steps:
            clean = clean_segments(video.segments_sec, video.labels, video.duration_sec)
            step_sec = layout.grid(video, steps[video.id]).step_sec
            found.append((clean.segments_sec[:, 1] - clean.segments_sec[:, 0]) / step_sec)
    return np.concatenate(found)


def typical_step_sec(videos: Sequence[Video], steps: Mapping[str, int], layout: FeatureManifest) -> float:
    """Median over videos of the seconds between two feature vectors, as the model gets them."""
    return float(np.median([layout.grid(video, steps[video.id]).step_sec for video in videos if video.id in steps]))


def count_levels(
    lengths: NDArray[np.float64], ranges_grid: Sequence[Range], step_sec: float, *, first_level: int = 0
) -> tuple[LevelCount, ...]:
    """Instances by level.

    Args:
        lengths: (N,) lengths in grid steps.
        ranges_grid: Regression range of each level from ``first_level`` on; where they overlap, an instance counts for
            each.
        step_sec: Seconds of a grid step.
        first_level: Finest level that has a range.
    """
    half, last = lengths / 2, len(ranges_grid) - 1
    counts = []
    for index, (low, high) in enumerate(ranges_grid):
        # The upper end of the last range only stands for "no limit".
        limit = float("inf") if index == last else high
        count = int(((half >= low) & (half < limit)).sum())
        counts.append(LevelCount(first_level + index, (low, high), (2 * low * step_sec, 2 * limit * step_sec), count))
    return tuple(counts)
