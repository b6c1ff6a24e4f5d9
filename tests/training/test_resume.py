# SPDX-License-Identifier: Apache-2.0
"""A run that is killed and resumed ends with the same bits as one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from asl_fast.train import main
from asl_fast.training import loop
from asl_fast.training.checkpoint import load_checkpoint
from asl_fast.training.config import EvaluationConfig, TrainConfig
from asl_fast.training.loop import Result, train
from asl_fast.training.metrics_log import read_metrics
from asl_fast.training.run_folder import RunFolder
from tests.training.tiny import CPU, TINY_OPTIONS, tiny_bundle, tiny_config

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from tests.training.test_resume import run_in
run_in(Path(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Give both processes the same number of threads, on which sums over threads depend."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Killed(BaseException):
    """Stands for the end of the process."""


def config() -> TrainConfig:
    """Enough epochs to be caught in the middle."""
    return tiny_config(epochs=7, evaluation=EvaluationConfig(every=2))


def run_in(path: Path, *, resume: bool = False) -> Result:
    """Trains in a folder."""
    folder = RunFolder(path)
    folder.create()
    return train(config(), tiny_bundle(), folder, CPU, dataset_record={"name": "tiny"}, resume=resume)


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
        pairs = enumerate(zip(left, right, strict=True))
        return [name for index, pair in pairs for name in differences(*pair, f"{path}[{index}]")]
    return [] if left == right else [path]


def assert_same_runs(one: Path, two: Path) -> None:
    """Weights, average, optimiser, generators, position and every logged number."""
    for name in ("last.pt", "best.pt"):
        pair = [load_checkpoint(folder / "checkpoints" / name) for folder in (one, two)]
        assert differences(*pair) == []
    logs = [read_metrics(folder / "metrics.jsonl") for folder in (one, two)]
    for record in logs[0] + logs[1]:
        record.pop("seconds", None)
    assert logs[0] == logs[1]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Make a run that was left alone."""
    path = tmp_path_factory.mktemp("straight")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    result = run_in(path)
    torch.set_num_threads(before)
    return path, result


def test_a_killed_run_resumes_to_the_same_bits(tmp_path: Path, straight: tuple[Path, Result]) -> None:
    killed = tmp_path / "killed"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(killed)], env=environment, cwd=ROOT)
    deadline = time.monotonic() + 240
    while sum(record["kind"] == "epoch" for record in read_metrics(killed / "metrics.jsonl")) < 4:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 3 <= load_checkpoint(killed / "checkpoints" / "last.pt")["epoch"] < config().total_epochs

    resumed, expected = run_in(killed, resume=True), straight[1]
    assert_same_runs(killed, straight[0])
    for column in ("video", "segments", "labels", "scores"):
        np.testing.assert_array_equal(resumed.predictions[column], expected.predictions[column])


@pytest.mark.parametrize("moment", ["step", "best.pt", "last.pt", "metrics"])
def test_whatever_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, straight: tuple[Path, Result], moment: str
) -> None:
    """The process ends in the fourth epoch: in a step, before either checkpoint, or before the log."""
    owner, name, fatal = {
        "step": (loop, "ragged_targets", 11),
        "best.pt": (loop, "save_checkpoint", 1),
        "last.pt": (loop, "save_checkpoint", 4),
        "metrics": (loop.MetricsLog, "append", 4),
    }[moment]
    original = getattr(owner, name)
    calls = 0

    def dying(*args: Any) -> Any:
        nonlocal calls
        calls += not moment.endswith(".pt") or args[0].name == moment
        if calls == fatal:
            raise Killed
        return original(*args)

    monkeypatch.setattr(owner, name, dying)
    with pytest.raises(Killed):
        run_in(tmp_path / "killed")
    monkeypatch.undo()
    run_in(tmp_path / "killed", resume=True)
    assert_same_runs(tmp_path / "killed", straight[0])


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_says_how_to_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    # A shell starts its background jobs with the signal ignored, and the tests with them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    save = loop.save_checkpoint

    def save_then_press(*args: Any) -> None:
        save(*args)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop, "save_checkpoint", save_then_press)
    folder = tmp_path / "run"
    words = ["--dataset", "thumos14", *TINY_OPTIONS, "--epochs", "3", "--output", str(folder)]
    assert main(words) == 130
    err = capsys.readouterr().err
    assert f"continue with: python -m asl_fast.train --resume --output {folder}" in err
    assert "Traceback" not in err
    monkeypatch.undo()
    assert load_checkpoint(folder / "checkpoints" / "last.pt")["epoch"] == 1
    assert main(["--resume", "--output", str(folder)]) == 0
    assert load_checkpoint(folder / "checkpoints" / "last.pt")["epoch"] == 4
