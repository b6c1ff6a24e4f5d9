# SPDX-License-Identifier: Apache-2.0
"""Features in the layouts that people have: the cases of layouts.txt, one a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from asl_fast.check_data import main
from tests.cases.recordings import write
from tests.cases.tables import check, manifest_words, outcome, rows


@pytest.mark.parametrize(("recipe", "words", "status", "says"), rows("layouts.txt"))
def test_case(
    recipe: str,
    words: str,
    status: str,
    says: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    command = [*write(tmp_path, recipe), *manifest_words(words, tmp_path)]
    result = outcome(main, command, capsys)
    check(int(status), says, (result[0], result[1], f"{caplog.text}\n{result[2]}"))
