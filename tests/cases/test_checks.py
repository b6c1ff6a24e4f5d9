# SPDX-License-Identifier: Apache-2.0
"""What is derived is proved, and units are noticed: the cases of checks.txt, one a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from asl_fast.check_data import main
from tests.cases.recordings import write
from tests.cases.tables import check, manifest_words, outcome, rows


@pytest.mark.parametrize(("recipe", "words", "status", "says"), rows("checks.txt"))
def test_case(
    recipe: str, words: str, status: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*write(tmp_path, recipe), *manifest_words(words, tmp_path)]
    check(int(status), says, outcome(main, command, capsys))
