# SPDX-License-Identifier: Apache-2.0
"""Uneven times become even ones, and every original sample keeps its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asl_fast.data.signals.resampling import frames_to_sec, resample, sample_borders


def test_borders_by_hand() -> None:
    # Midpoints of 1.0, 1.2, 1.6; outward as far as inward: 0.9 to 1.8, counted from 0.9.
    np.testing.assert_allclose(sample_borders(np.array([1.0, 1.2, 1.6])), [0.0, 0.2, 0.5, 0.9], atol=1e-12)
    np.testing.assert_allclose(sample_borders(np.array([7.0]), alone_sec=0.05), [0.0, 0.05])
    assert frames_to_sec(np.array([0.0, 0.2, 0.5, 0.9]), 1, 2) == (0.2, 0.9)


@given(st.lists(st.floats(0.005, 0.4), min_size=2, max_size=40), st.floats(5, 60))
def test_a_straight_line_stays_one(steps: list[float], rate: float) -> None:
    times = 3.0 + np.cumsum(steps)
    found, borders = resample(times, (5 * times)[:, None], rate)
    assert len(found) == max(1, round(borders[-1] * rate))
    clock = (np.arange(len(found)) + 0.5) / rate + times[0] - (times[1] - times[0]) / 2
    np.testing.assert_allclose(found[:, 0], 5 * np.clip(clock, times[0], times[-1]), atol=1e-9)


def test_even_times_at_their_own_rate_change_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    found, borders = resample(np.arange(50) / 20.0, values, 20.0)
    np.testing.assert_allclose(found, values, atol=1e-9)
    np.testing.assert_allclose(borders, np.arange(51) / 20.0, atol=1e-12)


def test_of_equal_times_the_last_counts() -> None:
    found, _ = resample(np.array([0.0, 1.0, 1.0, 2.0]), np.array([[0.0], [5.0], [1.0], [2.0]]), 1.0)
    np.testing.assert_allclose(found[:, 0], [0.0, 1.0, 2.0], atol=1e-12)


def test_one_sample() -> None:
    found, borders = resample(np.array([4.0]), np.array([[1.0, 2.0]]), 10.0)
    np.testing.assert_array_equal(found, [[1.0, 2.0]])
    np.testing.assert_allclose(borders, [0.0, 0.1])


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([], "one time stamp per sample"),
        ([0.0, 1.0, 0.5], "time runs backwards after sample 1: 1 s, then 0.5 s"),
        ([0.0, np.nan, 1.0], "time stamp 1 is not finite"),
        ([0.0, 1e9, 2e9], "are the time stamps seconds"),
    ],
)
def test_bad_times(times: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resample(np.array(times), np.zeros((len(times), 1)), 50.0)
