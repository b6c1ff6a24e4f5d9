# SPDX-License-Identifier: Apache-2.0
"""What is read out of several ablations: whether a run collapsed, and the gain against the detector's strength."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asl_fast.files import read_json, write_json
from benchmarks import collapse, gain

THRESHOLDS = [0.3, 0.5]


def report(dataset: str, each: list[dict[str, Any]] | None = None, **rows: list[list[float]]) -> dict[str, Any]:
    """Give the part of an ablation's results.json that is read; rows hold mAP at each threshold, run by run."""

    def run(seed: int, values: list[float]) -> dict[str, Any]:
        average = sum(values) / len(values)
        return {
            "seed": seed,
            "scores": {"mAP": {"tiou_thresholds": THRESHOLDS, "map": values, "average_map": average}},
        }

    runs = {variant: [run(seed, values) for seed, values in enumerate(all_, 1)] for variant, all_ in rows.items()}
    return {"dataset": dataset, "synthetic": False, "rows": runs, "differences": each or []}


def folder(path: Path, content: dict[str, Any]) -> str:
    path.mkdir()
    write_json(path / "results.json", content)
    return str(path)


def test_a_run_that_failed_is_far_below_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fine = [[0.40, 0.40], [0.41, 0.41], [0.42, 0.42], [0.43, 0.43]]
    ablation = folder(tmp_path / "a", report("twin", plain=[*fine, [0.2, 0.1]], asl=fine, q=fine[:2]))
    document = tmp_path / "page.md"
    document.write_text("<!-- collapse -->\n<!-- end -->\n")
    words = [ablation, "--results", str(tmp_path / "out"), "--document", str(document)]
    assert collapse.main(words) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    # 41.5 on average with a deviation of 1.29 without the fifth run, which stands at 15.0.
    plain, asl = (next(line for line in table.splitlines() if word in line) for word in ("plain", "ASL"))
    assert plain == ("| plain detector (ActionFormer's loss) | 1 to 5 | 36.2 | 11.9 | 15.0 (seed 5) | 1.8 | 20.5 |")
    assert "| 1 to 4 | 41.5 | 1.3 | 40.0 (seed 1) | 1.2 | 2.0 |" in asl
    assert "instance-level" not in table
    assert table.partition("\n\n")[2].rpartition("\n\n")[0] in document.read_text()
    assert read_json(tmp_path / "out" / "results.json")["twin"]["q"] == {"1": 0.40, "2": 0.41}
    assert collapse.main([str(tmp_path / "none")]) == 2
    assert "none" in capsys.readouterr().err


def test_equal_runs_and_scattered_seeds() -> None:
    content = report("twin", asl=[[0.4, 0.4]] * 4)
    for run, seed in zip(content["rows"]["asl"], (1, 2, 5, 7), strict=True):
        run["seed"] = seed
    assert "| 1, 2, 5, 7 | 40.0 | 0.0 | 40.0 (seed 1) |  |  |" in collapse.format_tables([content])


def test_the_weaker_detector_comes_first(tmp_path: Path) -> None:
    def compared(mean: float) -> list[dict[str, Any]]:
        common = {"variant": "asl", "measure": "mAP", "seeds": [1], "each": [mean], "mean": mean}
        return [common | {"against": "plain", "low": mean - 0.01, "high": mean + 0.01}]

    strong = folder(tmp_path / "s", report("strong", compared(0.0), plain=[[0.9, 0.8]], asl=[[0.91, 0.79]]))
    weak = folder(tmp_path / "w", report("weak", compared(0.05), plain=[[0.6, 0.4]], asl=[[0.7, 0.4]]))
    document = tmp_path / "page.md"
    document.write_text("<!-- gain -->\n<!-- end -->\n")
    assert gain.main([strong, weak, "--results", str(tmp_path / "out"), "--document", str(document)]) == 0
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in document.read_text()
    lines = table.splitlines()
    assert lines[2] == "| weak, 1 seed | 50.0 | plain detector | +5.0 [+4.0, +6.0], ahead with 1 of 1 |"
    assert lines[3].startswith("| strong, 1 seed | 85.0 | plain detector | +0.0 ")
    assert "| weak, asl above it | +10.0 | +0.0 |" in lines and "| strong, asl above it | +1.0 | -1.0 |" in lines


def test_an_ablation_without_the_variant_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gain.main([folder(tmp_path / "a", report("twin", plain=[[0.1, 0.1]]))]) == 2
    assert "twin: the ablation has plain, not asl and plain" in capsys.readouterr().err
