# SPDX-License-Identifier: Apache-2.0
"""Do the features on disk fit the annotations? Asked before training, for every video."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from asl_fast.data.annotations.problems import Problems
from asl_fast.data.annotations.video import Video
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.rows import open_rows
from asl_fast.data.features.store import FeatureStore

logger = logging.getLogger(__name__)

TOLERANCE_SEC = 3.0
"""Difference between a video's duration and what its features cover that extractors' rounding and padding explain."""
TOLERANCE_SHARE = 0.05
"""The same, as a share of the duration."""
SCALE_TOLERANCE = 0.1
"""Departure of the median ratio of found to expected feature vectors from 1 that means a wrong stride or frame rate."""


def check_videos(
    videos: Sequence[Video], store: FeatureStore, layout: FeatureManifest, problems: Problems, *, verify: bool
) -> list[Video]:
    """Find the videos whose features can be used.

    A video without features, with damaged ones, with values that are not finite, or of another width is skipped (an
    error when ``problems`` is strict). One whose features cover clearly more or less than its duration is kept with a
    warning, because annotators and extractors often saw different cuts of a video.

    Args:
        videos: All videos of the data set.
        store: Features.
        layout: How they were extracted.
        problems: Collects what is wrong.
        verify: Read every array whole; otherwise only what headers tell.

    Raises:
        ValueError: When the features as a whole do not fit the manifest: wrong stride or frame rate.
    """
    kept, ratios = [], []
    for video in videos:
        try:
            steps = count_steps(video, store, layout, verify=verify)
        except FileNotFoundError as error:
            problems.skip(video.id, "video without features", error)
            continue
        except (ValueError, OSError) as error:
            problems.skip(video.id, "video with unusable features", error)
            continue
        kept.append(video)
        expected = layout.expected_steps(video)
        if expected is not None:
            ratios.append(steps / expected)
            _check_length(video, steps, layout, problems)
    _check_scale(ratios, layout, problems)
    return kept


def count_steps(video: Video, store: FeatureStore, layout: FeatureManifest, *, verify: bool) -> int:
    """Count the feature vectors of a video.

    Raises:
        FileNotFoundError: When it has none.
        ValueError, OSError: When they cannot be used; when they are not finite only with ``verify``, which reads them.
    """
    steps = sum(map(len, open_rows(store, video.id).parts())) if verify else store.length(video.id)
    layout.extracted_grid(video, steps)
    return steps


def _check_length(video: Video, steps: int, layout: FeatureManifest, problems: Problems) -> None:
    covered = layout.extracted_grid(video, steps).covered_sec(steps)
    tolerance = max(TOLERANCE_SEC, TOLERANCE_SHARE * video.duration_sec)
    if abs(covered - video.duration_sec) > tolerance:
        problems.note(
            "video whose features do not cover its duration",
            ValueError(
                f"video {video.id!r}: {steps} feature vectors cover {covered:.1f} s, but its duration is "
                f"{video.duration_sec:.1f} s; check stride and fps of manifest {layout.name!r}"
            ),
        )


def _check_scale(ratios: Sequence[float], layout: FeatureManifest, problems: Problems) -> None:
    if not ratios:
        return
    ratio = float(np.median(ratios))
    if abs(ratio - 1) > SCALE_TOLERANCE and layout.stride_frame is not None:
        raise ValueError(
            f"{problems.what}: videos have {ratio:.2f} times the feature vectors that manifest {layout.name!r} expects "
            f"(stride {layout.stride_frame:g}, fps {layout.fps or 'of each video'}); a stride of "
            f"{layout.stride_frame / ratio:.3g} frames would fit. Detections would be off by that factor: correct it"
        )
