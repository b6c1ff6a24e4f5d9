# SPDX-License-Identifier: Apache-2.0
"""The ablation command: what it trains and does not train again, its scores, table, plot and section of a document."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asl_fast.training.presets import VARIANTS
from asl_fast.training.run_folder import RunFolder
from benchmarks import training_runs
from benchmarks.ablation import Ablation, main, planned
from benchmarks.ablation_plot import draw_differences
from benchmarks.ablation_scores import check_same_recordings, differences, score_run
from benchmarks.ablation_table import ROWS, format_table, replace_section
from tests.training.tiny import finished_run, tiny_bundle

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / "docs" / "results.md").read_text()


def report(**rows: list[float]) -> dict[str, Any]:
    def run(seed: int, value: float) -> dict[str, Any]:
        scores = {"mAP": {"tiou_thresholds": [0.3, 0.4, 0.5], "average_map": value}}
        return {"seed": seed, "scores": scores, "others": {}, "recovery": None}

    return {
        "dataset": "hapt",
        "synthetic": False,
        "command": "python -m benchmarks.ablation",
        "date": "2026-01-01",
        "training_seconds_median": 12.3,
        "jobs": 1,
        "threads": 2,
        "recordings": 19,
        "draws": 1000,
        "rows": {name: [run(i, value) for i, value in enumerate(values, 1)] for name, values in rows.items()},
        "differences": [],
    }


def difference(variant: str, against: str, each: list[float]) -> dict[str, Any]:
    mean = sum(each) / len(each)
    bounds = {"mean": mean, "low": mean - 0.05, "high": mean + 0.05}
    return {"variant": variant, "against": against, "measure": "mAP", "seeds": [1, 2], "each": each, **bounds}


def test_every_variant_has_a_row_in_words() -> None:
    assert set(ROWS) == set(VARIANTS)


def test_table_has_mean_and_spread() -> None:
    table = format_table(report(plain=[0.5, 0.7], asl=[0.8, 0.8]))
    assert "| average mAP, tIoU 0.3:0.1:0.5 |" in table
    assert "| plain detector (ActionFormer's loss) | 0.6000 ± 0.1414 |" in table
    assert "| p + q + contrastive (ASL) | 0.8000 ± 0.0000 |" in table
    assert "real data, 19 test recordings, seeds 1, 2" in table
    assert "above the" not in table


def test_table_has_differences_with_their_bounds() -> None:
    runs = report(plain=[0.5, 0.7], asl=[0.8, 0.8])
    runs["differences"] = [difference("asl", "plain", [0.3, -0.1])]
    table = format_table(runs)
    assert "| above the plain detector | average mAP, tIoU 0.3:0.1:0.5 |" in table
    assert "| p + q + contrastive (ASL) | +0.1000 [+0.0500, +0.1500], ahead with 1 of 2 seeds |" in table
    assert "above the constant-weight control" not in table


def test_a_row_with_fewer_seeds_says_so() -> None:
    table = format_table(report(plain=[0.5, 0.7], asl=[0.8]))
    assert "| p + q + contrastive (ASL), 1 seed | 0.8000 |" in table


def test_one_seed_has_no_spread() -> None:
    table = format_table(report(plain=[0.5]))
    assert "0.5000 |" in table and "19 test recordings, seed 1:" in table


def test_other_measures_stand_beside() -> None:
    runs = report(plain=[0.5, 0.7])
    for run, value in zip(runs["rows"]["plain"], (0.6, 0.8), strict=True):
        run["others"] = {"Jaccard": value}
    lines = format_table(runs).splitlines()
    assert lines[0].endswith("| Jaccard |") and lines[2].endswith("| 0.7000 ± 0.1414 |")


def test_a_twin_shows_what_was_recovered() -> None:
    runs = report(plain=[0.5, 0.7], p=[0.8, 0.8])
    for run, mu in zip(runs["rows"]["p"], (0.8, 0.9), strict=True):
        run["recovery"] = {"classes": 12, "mu_class": mu, "mu_start": 0.5, "mu_end": 0.25}
    lines = format_table(runs).splitlines()
    assert lines[0].endswith("| r of mu with planted | r of mu_start with planted | r of mu_end with planted |")
    assert lines[2].endswith("| 0.6000 ± 0.1414 |  |  |  |")
    assert lines[3].endswith("| 0.85 ± 0.07 | 0.50 ± 0.00 | 0.25 ± 0.00 |")


def test_plot_shows_every_variant_and_no_date(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    runs = report(plain=[0.5, 0.7], asl=[0.8, 0.8], constant=[0.5, 0.6])
    runs["differences"] = [
        difference("constant", "plain", [0.0, -0.1]),
        difference("asl", "plain", [0.3, 0.1]),
        difference("asl", "constant", [0.3, 0.2]),
    ]
    assert draw_differences(runs, tmp_path / "a.svg") and draw_differences(runs, tmp_path / "b.svg")
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn == (tmp_path / "b.svg").read_text()
    for text in (ROWS["constant"], ROWS["asl"], "tIoU 0.3:0.1:0.5", "above the plain detector"):
        assert text in drawn


def test_no_plot_without_differences(tmp_path: Path) -> None:
    assert not draw_differences(report(plain=[0.5]), tmp_path / "a.svg")
    assert not (tmp_path / "a.svg").exists()


def test_section_of_a_document_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "results.md"
    path.write_text("a\n<!-- ablation hapt -->\nold\n<!-- end -->\nb\n")
    replace_section(path, "ablation hapt", "new\n")
    assert path.read_text() == "a\n<!-- ablation hapt -->\nnew\n<!-- end -->\nb\n"
    with pytest.raises(ValueError, match="no section"):
        replace_section(path, "ablation thumos14", "new\n")


@pytest.mark.parametrize("dataset", ["hapt", "multithumos", "shrec21", "shrec22", "shrec22-own", "shrec22-quarter"])
def test_the_document_has_the_table_of_the_committed_runs(dataset: str) -> None:
    (folder,) = (ROOT / "benchmarks" / "results").glob(f"ablation-{dataset}-20??-??-??")
    table = (folder / "table.md").read_text()
    assert f"<!-- ablation {dataset} -->\n{table}<!-- end -->" in DOCUMENT


def test_unknown_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--variants", "plane"]) == 2
    assert "unknown variant 'plane'; did you mean 'plain'" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--seeds", "1 1"), ("--jobs", "0"), ("--draws", "0")])
def test_options_that_make_no_sense(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    assert main([option, *value.split()]) == 2
    assert option in capsys.readouterr().err


def test_nothing_finished_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--report", "--output", str(tmp_path)]) == 2
    assert "no run is finished" in capsys.readouterr().err


def test_own_data_are_trained_as_their_owner_would() -> None:
    asked = Ablation(annotations="mine.json", features=("a", "b"), seeds=(4,), variants=("asl",))
    run = planned(asked, ["--epochs", "2"])["asl"][4]
    expected = "--annotations mine.json --features a b --variant asl --seed 4 --threads 0 --epochs 2"
    assert run.words == tuple(expected.split())
    assert run.folder.path == Path("runs/ablation/mine/asl-seed4")


TRAINING = """
import sys, pathlib, shutil
words = sys.argv[1:]
value = lambda name: words[words.index(name) + 1]
with open({calls!r}, "a") as file:
    file.write(" ".join(words) + chr(10))
