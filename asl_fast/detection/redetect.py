# SPDX-License-Identifier: Apache-2.0
"""The test split of a run once more, with other post-processing: the network runs once, then never again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from asl_fast.detection import candidates
from asl_fast.detection.candidates import Limits
from asl_fast.detection.trained import TrainedDetector, load_trained
from asl_fast.evaluation.activitynet_json import write_detections
from asl_fast.training.checkpoint import check_same_data
from asl_fast.training.data import describe_dataset
from asl_fast.training.data import load as load_data
from asl_fast.training.distributed import start_processes
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.scoring import prediction_columns


def redetect(run: Path, changes: Mapping[str, Any], *, device: str = "auto") -> Path:
    """Write the detections of a run's last weights in its test split, after other post-processing than in training.

    The candidates come from the run folder. Where it has none of these weights within the limits asked for, the network
    is run over the data set and they are kept.

    Args:
        run: Run folder.
        changes: Fields of `asl_fast.models.config.InferenceConfig`.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Returns:
        The file of detections, ActivityNet-style JSON in ``redetected`` of the run folder.

    Raises:
        FileNotFoundError: For a folder without checkpoint, or when the data set is no longer where it was.
        ValueError: For a value out of range, a damaged checkpoint, or data that are no longer those of training.
    """
    folder = RunFolder(run)
    trained = load_trained(folder.path, device=start_processes(device).device).with_post_processing(**changes)
    found = candidates.load(folder.candidates, trained, Limits.of(trained.config.inference))
    if found is None:
        found = _find(folder, trained)
    columns = prediction_columns(found.detections(trained.config.inference).items())
    columns["labels"] = np.asarray(trained.class_names)[columns["labels"]]
    folder.redetected.mkdir(exist_ok=True)
    path = folder.redetected / "detections.json"
    write_detections(path, columns, videos=found.durations_sec)
    return path


def _find(folder: RunFolder, trained: TrainedDetector) -> candidates.Candidates:
    bundle = load_data(trained.config)
    check_same_data(trained.dataset, describe_dataset(bundle), trained.path)
    found = candidates.find(trained, bundle, Limits.of(trained.config.inference))
    candidates.save(folder.candidates, found, trained)
    return found
