# SPDX-License-Identifier: Apache-2.0
"""Cleaning segments and cutting training crops."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class CleanSegments(NamedTuple):
    """Segments inside the recording: (G, 2) float64 seconds, (G,) int64, and what had to be done to get there."""

    segments_sec: NDArray[np.float64]
    labels: NDArray[np.int64]
    num_clipped: int
    num_dropped: int


def clean_segments(segments_sec: NDArray[np.float64], labels: NDArray[np.int64], duration_sec: float) -> CleanSegments:
    """Clip segments to [0, duration] and drop those that are then empty (zero length, reversed, or outside)."""
    clipped = np.clip(segments_sec, 0.0, duration_sec)
    keep = clipped[:, 1] > clipped[:, 0]
    changed = (clipped != segments_sec).any(axis=1) & keep
    return CleanSegments(clipped[keep], labels[keep], int(changed.sum()), int((~keep).sum()))


def crop_length(
    num_steps: int, rng: np.random.Generator, *, max_length: int | None, crop_ratio: tuple[float, float] | None
) -> int:
    """Choose how many steps of a video become a sample; `random_crop` draws this first.

    Args:
        num_steps: T.
        rng: Source of the draw, if there is one.
        max_length: Longest crop, None for no limit.
        crop_ratio: Smallest and largest share kept of a video that fits, None for all of it.
    """
    if max_length is not None and num_steps > max_length:
        return max_length
    if crop_ratio is None:
        return num_steps
    low = max(round(crop_ratio[0] * num_steps), 1)
    high = max(low, min(round(crop_ratio[1] * num_steps), num_steps))
    return int(rng.integers(low, high + 1))


class Crop(NamedTuple):
    """Steps [start, stop) of the features, with the segments (G, 2) float64 in the crop's own grid units."""

    start: int
    stop: int
    segments: NDArray[np.float64]
    labels: NDArray[np.int64]


def cut(
    segments: NDArray[np.float64],
    labels: NDArray[np.int64],
    start: int,
    stop: int,
    *,
    reach: float,
    threshold: float,
) -> Crop:
    """Keep the segments of which at least ``threshold`` lies in [start - reach, stop + reach], clipped to that.

    The window is the one of ActionFormer's ``truncate_feats``: a segment may stick out by what the outermost feature
    vectors still see.
    """
    left = np.maximum(segments[:, 0], start - reach)
    right = np.minimum(segments[:, 1], stop + reach)
    length = segments[:, 1] - segments[:, 0]
    keep = (right > left) & (right - left >= threshold * length)
    inside = np.stack([left, right], axis=1)[keep] - start
    return Crop(start, stop, inside, labels[keep])


def random_crop(
    segments: NDArray[np.float64],
    labels: NDArray[np.int64],
    num_steps: int,
    rng: np.random.Generator,
    *,
    max_length: int | None,
    crop_ratio: tuple[float, float] | None,
    reach: float,
    threshold: float,
    max_trials: int = 200,
) -> Crop:
    """Cut out a random stretch of the video that holds at least one action, as in ActionFormer's ``truncate_feats``.

    A video longer than ``max_length`` is cut to it; a shorter one to a random share of its length, in ``crop_ratio``.
    Places are drawn until one keeps a segment (see `cut`); after ``max_trials`` the last is taken as it is.

    Args:
        segments: (G, 2) float64 grid units, none empty.
        labels: (G,) int64.
        num_steps: T.
        rng: Source of every draw.
        max_length: Longest crop, None for no limit.
        crop_ratio: Smallest and largest share kept of a video that fits, None for all of it.
        reach: Grid units that the outermost steps see beyond themselves.
        threshold: Share of a segment that must be inside for it to be kept.
        max_trials: Places tried.
    """
    length = crop_length(num_steps, rng, max_length=max_length, crop_ratio=crop_ratio)
    crop = cut(segments, labels, 0, num_steps, reach=reach, threshold=threshold)
    if length == num_steps:
        return crop
    for _ in range(max_trials):
        start = int(rng.integers(0, num_steps - length + 1))
        crop = cut(segments, labels, start, start + length, reach=reach, threshold=threshold)
        if len(crop.labels) or not len(labels):
            break
    return crop
