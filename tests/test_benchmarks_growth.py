# SPDX-License-Identifier: Apache-2.0
"""How growth is measured, fitted, told and drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import growth
from benchmarks.growth import Curve, exponent, main, measure_curve, table


def test_the_power_is_that_of_the_curve_where_fixed_costs_no_longer_count() -> None:
    sizes = [1, 10, 100, 1000]
    for power in (0.5, 1.0, 2.0):
        assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)
    hidden = [1 + 1e-3 * size for size in (*sizes, 10**5, 10**6)]
    assert exponent([*sizes, 10**5, 10**6], hidden) == pytest.approx(1, abs=0.01)
    assert exponent(sizes, [1, 1, 1, 100], last=2) == pytest.approx(2)
    # What was too small to be measured is left out; a slope needs two points.
    assert exponent([1, 2, 4], [0, 2, 4]) == pytest.approx(1)
    assert exponent([1, 100], [1, 100]) is None
    assert exponent([], []) is None


def test_a_report_is_written_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    curves = (
        Curve("adding, numbers", (1000, 4000, 8000), lambda size: lambda: sum(range(size))),
        Curve("pairs", (10, 40), lambda size: lambda: [a * b for a in range(size) for b in range(size)], "all pairs"),
    )
    monkeypatch.setattr(growth, "CURVES", curves)
    found = measure_curve(curves[0], most=5000, seconds=0.01, say=told.append)
    assert [point["size"] for point in found["points"]] == [1000, 4000] and len(told) == 2
    assert found["exponents"]["seconds"] > 0

    assert main(["--output", str(tmp_path / "out"), "--seconds", "0.01"]) == 0
    report = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [each["curve"] for each in report["curves"]] == ["adding, numbers", "pairs"]
    # A curve that is measured by itself takes its place among the others.
    assert main(["--output", str(tmp_path / "out"), "--seconds", "0", "--curve", "pairs"]) == 0
    again = json.loads((tmp_path / "out" / "results.json").read_text())
    assert again["curves"][0] == report["curves"][0] and again["curves"][1]["curve"] == "pairs"
    report = again
    assert (tmp_path / "out" / "table.md").read_text() == table(report)
    assert "Worse than linear:\n\n- pairs: all pairs.\n" in table(report)
    assert "adding" in (tmp_path / "out" / "growth.svg").read_text()


def test_a_request_that_leaves_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--curve", "nothing of this name"]) == 2
    assert main(["--most", "0"]) == 2
    assert main(["--seconds", "-1"]) == 2
    assert "curves are step / length, windowed attention" in capsys.readouterr().err


def test_the_curves_are_steps_and_evaluations_that_run() -> None:
    for curve in growth.CURVES:
        if "evaluation" not in curve.name:
            assert float(curve.make(min(curve.sizes))()) > 0
