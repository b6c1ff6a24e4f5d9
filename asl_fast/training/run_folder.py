# SPDX-License-Identifier: Apache-2.0
"""The folder of a run: what lies where, and whether there is room for it."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path
from typing import Any

from asl_fast.files import atomic_write, read_json, remedy

RUNS = Path("runs")


class RunFolderError(OSError):
    """A run folder cannot be made, is too small, or holds something that must not be overwritten."""


class RunFolder:
    """Paths of a run.

    Args:
        path: The folder; it need not exist.

    Attributes:
        path: The folder.
        config: The configuration, with the model's inputs and outputs as the data set has them.
        dataset: What detection has to know about the data set.
        environment: Versions, machine, command line.
        metrics: Losses and scores as they were measured, one JSON record per line.
        tensorboard: Folder of the same numbers as TensorBoard events, where asked for; likewise csv, tables of them,
            and wandb, what Weights & Biases keeps here.
        loggers: What loggers have to know when the run is resumed.
        detections: Detections in the test split after the last epoch, in seconds, classes by name.
        ground_truth: What they are scored against.
        evaluation: Their scores in full.
        summary: Their scores and the run in a few numbers.
        report: The page that shows all of it.
        candidates: What the network found in the test split before suppression, where somebody asked for it.
        redetected: Folder of detections and scores after other post-processing than in training.
        compiled: What torch.compile keeps between the starts of this run.
        trace: Events of the steps that ``--profile`` recorded, for Perfetto.
        stages: Where their time went.
        checkpoints: Folder of the checkpoints.
        last: Checkpoint of the last epoch.
        best: Checkpoint of the epoch that scored best on the test split.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.dataset = self.path / "dataset.json"
        self.environment = self.path / "environment.json"
        self.metrics = self.path / "metrics.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.csv = self.path / "csv"
        self.wandb = self.path / "wandb"
        self.loggers = self.path / "loggers.json"
        self.detections = self.path / "detections.json"
        self.ground_truth = self.path / "ground_truth.json"
        self.evaluation = self.path / "evaluation.json"
        self.summary = self.path / "summary.json"
        self.report = self.path / "report.html"
        self.candidates = self.path / "candidates.pt"
        self.redetected = self.path / "redetected"
        self.compiled = self.path / "compiled"
        self.trace = self.path / "trace.json.gz"
        self.stages = self.path / "stages.json"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.pt"
        self.best = self.checkpoints / "best.pt"

    @property
    def holds_a_run(self) -> bool:
        """Whether a run was started here, or what is left of one lies here."""
        return self.config.exists() or self.last.exists() or self.best.exists()

    @property
    def replaced(self) -> Path:
        """Where a run that this one replaces waits until this one has a checkpoint."""
        path = self.path.resolve()
        return path.with_name(f".{path.name}.replaced")

    @property
    def entries(self) -> frozenset[str]:
        """Names of all that a run writes into its folder."""
        return frozenset(path.name for path in vars(self).values() if path.parent == self.path)

    def remove_results(self) -> None:
        """Remove what an earlier end of training left, so that it is not taken for the results of later weights.

        Raises:
            OSError: Naming the file that cannot be removed.
        """
        for path in (
            *(self.summary, self.evaluation, self.detections, self.ground_truth),
            *(self.candidates, self.report),
        ):
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise type(error)(f"cannot remove {path}: {error.strerror}{remedy(error)}") from None

    def make(self) -> None:
        """Make the folder.

        Raises:
            RunFolderError: Naming the folder that cannot be made, and the reason.
        """
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunFolderError(
                f"cannot create run folder {self.path}: {error.strerror}; choose another --output"
            ) from None

    def create(self) -> None:
        """Make the folder and prove that it can be written.

        Raises:
            RunFolderError: As `make`.
            OSError: Naming the file that cannot be written in it.
        """
        self.make()
        # What a killed process left half written would take up space that `check_space` counts on.
        for partial in self.checkpoints.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                partial.unlink()
        with atomic_write(self.checkpoints / ".probe") as file:
            file.write(b"x" * 4096)
        (self.checkpoints / ".probe").unlink()

    def check_space(self, checkpoint_bytes: int) -> None:
        """Check that the last, the best and one more checkpoint that is being written fit on the disk.

        Args:
            checkpoint_bytes: Size of one.

        Raises:
            RunFolderError: Naming the folder, what is free and what is needed.
        """
        free = shutil.disk_usage(self.path).free
        present = sum(path.stat().st_size for path in (self.last, self.best) if path.exists())
        needed = 3 * checkpoint_bytes - present
        if free < needed:
            raise RunFolderError(
                f"{self.path}: {free / 1e6:.0f} MB free on its disk, but checkpoints need up to {needed / 1e6:.0f} MB; "
                "free some space or choose another --output"
            )


def read_if_there(path: Path) -> dict[str, Any]:
    """Read a JSON file of keys and values that a run can do without; nothing where it is not there or is damaged."""
    try:
        found = read_json(path)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def already_holds_a_run(folder: RunFolder) -> RunFolderError:
    """Make the error of a folder in which a new run must not be started."""
    return RunFolderError(
        f"{folder.path} already holds a run: --resume continues it, --overwrite replaces it, or choose another --output"
    )


def existing_runs(dataset: str, root: Path = RUNS) -> list[RunFolder]:
    """Find the runs of a data set under ``root`` that were numbered by `next_run`, oldest first."""
    pattern = re.compile(re.escape(dataset) + r"-(\d+)$")
    found = {int(m[1]): p for p in (root.iterdir() if root.is_dir() else ()) if (m := pattern.match(p.name))}
    return [RunFolder(found[number]) for number in sorted(found)]


def next_run(dataset: str, root: Path = RUNS) -> RunFolder:
    """Name the folder DATASET-NNN under ``root`` after the last one that exists."""
    runs = existing_runs(dataset, root)
    number = int(runs[-1].path.name.rpartition("-")[2]) + 1 if runs else 1
    return RunFolder(root / f"{dataset}-{number:03d}")
