# SPDX-License-Identifier: Apache-2.0
"""Folders of runs that never were: small enough to know what their page must show, with names that mean harm."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from asl_fast.evaluation.activitynet_json import write_detections, write_ground_truth
from asl_fast.files import write_json
from asl_fast.losses.config import LossConfig
from asl_fast.training.checkpoint import save_checkpoint
from asl_fast.training.config import TrainConfig
from asl_fast.training.run_folder import RunFolder
from asl_fast.training.serialization import to_dict

HARMFUL_CLASS = '</script><script>document.title="taken"</script>'
HARMFUL_VIDEO = "a\"b'<img src=x onerror=alert(1)>\x1b[31m\u202e${7*7}`"
CLASSES = ("jump", "run", HARMFUL_CLASS)
TRUTH = {
    "video": ["first", "first", "first", HARMFUL_VIDEO],
    "segments": [[1.0, 3.0], [5.0, 6.0], [8.0, 9.0], [2.0, 4.0]],
    "labels": ["run", "jump", HARMFUL_CLASS, "run"],
}
FOUND = {
    "video": ["first", "first", "first", "first", HARMFUL_VIDEO, HARMFUL_VIDEO],
    "segments": [[1.1, 3.0], [1.0, 2.8], [5.0, 6.5], [12.0, 14.0], [2.0, 4.0], [2.1, 4.0]],
    "labels": ["run", "run", "jump", "run", "jump", "run"],
    "scores": [0.9, 0.6, 0.5, 0.25, 0.8, 0.3],
}
DURATIONS = {"first": 20.0, HARMFUL_VIDEO: 10.0, "empty": 5.0}


def made_up_run(
    folder: Path,
    *,
    truth: dict[str, Any] = TRUTH,
    found: dict[str, Any] = FOUND,
    durations: dict[str, float] = DURATIONS,
    classes: tuple[str, ...] = CLASSES,
    finished: bool = True,
    sensitivity: bool = True,
    planted: bool = True,
    epochs: int = 2,
    tious: tuple[float, ...] = (0.3, 0.5, 0.7),
) -> RunFolder:
    """Write the folder of a run of two epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    run = RunFolder(folder)
    loss = dataclasses.replace(LossConfig(), class_level=sensitivity)
    config = to_dict(TrainConfig(dataset="steps", epochs=1, warmup_epochs=1, loss=loss))
    config["model"]["num_classes"] = len(classes)
    config["evaluation"]["tiou_thresholds"] = list(tious)
    dataset: dict[str, Any] = {"name": "steps", "synthetic": planted, "class_names": list(classes), "metadata": {}}
    if planted:
        dataset["metadata"]["planted"] = {"mu": [[0.1, -0.5, 0.5]] * len(classes), "sigma": [[0.2] * 3] * len(classes)}
    write_json(run.config, config)
    write_json(run.dataset, dataset | {"train_videos": 4, "test_videos": len(durations)})
    write_json(run.environment, {"asl_fast": "0", "device": "cpu", "threads": 1, "command": ["train", "--seed", "1"]})
    records: list[dict[str, Any]] = []
    for epoch in range(epochs):
        steps = range(5 * epoch, 5 * epoch + 5)
        records += [
            {"kind": "step", "epoch": epoch, "step": step, "lr": 0.01, "total": 5.0 / (1 + step), "fit": 1.0}
            for step in steps
        ]
        records.append({"kind": "epoch", "epoch": epoch, "step": steps[-1], "total": 1.0, "seconds": 2.5})
        records.append({"kind": "evaluation", "epoch": epoch, "step": steps[-1], "average_map": 0.2 + 0.1 * epoch})
    run.metrics.write_text("".join(json.dumps(record) + "\n" for record in records))
    if finished:
        write_ground_truth(run.ground_truth, truth, subset="test", durations_sec=durations)
        write_detections(run.detections, found, videos=durations)
        write_json(run.summary, {"average_map": 0.5, "parameters": 1234})
    if sensitivity and epochs:
        run.checkpoints.mkdir(exist_ok=True)
        raw = torch.full((len(classes), 3), 0.5)
        raw[0] = 0.0  # a class that did not occur in training
        weights = {"gaussians.raw_mu": raw, "gaussians.raw_sigma": -raw}
        save_checkpoint(run.last, {"config": config, "dataset": dataset, "loss": weights})
    return run
