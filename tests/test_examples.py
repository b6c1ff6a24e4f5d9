# SPDX-License-Identifier: Apache-2.0
"""The examples that go from a fresh clone to something to look at: scripts are well formed, and their parts work."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from asl_fast.evaluation.activitynet_json import write_detections
from asl_fast.formats.known import NAMES, places, write
from examples.results import read_back, twin_features
from tests.formats.odd import ORIGIN, RECORDINGS

FOLDER = Path(read_back.__file__).parent


@pytest.fixture
def detections(tmp_path: Path) -> Path:
    """Write recordings with odd names in every format."""
    path = tmp_path / "found.json"
    rows = [(each.name, *action) for each in RECORDINGS for action in each.actions]
    columns = {
        "video": np.array([row[0] for row in rows]),
        "segments": np.array([row[1:3] for row in rows]),
        "labels": np.array([row[3] for row in rows]),
        "scores": np.array([row[4] for row in rows]),
    }
    write_detections(path, columns, videos=[each.name for each in RECORDINGS])
    write(places(path, NAMES), RECORDINGS, ORIGIN)
    return path


def test_every_format_is_read_back_or_its_package_named(detections: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read_back.main([str(detections)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{sum(len(each.actions) for each in RECORDINGS)} detections in 3 recordings"
    assert [line.split()[0] for line in lines[2:]] == list(NAMES)
    for line in lines[2:]:
        assert ", times within " in line or "not installed: pip install " in line, line


def test_a_difference_is_seen(detections: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pysubs2", reason="needs pysubs2, of the extra dev")
    path = next((detections.parent / "found").glob("kitchen*.srt"))
    path.write_text(path.read_text().replace("00:00:01,000", "00:00:01,500"))
    next((detections.parent / "found").glob("*.vtt")).write_text("WEBVTT\n")
    assert read_back.main([str(detections)]) == 1
    out = capsys.readouterr().out
    assert "DIFFERS by 0.5 s" in out and "DIFFERS: " in out


def test_the_twins_features_are_written(tmp_path: Path) -> None:
    assert twin_features.main(["thumos14", "smoke", str(tmp_path)]) == 0
    arrays = [np.load(path) for path in tmp_path.glob("*.npy")]
    assert arrays and all(array.ndim == 2 and array.dtype == np.float32 for array in arrays)


def test_the_scripts_are_well_formed() -> None:
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    scripts = sorted(FOLDER.parent.rglob("*.sh"))
    assert {"results", "deploy", "site"} <= {script.parent.name for script in scripts}
    for script in scripts:
        subprocess.run(["bash", "-n", str(script)], check=True)
