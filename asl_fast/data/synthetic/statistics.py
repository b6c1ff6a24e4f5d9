# SPDX-License-Identifier: Apache-2.0
"""What the synthetic twin of a benchmark is drawn from: quantile tables, split and benchmark profiles, and sizes."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

QUANTILE_LEVELS = (0.0005, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99, 0.9995)
_KNOTS = np.array([NormalDist().inv_cdf(level) for level in QUANTILE_LEVELS])


@dataclass(frozen=True)
class Quantiles:
    """A positive quantity by its published quantiles, log-linear in the normal score between them.

    A log-normal quantity is a straight line in these coordinates; the table keeps what departs from it.

    Args:
        values: Minimum, 5, 10, 25, 50, 75, 90, 95, 99 % quantile and maximum; positive and not descending.
    """

    values: tuple[float, float, float, float, float, float, float, float, float, float]

    def __post_init__(self) -> None:
        array = np.asarray(self.values)
        if len(array) != len(QUANTILE_LEVELS) or not (array > 0).all() or (np.diff(array) < 0).any():
            raise ValueError(
                f"Quantiles: {len(QUANTILE_LEVELS)} positive ascending values are needed, got {self.values}"
            )

    def at(self, normal_score: NDArray[np.float64]) -> NDArray[np.float64]:
        """Value at each standard-normal score (any shape)."""
        return np.asarray(np.exp(np.interp(normal_score, _KNOTS, np.log(self.values))))

    def normal_score(self, value: float) -> float:
        """Standard-normal score of a value; ties count as their upper end."""
        return float(np.interp(np.log(value), np.log(self.values), _KNOTS))


@dataclass(frozen=True)
class SplitStatistics:
    """Published statistics of one split, after clipping to the video and dropping empty segments.

    Args:
        subset: Split name as in the annotation file.
        videos: Number of videos.
        video_sec: Video length.
        instances: Instances per video that has any.
        lengths: Instance length, in the unit that `BenchmarkProfile.length_unit` names.
        empty_fraction: Share of videos without an instance.
    """

    subset: str
    videos: int
    video_sec: Quantiles
    instances: Quantiles
    lengths: Quantiles
    empty_fraction: float = 0.0


@dataclass(frozen=True)
class TwinSize:
    """How much of a benchmark a twin holds.

    Args:
        train_videos: Training videos.
        test_videos: Test videos.
        feature_dim: Channels.
        max_video_sec: Longer videos are cut to this; None keeps the published lengths.
        active_classes: Only so many of the most frequent classes occur; None means all. Class names and count stay.
        frequency_power: Class frequencies are raised to this power: 1 keeps the long tail, 0 makes classes equal.
    """

    train_videos: int
    test_videos: int
    feature_dim: int
    max_video_sec: float | None = None
    active_classes: int | None = None
    frequency_power: float = 1.0


@dataclass(frozen=True)
class BenchmarkProfile:
    """All that a twin imitates of one benchmark.

    Args:
        name: Key, e.g. ``"multithumos"``.
        title: Name in prose.
        class_names: By label.
        class_counts: (C,) training instances by class, or the quantiles of that count over classes.
        class_median_sec: (C,) median instance length by class, None where only the spread is used.
        class_share: Share of the variance of log length that lies between classes.
        video_share: Share that lies between videos, within a class.
        count_video_correlation: Of log instance count with log video length, over videos.
        length_count_correlation: Of log instance length with log instance count of its video.
        mixing: Concentration of the urn that gives a video its classes: near 0 one class a video, large all different.
        length_unit: ``"sec"``, or ``"video"`` where a length is a share of its video.
        placement: ``"video"``: instances follow each other. ``"class"``: those of one class do, classes overlap freely.
        packing: Share of its length that an instance keeps to itself; below 1 neighbours may overlap, and do so more
            where the video is too short; at 1 they are shortened instead.
        gap_shape: Shape of the gamma-distributed gaps: 1 is a Poisson process, less is burstier.
        annotator_repeats: Share of instances that repeat another with slightly moved boundaries (unmerged annotators).
        companions: Pairs (a, b): every instance of a is labelled b as well.
        fps_choices: (frames per second, share of videos).
        stride_frame: Frames between feature vectors.
        window_frame: Frames a feature vector sees.
        train: Training split at full size.
        test: Test split at full size.
        full_feature_dim: Channels of the benchmark's features.
        smoke: Preset for a run of seconds to two minutes.
        reduced: Preset for a run of minutes on two CPU cores.
        fixed_points: Features are resized to this many points a video, None where they are not.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...] | Quantiles
    class_median_sec: tuple[float, ...] | None
    class_share: float
    video_share: float
    count_video_correlation: float
    length_count_correlation: float
    mixing: float
    length_unit: Literal["sec", "video"]
    placement: Literal["video", "class"]
    fps_choices: tuple[tuple[float, float], ...]
    stride_frame: int
    window_frame: int
    train: SplitStatistics
    test: SplitStatistics
    full_feature_dim: int
    smoke: TwinSize
    reduced: TwinSize
    packing: float = 1.0
    gap_shape: float = 1.0
    annotator_repeats: float = 0.0
    companions: tuple[tuple[int, int], ...] = ()
    fixed_points: int | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def full(self) -> TwinSize:
        """The benchmark's own size."""
        return TwinSize(self.train.videos, self.test.videos, self.full_feature_dim)


def normal_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace (N,) values by the standard-normal scores of their ranks, so that a table is met at any sample size."""
    count = len(values)
    scores = np.array([NormalDist().inv_cdf((rank + 0.5) / count) for rank in range(count)])
    result = np.empty(count)
    result[np.argsort(values, kind="stable")] = scores
    return result
