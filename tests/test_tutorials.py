# SPDX-License-Identifier: Apache-2.0
"""The tutorials' code runs as it stands on their pages: Python blocks, and the asl-fast lines of bash blocks."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from asl_fast.__main__ import main
from tests.shared import golden_arrays

PAGES = Path(__file__).resolve().parents[1] / "docs" / "tutorials"
# Later ones use the run that the first makes.
ORDER = ("own-data", "reading-results", "deployment", "asl-in-your-detector", "from-actionformer")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make the folder that all run in, with a checkpoint and a configuration as ActionFormer's training leaves them."""
    arrays = golden_arrays("small_forward_local9")
    config = json.loads(str(arrays["meta"]))["config"]
    weights = {f"module.{key[7:]}": torch.from_numpy(arrays[key]) for key in arrays if key.startswith("state__")}
    torch.save({"epoch": 35, "state_dict": weights, "state_dict_ema": weights}, tmp_path / "checkpoint.pth.tar")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    return tmp_path


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the language and the text of the blocks that are run."""
    return re.findall(r"^```(python|bash)\n(.*?)^```", (PAGES / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)


def run_page(page: str) -> None:
    """Run the blocks of a page one after the other."""
    names: dict[str, Any] = {"__name__": page}
    found = blocks(page)
    assert len(found) >= 3
    for language, text in found:
        if language == "python":
            exec(compile(text, f"{page}.md", "exec"), names)
            continue
        for words in (shlex.split(line, comments=True) for line in text.splitlines()):
            assert words[0] == "asl-fast", f"{page}.md: only asl-fast lines are run, found {words}"
            assert main(words[1:]) == 0, f"{page}.md: {' '.join(words)}"


@pytest.mark.slow
def test_the_code_of_the_tutorials_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One test, because later pages go on where the first ends."""
    monkeypatch.chdir(folder)
    for page in ORDER:
        run_page(page)


def test_every_tutorial_is_run() -> None:
    pages = {page.stem for page in PAGES.glob("*.md")} - {"index"}
    assert pages == set(ORDER)
    linked = (PAGES / "index.md").read_text()
    assert all(f"({page}.md)" in linked for page in ORDER)
