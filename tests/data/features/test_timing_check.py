# SPDX-License-Identifier: Apache-2.0
"""Wrong strides and frame rates are seen from the lengths of features alone."""

from __future__ import annotations

import numpy as np
import pytest

from asl_fast.data.annotations.video import Video
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.timing_check import TimingCheck, check_timing, in_words, what_would_fit
from tests.data.helpers import video

LAYOUT = FeatureManifest("mine", 8, 4, 16, fps=30)
RNG = np.random.default_rng(0)
VIDEOS = [video(f"v{i}", duration_sec=float(duration)) for i, duration in enumerate(RNG.uniform(8, 300, size=40))]


def found(videos: list[Video], *, stride: float = 4, fps: float = 30, window: float = 16) -> dict[str, int]:
    """Feature vectors that an extractor with these settings writes."""
    return {v.id: int((v.duration_sec * fps - window) / stride) + 1 for v in videos}


def checked(steps: dict[str, int], layout: FeatureManifest = LAYOUT) -> TimingCheck:
    check = check_timing(VIDEOS, steps, layout)
    assert check is not None
    return check


def test_the_right_settings_agree() -> None:
    check = checked(found(VIDEOS))
    assert not check.scale_is_wrong and check.groups == () and check.fixed_steps is None
    np.testing.assert_allclose(check.scale, 1, atol=2e-3)


@pytest.mark.parametrize("padding", [0, 8, -8])
def test_padding_at_the_ends_is_no_wrong_stride(padding: int) -> None:
    steps = {key: max(1, count + padding // 4) for key, count in found(VIDEOS).items()}
    check = checked(steps)
    assert not check.scale_is_wrong and check.groups == ()


@pytest.mark.parametrize(
    ("settings", "ratio", "words"),
    [
        ({"stride": 2}, 2.0, "stride 2 or fps 60"),
        ({"stride": 8}, 0.5, "stride 8 or fps 15"),
        ({"stride": 3}, 4 / 3, "stride 3 or fps 40"),
        ({"fps": 25}, 25 / 30, "stride 4.8 or fps 25"),
        ({"fps": 60}, 2.0, "stride 2 or fps 60"),
        ({"fps": 24}, 0.8, "stride 5 or fps 24"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, float], ratio: float, words: str) -> None:
    check = checked(found(VIDEOS, **settings))
    assert check.scale_is_wrong and check.groups == ()
    np.testing.assert_allclose(check.scale, ratio, rtol=0.01)
    assert what_would_fit(check.scale, LAYOUT, 30) == words


def test_24_for_25_frames_per_second() -> None:
    """Too little for single short videos, but all of them together show it."""
    film = FeatureManifest("film", 8, 4, 16, fps=24)
    check = checked(found(VIDEOS, fps=25), film)
    assert check.scale_is_wrong
    assert what_would_fit(check.scale, film, 24) == "stride 3.84 or fps 25"


@pytest.mark.parametrize("share", [0.1, 0.25, 0.4])
def test_some_videos_only(share: float) -> None:
    other = VIDEOS[: int(share * len(VIDEOS))]
    check = checked(found(VIDEOS) | found(other, stride=8))
    assert not check.scale_is_wrong
    assert [set(group.videos) for group in check.groups] == [{v.id for v in other if v.duration_sec > 2}]
    np.testing.assert_allclose(check.groups[0].ratio, 0.5, atol=0.02)


def test_two_groups_and_the_largest_first() -> None:
    check = checked(found(VIDEOS) | found(VIDEOS[:4], stride=8) | found(VIDEOS[4:11], stride=2))
    assert [len(group.videos) for group in check.groups] == [7, 4]
    np.testing.assert_allclose([group.ratio for group in check.groups], [2, 0.5], atol=0.03)


def test_most_videos_wrong_and_some_right() -> None:
    check = checked(found(VIDEOS, stride=2) | found(VIDEOS[:6]))
    np.testing.assert_allclose(check.scale, 2, rtol=0.01)
    assert [set(group.videos) for group in check.groups] == [{v.id for v in VIDEOS[:6]}]


def test_a_fixed_number_is_recognised() -> None:
    check = checked({v.id: 100 for v in VIDEOS})
    assert check.fixed_steps == 100 and check.scale_is_wrong and check.groups == ()


def test_nothing_to_compare() -> None:
    assert check_timing(VIDEOS, {}, LAYOUT) is None
    assert check_timing(VIDEOS, {"v0": 7}, FeatureManifest("even", 8, None)) is None
    one = check_timing(VIDEOS[:1], found(VIDEOS[:1]), LAYOUT)
    assert one is not None and not one.scale_is_wrong


def test_words() -> None:
    assert in_words(2.0) == "2.00 times longer" and in_words(0.5) == "2.00 times shorter"
