# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: what lies where, and whether there is room for it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from asl_fast.files import atomic_write, write_json

RUNS = Path("runs")


class RunFolderError(OSError):
    """A run folder cannot be made, is too small, or holds something that must not be overwritten."""


class RunFolder:
    """Paths of a run.

    Args:
        path: the folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.dataset = self.path / "dataset.json"
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.detections = self.path / "detections.json"
        self.ground_truth = self.path / "ground_truth.json"
        self.evaluation = self.path / "evaluation.json"
        self.summary = self.path / "summary.json"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.pt"
        self.best = self.checkpoints / "best.pt"

    @property
    def holds_a_run(self) -> bool:
        """Whether a run was started here."""
        return self.config.exists()

    def create(self) -> None:
        """Makes the folder and proves that it can be written.

        Raises:
            RunFolderError: naming the folder that cannot be made, and the reason.
            OSError: naming the file that cannot be written in it.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"cannot create run folder {self.path}: {error.strerror}; choose another --output"
            ) from None
        # What a killed process left half written would take up space that `check_space` counts on.
        for partial in self.checkpoints.glob(".*.tmp"):
            partial.unlink()
        with atomic_write(self.checkpoints / ".probe") as file:
            file.write(b"x" * 4096)
        (self.checkpoints / ".probe").unlink()

    def check_space(self, checkpoint_bytes: int) -> None:
        """Raises RunFolderError unless last, best and one more checkpoint that is being written fit on the disk."""
        free = shutil.disk_usage(self.path).free
        present = sum(path.stat().st_size for path in (self.last, self.best) if path.exists())
        needed = 3 * checkpoint_bytes - present
        if free < needed:
            raise RunFolderError(
                f"{self.path}: {free / 1e6:.0f} MB free on its disk, but checkpoints need up to {needed / 1e6:.0f} MB; "
                "free some space or choose another --output"
            )

    def write_json(self, path: Path, value: Any) -> None:
        """Writes a JSON file of this folder atomically."""
        write_json(path, value, indent=2)

    def write(self, path: Path, save: Callable[[IO[bytes]], object]) -> None:
        """Writes any file of this folder atomically; ``save`` gets the open file."""
        with atomic_write(path) as file:
            save(file)


def existing_runs(dataset: str, root: Path = RUNS) -> list[RunFolder]:
    """Runs of a data set under ``root`` that were numbered by `next_run`, oldest first."""
    pattern = re.compile(re.escape(dataset) + r"-(\d+)$")
    found = {int(m[1]): p for p in (root.iterdir() if root.is_dir() else ()) if (m := pattern.match(p.name))}
    return [RunFolder(found[number]) for number in sorted(found)]


def next_run(dataset: str, root: Path = RUNS) -> RunFolder:
    """The folder DATASET-NNN under ``root`` after the last one that exists."""
    runs = existing_runs(dataset, root)
    number = int(runs[-1].path.name.rpartition("-")[2]) + 1 if runs else 1
    return RunFolder(root / f"{dataset}-{number:03d}")
