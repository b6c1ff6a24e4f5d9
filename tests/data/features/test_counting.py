# SPDX-License-Identifier: Apache-2.0
"""Columns that count, among columns that measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from asl_fast.check_data import main as check_main
from asl_fast.data.features.counting import climbing_columns
from asl_fast.training.config import TrainConfig
from asl_fast.training.own_preset import check_units, open_configured
from tests.own_recordings import write_recordings

RNG = np.random.default_rng(0)


def columns(rows: int, *, first: float = 0.0, step: float = 1.0) -> np.ndarray:
    """Make a measurement, a counter, uneven stamps, a level and steps that sometimes wait."""
    uneven = np.cumsum(RNG.uniform(0.5, 1.5, rows))
    return np.stack([RNG.normal(size=rows), first + step * np.arange(rows), uneven, np.ones(rows), uneven // 3], axis=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_counts_and_what_rises(dtype: type) -> None:
    arrays = [columns(60).astype(dtype), columns(400, first=5, step=0.02).astype(dtype), columns(3).astype(dtype)]
    assert climbing_columns(arrays) == ((1,), (2,))
    # Rounded time stamps, and those that fall; one array without is enough to say that a column does not.
    rounded = np.round(np.arange(200) / 60, 4)[:, None].astype(dtype)
    assert climbing_columns([rounded]).counting == climbing_columns([-rounded]).counting == (0,)
    assert climbing_columns([rounded, RNG.normal(size=(50, 1))]) == ((), ())


def test_what_tells_nothing() -> None:
    assert climbing_columns([]) == climbing_columns([columns(9)]) == ((), ())
    straight = np.linspace(0, 1, 100)[:, None] + RNG.normal(0, 0.002, (100, 1))  # a drift with noise is measured
    assert climbing_columns([straight]).counting == ()
    assert climbing_columns([np.arange(40).reshape(-1, 1)]).counting == (0,)


def test_lines_numbered_in_a_table_without_a_header(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    annotations, folder = write_recordings(tmp_path)
    tables = tmp_path / "tables"
    tables.mkdir()
    for path in folder.glob("*.npy"):
        array = np.load(path)
        np.savetxt(tables / f"{path.stem}.csv", np.column_stack([np.arange(len(array)), array]), delimiter=",")
    assert check_main(["--annotations", str(annotations), "--features", str(tables)]) == 0
    assert "note     column 0 (counted from 0) of the features in" in capsys.readouterr().out
    config = TrainConfig(dataset="mine", annotations=str(annotations), features=(str(tables),))
    check_units(open_configured(config))
    assert "column 0 (counted from 0) of the features in" in caplog.text
    caplog.clear()
    assert check_main(["--annotations", str(annotations), "--features", str(folder)]) == 0
    assert "counted from 0" not in capsys.readouterr().out
