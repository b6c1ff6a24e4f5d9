# SPDX-License-Identifier: Apache-2.0
"""Time stamps in another unit, known by the rate that they give."""

from __future__ import annotations

import numpy as np
import pytest

from asl_fast.data.custom.recording_findings import in_other_units
from asl_fast.data.signals.files import SignalFile
from asl_fast.data.signals.stamp_units import stamps_too_large, too_large_in_words


@pytest.mark.parametrize(
    ("rate_hz", "factor"),
    [
        (50.0, None),
        (100.0, None),
        (1.0, None),
        (4000.0, None),
        (0.05, 1e3),
        (0.1, 1e3),
        (0.025, 1e3),
        (5e-5, 1e6),
        (5e-8, 1e9),
        (5e4, 1e-3),
        (5e7, 1e-6),
        (5e-11, None),
    ],
)
def test_rates_of_other_units(rate_hz: float, factor: float | None) -> None:
    found = stamps_too_large(rate_hz, 50.0)
    assert found == (None if factor is None else pytest.approx(factor))


def test_rounded_stamps_have_a_rate_as_well() -> None:
    values, times = np.zeros((501, 1)), np.arange(501) / 50
    assert SignalFile(values, np.round(times, 1), None).usual_rate_hz is None
    assert SignalFile(values, np.round(times, 1), None).likely_rate_hz == pytest.approx(50)
    assert SignalFile(values, times, None).likely_rate_hz == pytest.approx(50)
    for stamps in (None, np.ones(501), -times):
        assert SignalFile(values, stamps, None).likely_rate_hz is None


def test_the_usual_rate_is_one_that_occurs() -> None:
    assert in_other_units({}, None) == {}
    assert in_other_units({"a": 50.0, "b": 0.05}, None) == {"b": pytest.approx(1e3)}
    assert in_other_units({"a": 50.0, "b": 51.0}, None) == {}
    assert in_other_units({"a": 0.05, "b": 0.05}, 50.0) == {"a": pytest.approx(1e3), "b": pytest.approx(1e3)}
    assert too_large_in_words(1e-3) == "its time stamps look 1,000 times too small"
