# SPDX-License-Identifier: Apache-2.0
"""No silent wrong score: the cases of scoring.txt, one a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from asl_fast.evaluate import main
from tests.cases.tables import check, outcome, rows, write_found, write_truth


@pytest.mark.parametrize(("truth", "found", "words", "status", "says"), rows("scoring.txt"))
def test_case(
    truth: str, found: str, words: str, status: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_truth(tmp_path / "gt.json", truth), write_found(tmp_path / "det.json", found)
    command = ["--ground-truth", str(files[0]), "--predictions", str(files[1]), *words.split()]
    check(int(status), says, outcome(main, command, capsys))
