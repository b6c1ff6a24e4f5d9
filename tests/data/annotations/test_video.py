# SPDX-License-Identifier: Apache-2.0
"""Videos and annotations refuse what cannot be meant."""

from __future__ import annotations

import numpy as np
import pytest

from asl_fast.data.annotations.video import Annotations, Video
from tests.data.helpers import video


@pytest.mark.parametrize(
    ("segments", "labels", "message"),
    [
        ([[1.0, 2.0]], [0, 1], r"got \(1, 2\) and \(2,\)"),
        ([[1.0, 2.0, 3.0, 4.0]], [0], r"got \(1, 4\)"),
        ([[1.0, np.nan]], [0], r"segment \[1.0, nan\] is not finite"),
        ([[np.inf, 2.0]], [0], "is not finite"),
    ],
)
def test_segments(segments: list[list[float]], labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=f"video 'a'.*{message}"):
        Video("a", "train", 10.0, np.array(segments), np.array(labels))


@pytest.mark.parametrize("duration", [0.0, -1.0, float("nan"), float("inf")])
def test_duration(duration: float) -> None:
    with pytest.raises(ValueError, match="video 'a': duration_sec must be positive"):
        video(duration_sec=duration)


def test_no_segments_have_a_shape() -> None:
    empty = Video("a", "train", 1.0, np.array([]), np.array([], dtype=np.int64))
    assert empty.segments_sec.shape == (0, 2) and empty.segments_sec.dtype == np.float64


def test_labels_beyond_the_classes() -> None:
    with pytest.raises(ValueError, match=r"x: video 'a' has label 2, but there are 2 classes \(ids 0 to 1\)"):
        Annotations("x", ("run", "jump"), {"a": video(segments=[[0, 1]], labels=[2])})
    with pytest.raises(ValueError, match="label -1"):
        Annotations("x", ("run", "jump"), {"a": video(segments=[[0, 1]], labels=[-1])})


def test_key_is_the_id() -> None:
    with pytest.raises(ValueError, match="video 'a' is filed under 'b'"):
        Annotations("x", ("run", "jump"), {"b": video("a")})


def test_subsets_and_selection() -> None:
    videos = {key: video(key, subset=subset) for key, subset in (("a", "Train"), ("b", "test"), ("c", "Train"))}
    annotations = Annotations("x", ("run", "jump"), videos)
    assert annotations.subsets == ("Train", "test")
    assert [v.id for v in annotations.subset("train")] == ["a", "c"]
    assert list(annotations.select(["c", "b"]).videos) == ["c", "b"]
    with pytest.raises(ValueError, match="x: no video in subset 'validation'; the subsets are Train, test"):
        annotations.subset("validation")
    with pytest.raises(KeyError):
        annotations.select(["d"])
