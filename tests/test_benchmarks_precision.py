# SPDX-License-Identifier: Apache-2.0
"""The comparison of detection in fewer bits: the rows of its table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asl_fast.detection.trained import load_trained
from benchmarks import precision
from tests.training.tiny import finished_run, tiny_bundle


def test_rows_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle()
    trained = load_trained(finished_run(tmp_path / "run", bundle).path)
    monkeypatch.setattr(precision, "load_data", lambda config: bundle)
    for capabilities, kinds in (({"avx512_bf16": True}, ["float32", "bfloat16"]), ({}, ["float32"])):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=capabilities: found, raising=False)
        rows = [row.strip("| ").split(" | ") for row in precision.compare(trained, 1)]
        assert [row[1] for row in rows] == kinds
        assert rows[0][3] == "1.00" and rows[0][5] == "+0.00"
        assert all(0.0 <= float(row[4]) <= 100.0 and abs(float(row[5])) < 20.0 for row in rows)
