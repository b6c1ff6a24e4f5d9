# SPDX-License-Identifier: Apache-2.0
"""A run that is killed and resumed ends with the same bits as one that was left alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from asl_fast.training.checkpoint import load_checkpoint
from asl_fast.training.metrics_log import read_metrics
from tests.training.tiny import TINY_OPTIONS

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
COMMAND = [sys.executable, "-m", "asl_fast.train", "--dataset", "thumos14", *TINY_OPTIONS, "--evaluation.every", "2"]


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *words], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return out


def wait_for(process: subprocess.Popen[str], epochs: int, folder: Path) -> None:
    """Until so many epochs are in the metrics file."""
    deadline = time.monotonic() + 240
    while sum(record["kind"] == "epoch" for record in read_metrics(folder / "metrics.jsonl")) < epochs:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def differences(left: Any, right: Any, path: str = "") -> list[str]:
    """Paths at which two nested structures are not the same to the bit."""
    if isinstance(left, torch.Tensor):
        return [] if torch.equal(left, right) and left.dtype == right.dtype else [path]
    if isinstance(left, dict):
        if left.keys() != right.keys():
            return [path]
        return [name for key in left for name in differences(left[key], right[key], f"{path}.{key}")]
    if isinstance(left, (list, tuple)):
        if len(left) != len(right):
            return [path]
        return [
            name for i, pair in enumerate(zip(left, right, strict=True)) for name in differences(*pair, f"{path}[{i}]")
        ]
    return [] if left == right else [path]


def without_times(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.items() if k != "seconds"} for r in read_metrics(folder / "metrics.jsonl")]


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    epochs = ("--epochs", "4", "--warmup-epochs", "1")
    process = start("--output", str(killed), *epochs)
    wait_for(process, 2, killed)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    reached = load_checkpoint(killed / "checkpoints" / "last.pt")["epoch"]
    assert 2 <= reached < 5
    out = finish(start("--resume", "--output", str(killed), *epochs))
    assert "resuming from" in out
    assert f"epoch   {reached + 1}/5" in out
    assert f"epoch   {reached}/5" not in out

    finish(start("--output", str(straight), *epochs))
    for name in ("last.pt", "best.pt"):
        one, two = (load_checkpoint(folder / "checkpoints" / name) for folder in (straight, killed))
        # The configuration names the run folder.
        one["config"].pop("output"), two["config"].pop("output")
        assert differences(one, two) == []
    assert without_times(straight) == without_times(killed)
    assert (straight / "detections.json").read_bytes() == (killed / "detections.json").read_bytes()
    scores = [json.loads((folder / "evaluation.json").read_text()) for folder in (straight, killed)]
    assert scores[0] == scores[1]


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("--output", str(folder), "--epochs", "50")
    wait_for(process, 1, folder)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"continue with: python -m asl_fast.train --resume --output {folder}" in err
    assert "Traceback" not in err
    assert load_checkpoint(folder / "checkpoints" / "last.pt")["epoch"] >= 1
