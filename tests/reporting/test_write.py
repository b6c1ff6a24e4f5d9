# SPDX-License-Identifier: Apache-2.0
"""The command and what training calls: where the page goes, how large it is, and what happens when it cannot be."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from asl_fast.report import main
from asl_fast.reporting import write
from asl_fast.reporting.write import write_page, write_page_after_training
from benchmarks.page import made_up_run as large_run
from tests.reporting.made_up import made_up_run


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(list(map(str, words))) == 2
    return capsys.readouterr().err


def test_the_page_of_a_run_lies_in_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_up_run(tmp_path / "run")
    assert main(["--run", str(run.path)]) == 0
    assert run.report.read_text().startswith("<!doctype html>")
    assert capsys.readouterr().out == f"{run.report}: 3 videos, {run.report.stat().st_size / 1e6:.2f} MB\n"


def test_a_comparison_is_named_after_the_other_run(tmp_path: Path) -> None:
    a, b = made_up_run(tmp_path / "a"), made_up_run(tmp_path / "b")
    assert main(["--run", str(a.path), "--run", str(b.path)]) == 0
    assert (b.path / "report-a.html").exists() and not b.report.exists()


def test_videos_are_linked_from_where_the_page_lies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_up_run(tmp_path / "run")
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "first.mp4").touch()
    page = tmp_path / "elsewhere.html"
    options = ["--run", str(run.path), "--videos", str(tmp_path / "videos"), "--output", str(page)]
    assert main(options) == 0
    assert "3 videos, 1 with their file" in capsys.readouterr().out
    assert '"media":["./videos/first.mp4",null,null]' in page.read_text()


def test_what_cannot_be_shown_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_up_run(tmp_path / "run")
    assert "is" in refused(capsys, "--run", tmp_path / "no") and not (tmp_path / "no").exists()
    assert "give one --run, or two" in refused(capsys, *["--run", run.path] * 3)
    assert "no such folder" in refused(capsys, "--run", run.path, "--videos", tmp_path / "no")
    run.metrics.write_text("{}\n{}\n")
    assert "metrics.jsonl, line 1: no record" in refused(capsys, "--run", run.path)
    run.metrics.unlink()
    run.config.write_text("[]")
    assert "config.json must hold keys and values" in refused(capsys, "--run", run.path)
    run.config.write_text('{"dataset": "x"}')
    assert "config.json: has no 'epochs'" in refused(capsys, "--run", run.path)
    assert not run.report.exists()


def test_a_page_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_up_run(tmp_path / "run")
    run.report.write_text("old")

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("asl_fast.files.os.fsync", full)
    assert "No space left on device; what it held before is intact" in refused(capsys, "--run", run.path)
    assert run.report.read_text() == "old"
    assert not [path for path in run.path.iterdir() if path.suffix == ".tmp"]


def test_after_training_the_page_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_up_run(tmp_path / "run")
    write_page_after_training(run.path)
    assert capsys.readouterr().out == f"to look at: {run.report}\n"
    assert run.report.exists()


def test_a_failure_after_training_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_up_run(tmp_path / "run")

    def broken(*arguments: Any) -> str:
        raise ZeroDivisionError("some\ndefect")

    monkeypatch.setattr(write, "render", broken)
    write_page_after_training(run.path)
    message = capsys.readouterr().err
    assert message.startswith("warning: no page was written (some defect); the run is complete; again: ")
    assert message.endswith(f"report --run {run.path}\n")


def test_one_process_of_many_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_up_run(tmp_path / "run")
    monkeypatch.setenv("RANK", "1")
    write_page_after_training(run.path)
    assert not run.report.exists()


def test_a_page_of_200_videos_stays_small(tmp_path: Path) -> None:
    """At random, numbers pack worse than those of any detector."""
    large_run(tmp_path, videos=200, per_video=800, classes=65)
    written = write_page([tmp_path])
    assert written.videos == 200 and written.size < 1_500_000


def test_without_matplotlib_no_half_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_up_run(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install 'asl-fast[plot]'" in refused(capsys, "--run", run.path, "--png", tmp_path / "png")
    assert not run.report.exists() and not (tmp_path / "png").exists()


def test_pictures_for_papers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    a, b = made_up_run(tmp_path / "a"), made_up_run(tmp_path / "b")
    folder = tmp_path / "png"
    assert main(["--run", str(a.path), "--run", str(b.path), "--png", str(folder)]) == 0
    assert "9 pictures: losses.png" in capsys.readouterr().out
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(first) == 9 and all(data.startswith(b"\x89PNG") for data in first.values())
    assert main(["--run", str(a.path), "--run", str(b.path), "--png", str(folder)]) == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_pictures_of_a_run_that_has_not_finished(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run = made_up_run(tmp_path / "run", finished=False, sensitivity=False)
    assert main(["--run", str(run.path), "--png", str(tmp_path / "png")]) == 0
    assert [path.name for path in (tmp_path / "png").iterdir()] == ["losses.png"]


def test_content_is_plain_json(tmp_path: Path) -> None:
    text = write_page([made_up_run(tmp_path / "run").path]).page.read_text()
    begin = text.index('<script type="application/json" id="content">') + len(
        '<script type="application/json" id="content">'
    )
    assert json.loads(text[begin : text.index("</script>", begin)])["runs"][0]["name"] == "run"
