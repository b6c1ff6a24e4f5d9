# SPDX-License-Identifier: Apache-2.0
"""What a run ends with, in the files of its folder: detections, ground truth, scores and a summary."""

from __future__ import annotations

import numpy as np

from asl_fast.data.bundle import DatasetBundle
from asl_fast.evaluation.activitynet_json import write_detections, write_ground_truth
from asl_fast.files import write_json
from asl_fast.training.config import TrainConfig
from asl_fast.training.loop import Result
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.scoring import Columns, frame_borders, ground_truth_columns, summary


def write_results(folder: RunFolder, config: TrainConfig, bundle: DatasetBundle, result: Result) -> None:
    """Write detections, ground truth and scores into the run folder, classes by name.

    Raises:
        OSError: Naming the file that cannot be written.
    """
    videos = bundle.test.videos
    names = np.asarray(bundle.class_names)
    durations = {video.id: video.duration_sec for video in videos}

    def named(columns: Columns) -> Columns:
        return columns | {"labels": names[columns["labels"]]}

    write_detections(folder.detections, named(result.predictions), videos=durations)
    write_ground_truth(
        folder.ground_truth,
        named(ground_truth_columns(videos)),
        subset=videos[0].subset,
        durations_sec=durations,
        borders_sec=frame_borders(videos),
    )
    record = result.scores.as_dict()
    for measure in record["measures"].values():
        if "per_class" in measure:
            measure["per_class"] = {bundle.class_names[int(k)]: value for k, value in measure["per_class"].items()}
    write_json(folder.evaluation, record, indent=2)
    state = result.state
    summed_up = {
        "dataset": config.dataset,
        "synthetic": bundle.synthetic,
        "seed": config.seed,
        "epochs": state.epoch,
        "steps": state.step,
        "weights": "averaged" if config.optimizer.ema_decay else "last",
        "parameters": sum(parameter.numel() for parameter in state.detector.parameters()),
        "best_epoch": state.best_epoch,
        "best_average_map": state.best_map,
    }
    write_json(folder.summary, summed_up | summary(result.scores), indent=2)
