# SPDX-License-Identifier: Apache-2.0
"""The examples of both projects run as written, and their numbers make a table."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from asl_fast.files import read_json
from examples.comparison import table


@pytest.mark.parametrize("project", ["actionformer", "opentad"])
def test_an_example_trains_and_compares(project: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "row.json"
    assert import_module(f"examples.{project}.train").main(["--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "with ASL: cls_loss" in printed and "detections in recording-0" in printed
    row = read_json(path)
    assert row["detections_that_differ"] == 0 < row["detections"]
    assert max(row["loss_difference"], row["gradient_difference"]) < 2e-6
    head, line = table([row]).splitlines()
    assert head.startswith("detector") and row["detector"] in line
