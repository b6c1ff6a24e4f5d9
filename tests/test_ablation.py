# SPDX-License-Identifier: Apache-2.0
"""The ablation command: its table, its section of a document, and what it does with a wrong word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.ablation import format_table, main, replace_section

ROOT = Path(__file__).resolve().parents[1]


def report(**rows: list[float]) -> dict[str, Any]:
    def run(seed: int, value: float) -> dict[str, Any]:
        scores = {"mAP": {"tiou_thresholds": [0.3, 0.4, 0.5], "average_map": value}}
        return {"seed": seed, "scores": scores, "recovery": None}

    return {
        "dataset": "hapt",
        "synthetic": False,
        "command": "python -m benchmarks.ablation",
        "date": "2026-01-01",
        "training_seconds_median": 12.3,
        "jobs": 1,
        "threads": 2,
        "rows": {name: [run(i, value) for i, value in enumerate(values, 1)] for name, values in rows.items()},
    }


def test_table_has_mean_and_spread() -> None:
    table = format_table(report(plain=[0.5, 0.7], asl=[0.8, 0.8]))
    assert "| average mAP, tIoU 0.3:0.1:0.5 |" in table
    assert "| plain detector (ActionFormer's loss) | 0.6000 ± 0.1414 |" in table
    assert "| p + q + contrastive (ASL) | 0.8000 ± 0.0000 |" in table
    assert "real data, seeds 1, 2" in table


def test_one_seed_has_no_spread() -> None:
    assert "0.5000 |" in format_table(report(plain=[0.5]))


def test_a_twin_shows_what_was_recovered() -> None:
    runs = report(plain=[0.5, 0.7], p=[0.8, 0.8])
    for run, mu in zip(runs["rows"]["p"], (0.8, 0.9), strict=True):
        run["recovery"] = {"classes": 12, "mu_class": mu, "mu_start": 0.5, "mu_end": 0.25}
    lines = format_table(runs).splitlines()
    assert lines[0].endswith("| r of mu with planted | r of mu_start with planted | r of mu_end with planted |")
    assert lines[2].endswith("| 0.6000 ± 0.1414 |  |  |  |")
    assert lines[3].endswith("| 0.85 ± 0.07 | 0.50 ± 0.00 | 0.25 ± 0.00 |")


def test_section_of_a_document_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    path.write_text("a\n<!-- ablation hapt -->\nold\n<!-- end -->\nb\n")
    replace_section(path, "ablation hapt", "new\n")
    assert path.read_text() == "a\n<!-- ablation hapt -->\nnew\n<!-- end -->\nb\n"
    with pytest.raises(ValueError, match="no section"):
        replace_section(path, "ablation thumos14", "new\n")


@pytest.mark.parametrize("dataset", ["hapt", "multithumos"])
def test_the_document_has_the_table_of_the_committed_runs(dataset: str) -> None:
    (folder,) = (ROOT / "benchmarks" / "results").glob(f"ablation-{dataset}-*")
    table = (folder / "table.md").read_text()
    assert f"<!-- ablation {dataset} -->\n{table}<!-- end -->" in (ROOT / "docs" / "results.md").read_text()


def test_unknown_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--variants", "plane"]) == 2
    assert "unknown variant 'plane'" in capsys.readouterr().err
