# SPDX-License-Identifier: Apache-2.0
"""Names of columns that hold time stamps, and those of columns that do not."""

from __future__ import annotations

import pytest

from asl_fast.data.signals.time_columns import find_time_column, is_time_name

NAMES = {
    1.0: "time|Time (s)|t|t [s]|T(s)|TIME|seconds|seconds_elapsed|elapsed (s)|Elapsed Time|Time [sec]|timeSec|times|ts|"
    "Timestamp|time stamp|time_stamps|Unix time|time since start (s)|time/s|#time|Zeit (s)|sec|Time in seconds|epoch_s",
    1e-3: "Time[ms]|time_ms|timestampMs|Timestamp (ms)|elapsed_ms|ms|time (milliseconds)|timems|unix_timestamp_ms",
    1e-6: "Time (\u00b5s)|t (\u03bcs)|time_us|timestamp [us]|timestampus|Timestamp (microseconds)",
    1e-9: "timestamp [ns]|time_ns|timestampNs|timestampns|sensor timestamp (ns)",
    60.0: "Time (min)|time_minutes",
    3600.0: "Time (h)|elapsed hours",
}


@pytest.mark.parametrize(
    ("name", "unit_sec"), [(name, factor) for factor, names in NAMES.items() for name in names.split("|")]
)
def test_names_of_time_stamps(name: str, unit_sec: float) -> None:
    found = find_time_column(["ax", name, "ay"])
    assert found is not None and found == (1, unit_sec, ())


CHANNELS = (
    "ax|s|us|h|minutes|T (\u00b0C)|speed (m/s)|reaction time (ms)|start_time|start (s)|duration_s|RR (ms)|tempo|in|"
    "since|delta_t|sometimes|step_time_ms|temp_s|"
)


@pytest.mark.parametrize("name", CHANNELS.split("|"))
def test_names_of_channels(name: str) -> None:
    assert not is_time_name(name)
    assert find_time_column([name, "ax"]) is None


def test_several_columns_of_time() -> None:
    """Sensor Logger writes ``time`` in nanoseconds without saying so, and ``seconds_elapsed`` beside it."""
    assert find_time_column(["time", "seconds_elapsed", "z"]) == (1, 1.0, (0,))
    assert find_time_column(["timestamp", "time", "z"]) == (0, 1.0, (1,))
    # A second column called t may be temperature, so it stays a channel.
    assert find_time_column(["T", "time", "z"]) == (1, 1.0, ())
    assert find_time_column(["t", "x"]) == (0, 1.0, ())
