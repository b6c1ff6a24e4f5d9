# SPDX-License-Identifier: Apache-2.0
"""The command ``benchmarks/verify.py``: regressions that it must see, and disturbances that it must not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.verify import main


def result(name: str, median: float, **ratios: float) -> dict[str, Any]:
    baselines: dict[str, Any] = {
        key: {"ratio": ratio, "median_sec": ratio * median, "rounds": 5} for key, ratio in ratios.items()
    }
    missing = {"compiled": {"missing": "no compiler"}}
    return {"op": "op", "case": name, "threads": 1, "median_sec": median, "baselines": baselines | missing}


def write(path: Path, *results: dict[str, Any], **options: Any) -> str:
    content = {"schema": 1, "device": "a processor", "clock": "time", "results": list(results)}
    path.write_text(json.dumps(content | options))
    return str(path)


def compare(tmp_path: Path, old: list[dict[str, Any]], new: list[dict[str, Any]], *arguments: str) -> int:
    return main([write(tmp_path / "old.json", *old), write(tmp_path / "new.json", *new), *arguments])


def test_a_smaller_lead_is_a_regression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(tmp_path, [result("a", 1.0, eager=10.0)], [result("a", 1.0, eager=5.0)]) == 1
    assert "2.00x  SLOWER  op: a  (by eager)" in capsys.readouterr().out


def test_a_busy_machine_is_none(tmp_path: Path) -> None:
    assert compare(tmp_path, [result("a", 1.0, eager=10.0)], [result("a", 3.0, eager=10.0)]) == 0


def test_a_regression_is_seen_though_the_machine_became_faster(tmp_path: Path) -> None:
    assert compare(tmp_path, [result("a", 1.0, eager=10.0)], [result("a", 0.9, eager=6.0)]) == 1


def test_a_case_that_was_given_up_is_left_out(tmp_path: Path) -> None:
    both = [result("a", 1.0, eager=2.0), {"op": "op", "case": "b", "missing": "took more than 1 s"}]
    assert compare(tmp_path, both, both) == 0


def test_the_threshold_decides(tmp_path: Path) -> None:
    sides = [result("a", 1.0, eager=10.0)], [result("a", 1.0, eager=7.0)]
    assert compare(tmp_path, *sides, "--threshold", "1.5") == 0
    assert compare(tmp_path, *sides, "--threshold", "1.3") == 1


def test_one_odd_baseline_does_not_decide(tmp_path: Path) -> None:
    old = [result("a", 1.0, eager=10.0, reference=4.0, other=2.0)]
    assert compare(tmp_path, old, [result("a", 1.0, eager=3.0, reference=4.0, other=2.0)]) == 0


def test_without_a_baseline_the_others_say_how_busy_the_machine_is(tmp_path: Path) -> None:
    old = [result("alone", 1.0), result("b", 1.0, eager=4.0)]
    assert compare(tmp_path, old, [result("alone", 2.0), result("b", 2.0, eager=4.0)]) == 0
    assert compare(tmp_path, old, [result("alone", 2.0), result("b", 1.0, eager=4.0)]) == 1


def test_files_that_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.json", result("a", 1.0, eager=2.0))
    other = write(tmp_path / "other.json", result("b", 1.0, eager=2.0))
    gpu = write(tmp_path / "gpu.json", result("a", 1.0, eager=2.0), device="a GPU")
    slow = write(tmp_path / "slow.json", result("a", 1.0, eager=2.0), forced_backend="reference")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    foreign = tmp_path / "foreign.json"
    foreign.write_text("[]")
    for file, message in (
        (str(tmp_path / "absent.json"), "absent.json: No such file"),
        (other, "no case in common"),
        (gpu, "cannot be compared"),
        (slow, "forced_backend None and 'reference' cannot be compared"),
        (str(broken), "is not JSON"),
        (str(foreign), "is not a result of"),
    ):
        assert main([good, file]) == 2
        assert message in capsys.readouterr().err


def test_a_threshold_below_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        compare(tmp_path, [result("a", 1.0)], [result("a", 1.0)], "--threshold", "0.5")
