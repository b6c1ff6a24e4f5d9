# SPDX-License-Identifier: Apache-2.0
"""Recordings of signals in tables and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asl_fast.data.signals.files import read_signal, signal_files

VALUES = np.random.default_rng(0).normal(size=(6, 3))


def write(path: Path, header: str, columns: np.ndarray, separator: str = ",") -> Path:
    np.savetxt(path, columns, delimiter=separator, header=header, comments="", fmt="%.9f")
    return path


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("time", 1.0),
        ("Timestamp_ms", 1e3),
        ("t_us", 1e6),
        (" seconds ", 1.0),
        ("time_s", 1.0),
        ("Time (s)", 1.0),
        ("Time[ms]", 1e3),
        ("timestamp [ns]", 1e9),
    ],
)
def test_time_stamps_by_name_and_unit(tmp_path: Path, name: str, factor: float) -> None:
    times = np.array([0.0, 0.02, 0.05, 0.06, 0.09, 0.1])
    columns = np.insert(VALUES, 1, (times + 1000) * factor, axis=1)
    found = read_signal(write(tmp_path / "a.csv", f"x,{name},y,z", columns))
    assert found.names == ("x", "y", "z")
    np.testing.assert_allclose(found.values, VALUES, atol=1e-8)
    assert found.times_sec is not None
    np.testing.assert_allclose(found.times_sec, times, atol=1e-7)
    assert found.usual_rate_hz == pytest.approx(1 / 0.02, rel=1e-3)
    assert found.even(200.0).shape == (23, 3)


def test_a_further_column_of_time_is_no_channel(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    times = np.arange(6) / 50
    table = np.column_stack([1.7e18 + times * 1e9, times, VALUES])
    found = read_signal(write(tmp_path / "a.csv", "time,seconds_elapsed,x,y,z", table))
    assert found.names == ("x", "y", "z") and found.usual_rate_hz == pytest.approx(50)
    assert "column 'seconds_elapsed' holds the time stamps; time would tell the same: left out" in caplog.text


def test_without_time_stamps(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    np.save(tmp_path / "b.npy", VALUES[:, 0])
    files = [
        write(tmp_path / "a.csv", "x,y,z", VALUES),
        write(tmp_path / "b.tsv", "", VALUES, "\t"),
        tmp_path / "a.npy",
    ]
    for path in files:
        found = read_signal(path)
        assert found.times_sec is None and found.usual_rate_hz is None
        assert found.even(50.0) is found.values
        np.testing.assert_allclose(found.values, VALUES, atol=1e-6)
    assert read_signal(tmp_path / "b.npy").values.shape == (6, 1)


def test_matlab(tmp_path: Path) -> None:
    scipy = pytest.importorskip("scipy.io")
    scipy.savemat(tmp_path / "a.mat", {"signal": VALUES})
    np.testing.assert_allclose(read_signal(tmp_path / "a.mat").values, VALUES, atol=1e-6)


def test_files_of_a_folder(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.csv", "x,y,z", VALUES)
    assert sorted(signal_files(tmp_path)) == ["a", "b"]
    assert signal_files(tmp_path / "a.csv") == {"a": tmp_path / "a.csv"}
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        signal_files(tmp_path / "none")
    (tmp_path / "c.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"recordings of signals are \.npy"):
        signal_files(tmp_path / "c.wav")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,x\n0,1\n1,nan\n", "value of sample 1 is not finite"),
        ("time,x\n0,1\nnan,2\n", "time stamp of sample 1 is not finite"),
        ("time\n0\n1\n", r"must be \(samples, channels\), found \(2, 0\)"),
        ("time,x\n0,1\n1\n", "line 3: expected 2 numbers"),
        ("", "holds no numbers"),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        read_signal(path)
    assert str(path) in str(raised.value)


def test_times_that_fall_are_refused_when_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("time,x\n0,1\n2,1\n1,1\n")
    with pytest.raises(ValueError, match="time runs backwards after sample 1"):
        read_signal(path).even(1.0)
