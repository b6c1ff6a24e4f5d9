# SPDX-License-Identifier: Apache-2.0
"""The table of loaders: what is measured, and what it says beside what a GPU is predicted to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from asl_fast.files import write_json
from benchmarks import loading
from benchmarks.jobs.bench_loader import FORMS, MEMORY, make_loader
from benchmarks.shapes import small_shape

NAME = "multithumos"


@pytest.mark.parametrize("form", [*FORMS, MEMORY])
def test_every_form_gives_every_video(form: str) -> None:
    loader = make_loader(small_shape(), 5, form, 0)
    batches = list(loader.epoch(0))
    assert sum(len(batch) for batch in batches) == 5
    assert {batch.features.shape[-1] for batch in batches} == {small_shape().config.model.feature_dim}


def test_a_report_is_measured_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "shape", small_shape)
    monkeypatch.setattr(loading, "settings", lambda: [("packed float16", "cold", workers) for workers in (0, 1, 2, 4)])
    monkeypatch.setattr(loading, "WORKERS", (0, 1, 2, 4))
    monkeypatch.setattr(loading, "_rate", lambda *_, **__: 100.0)
    write_json(tmp_path / "steps.json", {f"{NAME}, preset, fp32": {"least_sec": 0.01}})
    words = ["--steps", str(tmp_path / "steps.json"), "--output", str(tmp_path / "out"), "--seconds", "0"]
    assert loading.main([*words, "--preset", NAME]) == 0
    lines = (tmp_path / "out" / "table.md").read_text().splitlines()
    assert "| packed float16, cold | 100 | 100 | 100 | 100 |" in lines
    assert any("batches of 2, a GPU takes at most 200 samples/s, predicted" in line for line in lines)
    assert loading.main([*words, "--preset", "charades"]) == 2


def test_a_rate_is_that_of_samples() -> None:
    assert loading._rate(small_shape(), 4, MEMORY, 0, 0.01, trains_on="cpu") > 0


@pytest.mark.parametrize(
    ("resident", "files", "preset", "words"),
    [
        (500.0, 300.0, NAME, ["Never the bottleneck", "would not be either: 300"]),
        (500.0, 100.0, NAME, ["Never the bottleneck", "would be: at most 100", "2.0 times too slow"]),
        (50.0, 100.0, NAME, ["Python crops and pads 50 samples/s alone: 4.0 times too slow"]),
    ],
)
def test_a_conclusion_says_what_training_waits_for(
    resident: float, files: float, preset: str, words: list[str]
) -> None:
    row = {"form": MEMORY, "state": "warm", "workers": 0, "rate": files}
    found = loading.conclusion(
        {"preset": preset, "batch": 2, "step_sec": 0.01, "resident_rate": resident, "rows": [row]}
    )
    assert all(word in found for word in words), found


def test_what_does_not_fit_a_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loading.TRAINING_BYTES, NAME, 1e12)
    row = {"form": MEMORY, "state": "warm", "workers": 0, "rate": 900.0}
    found = loading.conclusion({"preset": NAME, "batch": 2, "step_sec": 0.01, "resident_rate": 500.0, "rows": [row]})
    assert "do not fit in half of an H100" in found and "would not be either" in found
