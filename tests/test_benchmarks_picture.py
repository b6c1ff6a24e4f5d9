# SPDX-License-Identifier: Apache-2.0
"""The picture of a run: what it shows of a folder, and what the command says about one that it cannot draw."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from asl_fast.evaluation.activitynet_json import write_detections, write_ground_truth
from asl_fast.reporting.sensitivities import Gaussians, Sensitivities
from asl_fast.training.run_folder import RunFolder
from benchmarks import picture


def segments(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, dtype=np.float64)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Make the folder of a run with two test recordings: in "short" one class occurs, in "long" two."""
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    write_ground_truth(
        folder.ground_truth,
        {
            "video": ["long", "long", "long", "short"],
            "segments": segments((8, 9), (1, 3), (5, 6), (0, 2)),
            "labels": ["Jump", "Walk", "Walk", "Walk"],
        },
        subset="test",
        durations_sec={"long": 10.0, "short": 4.0},
    )
    write_detections(
        folder.detections,
        {
            "video": ["long", "long", "long", "short"],
            "segments": segments((1, 3), (5, 7), (8, 9), (0, 1)),
            "labels": ["Walk", "Walk", "Jump", "Walk"],
            "scores": [0.75, 0.5, 0.05, 0.9],
        },
    )
    folder.dataset.write_text(json.dumps({"name": "steps", "synthetic": True, "test_videos": 2}))
    folder.summary.write_text(json.dumps({"average_map": 0.5}))
    return folder.path


def learned(*, planted: bool) -> Sensitivities:
    """Three classes of which the second never occurred; the third shows early, the first late."""
    mu, sigma = np.array([[0.3, -0.5, 0.5], [0.0, -0.5, 0.5], [-0.2, -0.5, 0.5]]), np.full((3, 3), 0.2)
    truth = Gaussians(mu, sigma / 2) if planted else None
    return Sensitivities(("Jump", "Never", "Walk"), np.array([True, False, True]), Gaussians(mu, sigma), truth)


def texts(svg: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", svg.read_text())


def test_the_recording_with_most_classes_is_read(run: Path) -> None:
    recording = picture.read_recording(run, min_score=0.1)
    assert (recording.name, recording.duration_sec) == ("long", 10.0)
    assert [row.name for row in recording.rows] == ["Walk", "Jump"]  # by their first start
    walk, jump = recording.rows
    assert walk.truth_sec.tolist() == [[1, 3], [5, 6]]
    assert walk.found_sec.tolist() == [[5, 7], [1, 3]] and walk.scores.tolist() == [0.5, 0.75]
    assert len(jump.truth_sec) == 1 and len(jump.found_sec) == 0


def test_another_recording_and_a_misspelt_one(run: Path) -> None:
    assert picture.read_recording(run, "short").rows[0].scores.tolist() == [0.9]
    with pytest.raises(picture.CommandError, match=r"no recording 'shirt'.*short"):
        picture.read_recording(run, "shirt")


@pytest.mark.parametrize("planted", [True, False])
def test_the_drawing_shows_rows_scores_and_curves(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(picture, "sensitivities", lambda run: learned(planted=planted))
    output = tmp_path / "timeline.svg"
    assert picture.main(["--run", str(run), "--output", str(output)]) == 0
    shown = texts(output)
    assert "steps, synthetic twin; recording long; average mAP of the run on all 2 test recordings 0.500" in shown
    # The rows of the recording, then a panel for each class that was trained, early ones first.
    assert [text for text in shown if text in ("Jump", "Never", "Walk")] == ["Walk", "Jump", "Walk", "Jump"]
    assert ("true" in shown) is planted and "learned" in shown
    drawn = output.read_text()
    assert picture._blend(picture.DETECTED, 0.75) in drawn and picture.DETECTED in drawn
    assert drawn.count(picture.PLANTED) == (3 if planted else 0)  # two curves and the legend
    first = output.read_bytes()
    assert picture.main(["--run", str(run), "--output", str(output)]) == 0
    assert output.read_bytes() == first


def test_a_run_without_sensitivities_shows_the_recording_alone(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(picture, "sensitivities", lambda run: None)
    output = tmp_path / "timeline.svg"
    assert picture.main(["--run", str(run), "--output", str(output), "--video", "short", "--min-score", "0"]) == 0
    shown = texts(output)
    assert "Walk" in shown and "Jump" not in shown and "learned" not in shown


def test_several_seeds_are_drawn_without_a_recording(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(picture, "sensitivities", lambda run: learned(planted=False))
    output = tmp_path / "seeds.svg"
    assert picture.main(["--run", str(run), "--others", "b", "c", "--output", str(output)]) == 0
    shown = texts(output)
    assert "learned, 3 seeds" in shown and "true" not in shown
    assert [text for text in shown if text in ("Jump", "Never", "Walk")] == ["Walk", "Jump"]
    # An area and three lines a class, and the legend.
    assert output.read_text().count(picture.DETECTED) == 2 * 4 + 1
    monkeypatch.setattr(picture, "sensitivities", lambda run: None if str(run) == "c" else learned(planted=False))
    assert picture.main(["--run", str(run), "--others", "b", "c", "--output", str(output)]) == 2
    assert "c learned no sensitivities" in capsys.readouterr().err


def test_a_score_mixes_the_colour_with_white() -> None:
    assert picture._blend("#0072b2", 0.0) == "#ffffff"
    assert picture._blend("#0072b2", 1.0) == "#0072b2"
    assert picture._blend("#000000", 0.5) == "#808080"


def test_an_unknown_format_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert picture.main(["--run", str(run), "--output", str(tmp_path / "timeline.bmp")]) == 2
    assert "end it in .png, .svg, .pdf" in capsys.readouterr().err


def test_without_matplotlib_it_says_how_to_get_it(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert picture.main(["--run", str(run)]) == 2
    assert "pip install -e '.[plot]'" in capsys.readouterr().err
