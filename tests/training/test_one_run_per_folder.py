# SPDX-License-Identifier: Apache-2.0
"""A run folder is one run: a new one replaces the old wholly or not at all, and one process at a time writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asl_fast.detection.trained import load_trained
from asl_fast.evaluate import main as evaluate_main
from asl_fast.models.content import digest
from asl_fast.train import main
from asl_fast.training import loop, replace_run
from asl_fast.training.checkpoint import load_checkpoint
from asl_fast.training.run_folder import RunFolder, RunFolderError
from asl_fast.training.run_lock import RunLock
from tests.training.test_resume import Killed
from tests.training.tiny import TINY_OPTIONS

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["--dataset", "thumos14", "--synthetic-scale", "0.02", *TINY_OPTIONS]
HOLDER = """
import sys, time
from pathlib import Path
from asl_fast.training.run_lock import RunLock
lock = RunLock(Path(sys.argv[1]))
print("locked", flush=True)
time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Make a finished run of seed 1."""
    folder = RunFolder(tmp_path / "run")
    assert main([*WORDS, "--seed", "1", "--output", str(folder.path)]) == 0
    return folder


def seed_of(folder: Path) -> int | None:
    """Return the seed of the whole run in a folder, None where there is none."""
    found = RunFolder(folder)
    if not found.holds_a_run:
        return None
    trained = load_trained(folder)
    assert json.loads(found.config.read_text())["seed"] == trained.config.seed
    assert evaluate_main(["--run", str(folder)]) == 0
    return trained.config.seed


def test_a_replaced_run_waits_whole_until_the_new_one_has_a_checkpoint(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run.path / "notes.txt").write_text("mine")
    before = digest(load_checkpoint(run.last))
    overwrite = [*WORDS, "--seed", "2", "--output", str(run.path), "--overwrite"]

    def dying(*_: Any) -> None:
        raise Killed

    for _ in range(2):  # also when the one that replaces it is replaced in turn
        monkeypatch.setattr(loop, "ragged_targets", dying)
        with pytest.raises(Killed):
            main(overwrite)
        monkeypatch.undo()
        assert f"the run before is kept in {run.replaced} until" in capsys.readouterr().out
        assert seed_of(run.replaced) == 1
        assert digest(load_checkpoint(RunFolder(run.replaced).last)) == before
        assert not run.last.exists() and not run.detections.exists()
        assert evaluate_main(["--run", str(run.path)]) == 2
    assert main(["--resume", "--output", str(run.path)]) == 0
    assert seed_of(run.path) == 2
    assert (run.path / "notes.txt").read_text() == "mine"
    assert os.listdir(run.path.parent) == ["run"]


@pytest.mark.parametrize("moment", range(1, 4))
def test_whatever_the_moment_of_replacing(run: RunFolder, monkeypatch: pytest.MonkeyPatch, moment: int) -> None:
    (run.path / "notes.txt").write_text("mine")
    rename, calls = Path.rename, 0

    def dying(self: Path, target: Path) -> Path:
        nonlocal calls
        calls += 1
        if calls == moment:
            raise Killed
        return rename(self, target)

    monkeypatch.setattr(replace_run.Path, "rename", dying)
    with pytest.raises(Killed):
        main([*WORDS, "--seed", "2", "--output", str(run.path), "--overwrite"])
    monkeypatch.undo()
    assert {seed_of(run.path), seed_of(run.replaced)} == {None, 1}


def test_a_folder_that_cannot_be_moved_stays_as_it_is(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(replace_run.Path, "rename", refused)
    with pytest.raises(
        RunFolderError, match=r"cannot move the run in .*run away: Permission denied; remove it by hand"
    ):
        replace_run.replace_run(run, RunLock(run.path))
    monkeypatch.undo()
    assert seed_of(run.path) == 1
    assert os.listdir(run.path.parent) == ["run"]


def test_results_of_fewer_epochs_are_not_taken_for_those_of_more(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = loop.save_checkpoint

    def save_then_die(path: Path, content: Any) -> None:
        save(path, content)
        if path == run.last:
            raise Killed

    monkeypatch.setattr(loop, "save_checkpoint", save_then_die)
    with pytest.raises(Killed):
        main(["--resume", "--output", str(run.path), "--epochs", "3"])
    monkeypatch.undo()
    assert load_checkpoint(run.last)["epoch"] == 3
    assert evaluate_main(["--run", str(run.path)]) == 2
    assert main(["--resume", "--output", str(run.path)]) == 0
    assert json.loads(run.summary.read_text())["epochs"] == 4
    assert evaluate_main(["--run", str(run.path)]) == 0


@pytest.fixture
def holder(run: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """Start a process that holds the lock of the run."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.skipif(os.name != "posix", reason="needs locks")
def test_the_second_process_is_told_who_writes(
    run: RunFolder, holder: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    files = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    for words in (["--resume"], [*WORDS, "--overwrite"]):
        assert main([*words, "--output", str(run.path)]) == 2
        err = capsys.readouterr().err
        assert f"{run.path} is being written by another process (process {holder.pid} on {os.uname().nodename}" in err
        assert "since 20" in err and "choose another --output" in err
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == files
    assert os.listdir(run.path.parent) == ["run"]
    # The lock of a process that is gone holds nobody up.
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert main(["--resume", "--output", str(run.path)]) == 0
    assert not (run.path / ".lock").exists()


def test_two_processes_at_once(tmp_path: Path) -> None:
    """One trains to its end as if it were alone, the other is refused."""
    folder = RunFolder(tmp_path / "run")
    command = [sys.executable, "-m", "asl_fast.train", *WORDS, "--epochs", "4", "--output", str(folder.path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert sorted(process.returncode for process in started) == [0, 2], errors
    refused = next(error for process, error in zip(started, errors, strict=True) if process.returncode == 2)
    assert "is being written by another process" in refused or "already holds a run" in refused
    assert folder.metrics.read_text().count('"kind": "epoch"') == 5


def test_nothing_to_resume_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--resume", "--output", str(tmp_path / "typo")]) == 2
    assert f"nothing to resume: {tmp_path / 'typo'} holds no run; name the folder" in capsys.readouterr().err
    assert not (tmp_path / "typo").exists()
