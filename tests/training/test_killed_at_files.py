# SPDX-License-Identifier: Apache-2.0
"""A run that is killed before any of its file operations resumes to the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.test_resume import ROOT, assert_same_runs

KILLS = int(os.environ.get("ASL_FAST_KILLS", "20"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_killed_at_drawn_file_operations(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-m", "tests.training.killed_at_files", str(tmp_path), str(KILLS)]
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    straight, *runs = map(json.loads, done.stdout.splitlines())
    assert straight["status"] == 0 and straight["operations"] > 20
    assert len(runs) == KILLS
    for run in runs:
        assert run["killed"] == signal.SIGKILL, run
        assert run["resumed"] == 0, f"{run}: {done.stderr[-3000:]}"
        assert_same_runs(tmp_path / run["folder"], tmp_path / "straight")
