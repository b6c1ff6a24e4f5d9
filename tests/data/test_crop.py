# SPDX-License-Identifier: Apache-2.0
"""Cleaning of segments and training crops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asl_fast.data.crop import clean_segments, cut, random_crop

EMPTY = np.zeros((0, 2)), np.zeros(0, np.int64)


def test_cleaning_clips_and_drops() -> None:
    segments = np.array([[1.0, 2.0], [-1.0, 3.0], [8.0, 12.0], [5.0, 5.0], [7.0, 6.0], [11.0, 12.0], [-3.0, 0.0]])
    clean = clean_segments(segments, np.arange(7), 10.0)
    np.testing.assert_array_equal(clean.segments_sec, [[1, 2], [0, 3], [8, 10]])
    np.testing.assert_array_equal(clean.labels, [0, 1, 2])
    assert (clean.num_clipped, clean.num_dropped) == (2, 4)


def test_cleaning_nothing() -> None:
    assert clean_segments(*EMPTY, 1.0).segments_sec.shape == (0, 2)


def test_cut_keeps_what_is_inside_enough() -> None:
    segments = np.array([[0.0, 10.0], [18.0, 28.0], [21.0, 31.0], [30.0, 40.0]])
    crop = cut(segments, np.arange(4), 5, 25, reach=0.5, threshold=0.5)
    # The window is [4.5, 25.5]: shares inside are 0.55, 0.75, 0.45 and 0.
    np.testing.assert_array_equal(crop.labels, [0, 1])
    np.testing.assert_array_equal(crop.segments, [[-0.5, 5.0], [13.0, 20.5]])


def test_share_equal_to_the_threshold_is_kept() -> None:
    crop = cut(np.array([[0.0, 10.0]]), np.array([3]), 5, 20, reach=0.0, threshold=0.5)
    np.testing.assert_array_equal(crop.labels, [3])


@given(
    seed=st.integers(0, 2**32),
    steps=st.integers(1, 300),
    count=st.integers(0, 6),
    max_length=st.one_of(st.none(), st.integers(1, 400)),
    ratio=st.one_of(st.none(), st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(lambda r: (min(r), max(r)))),
    threshold=st.floats(0, 1),
)
def test_every_crop_is_within_bounds(
    seed: int, steps: int, count: int, max_length: int | None, ratio: tuple[float, float] | None, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    starts = rng.uniform(-0.5, steps - 0.5, count)
    segments = np.stack([starts, starts + rng.uniform(0.1, steps, count)], axis=1)
    crop = random_crop(
        segments, np.arange(count), steps, rng, max_length=max_length, crop_ratio=ratio, reach=0.5, threshold=threshold
    )
    length = crop.stop - crop.start
    assert 0 <= crop.start < crop.stop <= steps
    if max_length is not None:
        assert length <= max_length
    if steps > (max_length or steps):
        assert length == max_length
    elif ratio is not None:
        assert max(round(ratio[0] * steps), 1) <= length <= max(round(ratio[1] * steps), round(ratio[0] * steps), 1)
    else:
        assert length == steps
    for segment, label in zip(crop.segments, crop.labels, strict=True):
        assert -0.5 <= segment[0] < segment[1] <= length + 0.5
        original = segments[label]
        share = (segment[1] - segment[0]) / (original[1] - original[0])
        assert share >= threshold - 1e-12


def test_a_place_with_an_action_is_searched_for() -> None:
    # One short action in a long video: the chance that a single draw holds it is 1 in 90.
    segments, labels = np.array([[500.0, 501.0]]), np.array([2])
    found = [
        len(
            random_crop(
                segments,
                labels,
                1000,
                np.random.default_rng(seed),
                max_length=12,
                crop_ratio=None,
                reach=0.5,
                threshold=0.5,
            ).labels
        )
        for seed in range(50)
    ]
    # 200 draws miss with probability (1 - 12/989)^200 = 0.09.
    assert sum(found) >= 35


def test_an_action_that_fits_no_crop_leaves_background() -> None:
    crop = random_crop(
        np.array([[0.0, 100.0]]),
        np.array([0]),
        100,
        np.random.default_rng(0),
        max_length=10,
        crop_ratio=None,
        reach=0.5,
        threshold=0.5,
        max_trials=5,
    )
    assert crop.segments.shape == (0, 2) and crop.stop - crop.start == 10


def test_no_action_needs_one_draw() -> None:
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    random_crop(*EMPTY, 100, rng, max_length=10, crop_ratio=None, reach=0.5, threshold=0.5)
    other.integers(0, 91)
    assert rng.integers(1 << 30) == other.integers(1 << 30)


def test_segments_beyond_short_features_are_not_targets() -> None:
    # Features of a damaged video may end before its annotations do.
    crop = random_crop(
        np.array([[10.0, 20.0], [95.0, 120.0], [130.0, 140.0]]),
        np.arange(3),
        100,
        np.random.default_rng(0),
        max_length=None,
        crop_ratio=None,
        reach=0.5,
        threshold=0.5,
    )
    np.testing.assert_array_equal(crop.labels, [0])


@pytest.mark.parametrize("steps", [1, 2])
def test_tiny_videos(steps: int) -> None:
    crop = random_crop(
        *EMPTY, steps, np.random.default_rng(0), max_length=None, crop_ratio=(0.01, 0.02), reach=0.5, threshold=0.5
    )
    assert crop.stop - crop.start == 1
