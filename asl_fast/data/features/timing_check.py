# SPDX-License-Identifier: Apache-2.0
"""Do the lengths of the features fit the durations? A wrong stride or frame rate shows as a factor between the two.

A manifest expects ``(duration * fps - window) / stride + 1`` feature vectors of a video. A video's *ratio* is what was
found over that number: 2 means twice as many, so half the stride, or twice the frame rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asl_fast.data.annotations.video import Video
from asl_fast.data.features.manifest import FeatureManifest

SCALE_TOLERANCE = 0.025
"""Departure of the scale of all videos from 1 that means a wrong stride or frame rate: 24 for 25 fps is 0.04."""
VIDEO_TOLERANCE = 0.1
"""The same for a single video: annotators and extractors often saw different cuts of it."""
VIDEO_TOLERANCE_STEPS = 3
"""Feature vectors by which a video may always differ: rounding and padding of the extractor."""
_ROUNDING_SEC = 2e-3
_RUN_STEPS = 1000.0
_FRAME_RATES = (5.0, 10.0, 12.0, 12.5, 15.0, 20.0, 24.0, 25.0, 30.0, 48.0, 50.0, 60.0, 90.0, 100.0, 120.0)


@dataclass(frozen=True)
class RatioGroup:
    """Videos that are off by the same factor."""

    ratio: float
    videos: tuple[str, ...]


@dataclass(frozen=True)
class TimingCheck:
    """Found against expected numbers of feature vectors.

    Attributes:
        ratios: Found / expected by video.
        median: Of the ratios.
        scale: Factor between found and expected that most videos share, free of what rounding adds to short videos.
        groups: Videos that disagree with the others (with the manifest, where its scale is right), by factor, largest
            group first; a group may hold a single video.
        fixed_steps: Number of feature vectors that all videos have whatever their duration; None where they differ.
        exact: Videos that have exactly the expected number, in whole vectors.
    """

    ratios: Mapping[str, float]
    median: float
    scale: float
    groups: tuple[RatioGroup, ...]
    fixed_steps: int | None
    exact: int = 0

    @property
    def scale_is_wrong(self) -> bool:
        """Whether the manifest does not fit the features as a whole."""
        return self.fixed_steps is not None or abs(self.scale - 1) > SCALE_TOLERANCE


def check_timing(videos: Sequence[Video], steps: Mapping[str, int], layout: FeatureManifest) -> TimingCheck | None:
    """Compare the found lengths with those that the manifest expects.

    Args:
        videos: Videos; those without an entry in ``steps`` are left out.
        steps: Feature vectors found, by video.
        layout: What the features are said to be.

    Returns:
        None when any length fits (no fixed stride), or there is nothing to compare.
    """
    if layout.stride_frame is None:
        return None
    known = [video for video in videos if video.id in steps]
    if not known:
        return None
    found = np.array([steps[video.id] for video in known], np.float64)
    expected = np.array([expected_steps(video, layout) for video in known])
    ratios = found / expected
    median = typical(ratios, VIDEO_TOLERANCE)
    fixed = is_fixed_number(found, np.array([video.duration_sec for video in known]))
    scale = median if fixed else _scale(found, expected, median)
    reference = scale if abs(scale - 1) > SCALE_TOLERANCE else 1.0
    off = (np.abs(ratios / reference - 1) > VIDEO_TOLERANCE) & (
        np.abs(found - reference * expected) > VIDEO_TOLERANCE_STEPS
    )
    return TimingCheck(
        ratios={video.id: float(ratio) for video, ratio in zip(known, ratios, strict=True)},
        median=median,
        scale=scale,
        groups=() if fixed else _groups({known[i].id: float(ratios[i]) for i in np.flatnonzero(off)}),
        fixed_steps=int(found[0]) if fixed else None,
        exact=sum(_is_exact(video, steps[video.id], layout) for video in known),
    )


def expected_steps(video: Video, layout: FeatureManifest) -> float:
    """Feature vectors that a video should have, not rounded, at least 1."""
    grid = layout.extracted_grid(video, 1)
    return max((video.duration_sec * grid.fps - grid.window_frame) / grid.stride_frame + 1, 1.0)


def _is_exact(video: Video, steps: int, layout: FeatureManifest) -> bool:
    """Whether whole windows give just this number, of the frames that a rounded duration stands for."""
    grid = layout.extracted_grid(video, steps)
    frames = video.duration_sec * grid.fps
    whole = (frames, round(frames)) if not layout.is_in_seconds else (frames - _ROUNDING_SEC, frames + _ROUNDING_SEC)
    return steps in [grid.num_steps(each / grid.fps) for each in whole]


def is_fixed_number(steps: np.ndarray, durations_sec: np.ndarray) -> bool:
    """Whether all videos have one number of feature vectors, although their durations differ."""
    return (
        len(steps) > 2 and bool((steps == steps[0]).all()) and bool(np.ptp(durations_sec) > 0.2 * durations_sec.min())
    )


def typical(ratios: np.ndarray, tolerance: float) -> float:
    """Return the median of positive numbers; where two groups lie around it and none is near, one of the lower group.

    Args:
        ratios: (N,), at least one.
        tolerance: What counts as near, as a share.
    """
    median = float(np.median(ratios))
    if (np.abs(ratios / median - 1) <= tolerance).any():
        return median
    return float(np.sort(ratios)[(len(ratios) - 1) // 2])


def _scale(found: np.ndarray, expected: np.ndarray, median: float) -> float:
    # Slope between pairs of videos, one short and one long: what is added to every video alike drops out.
    alike = np.abs(found / expected / median - 1) <= VIDEO_TOLERANCE
    order = np.argsort(expected[alike], kind="stable")
    found, expected = found[alike][order], expected[alike][order]
    half = len(order) // 2
    run, rise = expected[half : 2 * half] - expected[:half], found[half : 2 * half] - found[:half]
    if run.sum() >= _RUN_STEPS:
        return float(rise.sum() / run.sum())
    # Too few videos, or too similar ones, to tell a small difference in scale from rounding. A large one is taken from
    # the strides between vectors, which the window does not bias; rounding down cost half of one.
    strides = float(np.median((found - 0.5) / np.maximum(expected - 1, 0.5)))
    return strides if abs(median - 1) > VIDEO_TOLERANCE else 1.0


def _groups(ratios: Mapping[str, float]) -> tuple[RatioGroup, ...]:
    """Split by factor: neighbours in order of their ratio belong together while they differ by less than 10 %."""
    order = sorted(ratios, key=ratios.__getitem__)
    groups: list[list[str]] = []
    for video_id in order:
        if groups and ratios[video_id] <= ratios[groups[-1][-1]] * (1 + VIDEO_TOLERANCE):
            groups[-1].append(video_id)
        else:
            groups.append([video_id])
    found = [RatioGroup(float(np.median([ratios[key] for key in group])), tuple(group)) for group in groups]
    return tuple(sorted(found, key=lambda group: -len(group.videos)))


def in_words(ratio: float) -> str:
    """``2.00 times longer`` for a ratio of 2, ``2.00 times shorter`` for one half."""
    return f"{ratio:.2f} times longer" if ratio >= 1 else f"{1 / ratio:.2f} times shorter"


def what_would_fit(ratio: float, layout: FeatureManifest, rate: float) -> str:
    """``stride 2 or fps 60`` for features of twice the expected length at stride 4 and 30 fps.

    Args:
        ratio: Found / expected.
        layout: A manifest with a stride.
        rate: Frame rate that the expectation was computed with.
    """
    assert layout.stride_frame is not None
    if layout.is_in_seconds:
        return f"one step every {layout.stride_frame / ratio:.3g} s"
    stride = _near(layout.stride_frame / ratio, [float(number) for number in range(1, 129)])
    return f"stride {stride:g} or fps {_near(rate * ratio, _FRAME_RATES):g}"


def _near(value: float, usual: Sequence[float]) -> float:
    """Take the usual value within rounding of ``value``, else the value to three digits."""
    nearest = min(usual, key=lambda each: abs(each / value - 1))
    return nearest if abs(nearest / value - 1) < 0.02 else float(f"{value:.3g}")
