# SPDX-License-Identifier: Apache-2.0
"""Annotations and detections as tables: the cases of tables.txt, one a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from asl_fast.evaluate import main
from tests.cases.tables import check, outcome, rows


@pytest.mark.parametrize(("truth", "found", "words", "status", "says"), rows("tables.txt"))
def test_case(
    truth: str,
    found: str,
    words: str,
    status: str,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    ground_truth = tmp_path / ("truth.json" if truth.startswith("{") else "truth.csv")
    for path, text in ((ground_truth, truth), (tmp_path / "found.csv", found)):
        path.write_text("\n".join(line.strip() for line in text.replace("\\t", "\t").split(" / ")))
    command = ["--ground-truth", str(ground_truth), "--predictions", str(tmp_path / "found.csv"), "--tiou", "0.5"]
    result = outcome(main, [*command, *words.split()], capsys)
    check(int(status), says, (result[0], result[1], f"{caplog.text}\n{result[2]}"))