if value("--variant") == {failing!r}:
    print("error: the features are on fire")
    sys.exit(3)
shutil.copytree({run!r}, value("--output"), dirs_exist_ok=True)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Make a run of the tiny data set."""
    folder = finished_run(tmp_path_factory.mktemp("run") / "tiny", tiny_bundle())
    folder.dataset.write_text(json.dumps({"synthetic": True}))
    folder.environment.write_text(json.dumps(ENVIRONMENT))
    return folder


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, finished: RunFolder) -> Any:
    """Let a small program stand in for training: it copies a finished run, and fails for one variant."""
    calls = tmp_path / "calls.txt"

    def use(failing: str = "") -> Path:
        script = tmp_path / "train.py"
        script.write_text(TRAINING.format(calls=str(calls), failing=failing, run=str(finished.path)))
        monkeypatch.setattr(training_runs, "TRAIN", (sys.executable, str(script)))
        return calls

    return use


ENVIRONMENT = {"synthetic": True, "git": "0", "versions": {}, "python": "3", "platform": "p", "processors": 1}
ENVIRONMENT |= {"threads": 1}


def words(tmp_path: Path, *more: str) -> list[str]:
    return [
        *("--dataset", "tiny", "--output", str(tmp_path / "runs"), "--results", str(tmp_path / "results")),
        *("--draws", "50", "--seeds", "1", "2", *more),
    ]


def test_finished_runs_are_not_repeated(tmp_path: Path, stand_in: Any, capsys: pytest.CaptureFixture[str]) -> None:
    calls = stand_in()
    assert main(words(tmp_path, "--variants", "plain", "--", "--epochs", "2")) == 0
    assert main(words(tmp_path, "--variants", "plain", "p", "--", "--epochs", "2")) == 0
    lines = calls.read_text().splitlines()
    assert [line.split("--variant ")[1].split(" --threads")[0] for line in lines] == [
        "plain --seed 1",
        "plain --seed 2",
        "p --seed 1",
        "p --seed 2",
    ]
    assert all("--epochs 2 --output" in line for line in lines)
    table = (tmp_path / "results" / "table.md").read_text()
    assert table in capsys.readouterr().out
    # The stand-in trains nothing, so the variants do not differ.
    assert "+0.0000 [+0.0000, +0.0000], ahead with 0 of 2 seeds" in table
    content = json.loads((tmp_path / "results" / "results.json").read_text())
    assert {each["measure"] for each in content["differences"]} == {"mAP", "strict mAP"}
    assert content["rows"]["p"][1]["seed"] == 2


def test_an_interrupted_run_goes_on(tmp_path: Path, stand_in: Any) -> None:
    calls = stand_in()
    folder = RunFolder(tmp_path / "runs" / "tiny" / "plain-seed1")
    folder.path.mkdir(parents=True)
    folder.config.write_text("{}")
    assert main(words(tmp_path, "--variants", "plain")) == 0
    first, second = calls.read_text().splitlines()
    assert first.endswith("--resume") and "--resume" not in second


def test_a_failing_run_is_named_and_the_others_are_shown(
    tmp_path: Path, stand_in: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(failing="p")
    assert main(words(tmp_path, "--variants", "plain", "p", "q")) == 1
    said = capsys.readouterr()
    assert "p seed 1 failed with status 3: error: the features are on fire" in said.err
    assert str(tmp_path / "runs" / "tiny" / "p-seed1" / "log.txt") in said.err
    table = (tmp_path / "results" / "table.md").read_text()
    assert ROWS["q"] in table and ROWS["p"] not in table
    assert main(words(tmp_path, "--variants", "plain", "p", "q", "--report")) == 0


def test_scores_are_those_of_the_evaluation(finished: RunFolder) -> None:
    run = score_run(finished, seed=1, draws=20)
    said = json.loads(finished.evaluation.read_text())["measures"]["mAP"]
    assert run.scores["mAP"]["average_map"] == pytest.approx(said["average_map"], abs=1e-12)
    np.testing.assert_allclose(run.scores["mAP"]["map"], said["map"], rtol=0, atol=1e-12)
    assert run.resampled["strict mAP"].shape == (20,)


def test_detections_of_another_run_are_noticed(finished: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(tmp_path / "other")
    shutil.copytree(finished.path, other.path)
    content = json.loads(other.evaluation.read_text())
    content["measures"]["mAP"]["average_map"] = 0.123
    other.evaluation.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"evaluation\.json says 0\.123000"):
        score_run(other, seed=1, draws=5)


def test_runs_on_different_recordings_are_not_compared(finished: RunFolder) -> None:
    run = score_run(finished, seed=1, draws=5)
    other = replace(run, recordings=run.recordings[1:])
    check_same_recordings([run, run])
    with pytest.raises(ValueError, match="different recordings"):
        check_same_recordings([run, other])


def test_differences_are_of_the_same_seeds(finished: RunFolder) -> None:
    def shifted(seed: int, by: float) -> Any:
        run = score_run(finished, seed=seed, draws=30)
        scores = {key: each | {"average_map": each["average_map"] + by} for key, each in run.scores.items()}
        resampled = {key: values + by for key, values in run.resampled.items()}
        jaccard = {"Jaccard": np.full(30, by)}
        return replace(run, scores=scores, resampled=resampled | jaccard, others={"Jaccard": by, "false positives": 1})

    rows = {
        "plain": [shifted(1, 0.0), shifted(2, 0.1)],
        "asl": [shifted(2, 0.3), shifted(3, 0.9)],
    }
    found = {each["measure"]: each for each in differences(rows)}
    assert set(found) == {"mAP", "strict mAP", "Jaccard"}
    assert found["mAP"]["seeds"] == [2] and found["mAP"]["against"] == "plain"
    assert found["mAP"]["mean"] == pytest.approx(0.2) and found["mAP"]["each"] == [pytest.approx(0.2)]
    assert found["mAP"]["low"] == pytest.approx(0.2) and found["mAP"]["high"] == pytest.approx(0.2)
    assert found["Jaccard"]["mean"] == pytest.approx(0.2)
