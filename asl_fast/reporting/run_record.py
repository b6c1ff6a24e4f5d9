# SPDX-License-Identifier: Apache-2.0
"""What lies in the folder of a run, finished or not, read for looking at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.evaluation.activitynet_json import SegmentFile, read_detections, read_ground_truth
from asl_fast.evaluation.agreement import check_videos
from asl_fast.evaluation.analysis import Verdicts, verdicts
from asl_fast.evaluation.protocols import Protocol, run_protocol
from asl_fast.files import read_json
from asl_fast.reporting.sensitivities import Sensitivities, sensitivities
from asl_fast.training.metrics_log import read_metrics
from asl_fast.training.run_folder import RunFolder
from asl_fast.wording import examples

TIOU = 0.5
"""From this temporal IoU on a detection has found an annotation."""


@dataclass(frozen=True, eq=False, repr=False)
class RunRecord:
    """A run as its folder tells it.

    Attributes:
        folder: Where it lies.
        config: How it was configured.
        dataset: What it was trained on; empty where that is not known.
        environment: What it was computed with; empty where that is not known.
        summary: Its scores and sizes in a few numbers; empty before it has finished.
        metrics: What it measured, as `asl_fast.training.metrics_log.read_metrics` gives it.
        truth: Annotations of the test split; None before the run has finished.
        found: Detections in it; None before the run has finished.
        learned: Sensitivities; None where it learned none.
        why_nothing_learned: The reason then, in a sentence.
    """

    folder: RunFolder
    config: Mapping[str, Any]
    dataset: Mapping[str, Any]
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]
    metrics: list[dict[str, Any]]
    truth: SegmentFile | None
    found: SegmentFile | None
    learned: Sensitivities | None
    why_nothing_learned: str = ""

    @property
    def finished(self) -> bool:
        """Whether its results lie there."""
        return self.truth is not None and self.found is not None

    @property
    def total_epochs(self) -> int:
        """Epochs it was to have, those of the warm-up included."""
        return int(self.config["epochs"]) + int(self.config["warmup_epochs"])

    @property
    def protocol(self) -> Protocol:
        """The rules by which it is scored."""
        return run_protocol(str(self.config["dataset"]), self.config["evaluation"])

    @cached_property
    def tables(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Annotations and detections as the evaluation takes them, labels being names.

        Raises:
            ValueError: The run has not finished.
        """
        if self.truth is None or self.found is None:
            raise ValueError(f"{self.folder.path}: the run has not finished")
        truth, found = dict(self.truth.columns), dict(self.found.columns)
        for table in (truth, found):
            # Names that are numbers stay names, and an empty table has the type of the other.
            table["labels"] = np.asarray(table["labels"]).astype(str)
            table["video"] = np.asarray(table["video"]).astype(str)
        return truth, found

    @cached_property
    def verdicts(self) -> Verdicts:
        """What became of each of its annotations and detections, by row of `tables`, at `TIOU`.

        Raises:
            ValueError: The run has not finished.
        """
        truth, found = self.tables
        if not len(truth["video"]):
            return Verdicts(np.full(len(found["video"]), -1, dtype=np.int8), np.zeros(0, dtype=np.int64))
        return verdicts(truth, found, tiou=TIOU, convention=self.protocol.convention)


def read_run(path: str | Path) -> RunRecord:
    """Read the folder of a run.

    Raises:
        FileNotFoundError: It is not the folder of a run.
        ValueError: Naming the file that cannot be used.
    """
    folder = RunFolder(path)
    if not folder.config.exists():
        raise FileNotFoundError(f"{folder.config}: no such file; is {folder.path} the folder of a run?")
    config = _mapping(folder.config)
    if missing := [name for name in ("dataset", "epochs", "warmup_epochs", "evaluation", "loss") if name not in config]:
        raise ValueError(f"{folder.config}: has no {missing[0]!r}; is it the configuration of a run?")
    for name in ("epochs", "warmup_epochs"):
        if type(config[name]) is not int:
            raise ValueError(f"{folder.config}: {name!r} must be a whole number, found {config[name]!r:.60}")
    dataset = _mapping(folder.dataset)
    names = dataset.get("class_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{folder.dataset}: 'class_names' must be a list of names, found {names!r:.60}")
    finished = folder.ground_truth.exists() and folder.detections.exists()
    learned, reason = _sensitivities(folder, config)
    if learned is not None and names and list(learned.class_names) != names:
        raise ValueError(
            f"{folder.last} and {folder.dataset} are of two runs: their classes are {examples(learned.class_names)} "
            f"and {examples(names)}"
        )
    record = RunRecord(
        folder,
        config,
        dataset,
        _mapping(folder.environment),
        _mapping(folder.summary),
        read_metrics(folder.metrics),
        read_ground_truth(folder.ground_truth) if finished else None,
        read_detections(folder.detections) if finished else None,
        learned,
        reason,
    )
    if record.truth is not None and record.found is not None:
        found, known = record.found.columns["video"], [str(video) for video in record.truth.videos]
        check_videos(found, folder.detections, known, folder.ground_truth)
    try:
        # What is computed of a configuration is checked before anything is drawn.
        _ = record.total_epochs, record.protocol
    except (KeyError, TypeError):
        raise ValueError(f"{folder.config}: has no usable epochs and 'evaluation.tiou_thresholds'") from None
    return record


def _mapping(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold keys and values, found {content!r:.60}")
    return content


def _sensitivities(folder: RunFolder, config: Mapping[str, Any]) -> tuple[Sensitivities | None, str]:
    loss = config["loss"]
    if not isinstance(loss, Mapping):
        raise ValueError(f"{folder.config}: 'loss' must hold keys and values, found {loss!r:.60}")
    if not loss.get("class_level"):
        return None, "This run was trained without class-level sensitivity (loss.class_level is off)."
    if not folder.last.exists():
        return None, "No epoch was finished, so nothing was learned yet."
    found = sensitivities(folder.path)
    return found, "" if found is not None else "The last checkpoint holds no sensitivity of classes."
