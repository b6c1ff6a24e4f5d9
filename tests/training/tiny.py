# SPDX-License-Identifier: Apache-2.0
"""A data set and a configuration small enough to train in a second."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from asl_fast.data.annotations.video import Annotations, Video
from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.data.grid import FeatureGrid
from asl_fast.files import write_json
from asl_fast.models.config import DetectorConfig
from asl_fast.serialization import to_dict
from asl_fast.training.config import DataConfig, EvaluationConfig, OptimizerConfig, TrainConfig
from asl_fast.training.data import describe_dataset
from asl_fast.training.distributed import Processes
from asl_fast.training.loop import train
from asl_fast.training.results import write_results
from asl_fast.training.run_folder import RunFolder

CPU = Processes(torch.device("cpu"))
DIM, CLASSES = 6, 2
# Options of the command line that make the smoke twin train in a few seconds.
TINY_OPTIONS = [
    *("--preset", "smoke", "--model.width", "16", "--model.num-levels", "3", "--model.attention-windows", "5"),
    *("--model.num-heads", "2", "--threads", "1", "--epochs", "1", "--warmup-epochs", "1"),
    *("--precision", "fp32"),
]


def tiny_bundle(num_train: int = 6, num_test: int = 3, steps: int = 40, seed: int = 0) -> DatasetBundle:
    """Videos whose first channels say which class is going on."""
    rng = np.random.default_rng(seed)
    videos, features = {}, {}
    for index in range(num_train + num_test):
        name = f"video{index}"
        starts = np.sort(rng.choice(np.arange(2, steps - 8, 10), size=2, replace=False))
        segments = np.stack([starts, starts + rng.integers(4, 8, size=2)], axis=1).astype(np.float64)
        labels = rng.integers(0, CLASSES, size=2)
        array = 0.1 * rng.standard_normal((steps, DIM)).astype(np.float32)
        for (start, end), label in zip(segments.astype(int), labels, strict=True):
            array[start : end + 1, label] += 2.0
            array[[start, end], CLASSES] += 2.0
        subset = "train" if index < num_train else "test"
        videos[name] = Video(name, subset, float(steps), segments, labels)
        features[name] = array
    annotations = Annotations("tiny", tuple(f"class {i}" for i in range(CLASSES)), videos)
    store = InMemoryFeatureStore(features)
    grid = FeatureGrid(fps=1.0, stride_frame=1.0, window_frame=1.0, offset_frame=0.0)
    return DatasetBundle(
        name="tiny",
        annotations=annotations,
        train=DetectionDataset(annotations.subset("train"), store, grid, training=True),
        test=DetectionDataset(annotations.subset("test"), store, grid),
        class_names=annotations.class_names,
        grid=grid,
        feature_dim=DIM,
        synthetic=True,
        description="tiny test data",
    )


def tiny_config(output: Path | None = None, **changes: object) -> TrainConfig:
    """Three epochs of a detector of 16 channels."""
    config = TrainConfig(
        dataset="tiny",
        output=None if output is None else str(output),
        epochs=2,
        warmup_epochs=1,
        batch_size=2,
        device="cpu",
        precision="fp32",
        data=DataConfig(max_length=48, pad_multiple=16),
        model=DetectorConfig(
            feature_dim=DIM, num_classes=CLASSES, width=16, num_levels=2, num_heads=2, attention_windows=(5,)
        ),
        optimizer=OptimizerConfig(lr=1e-3),
        evaluation=EvaluationConfig(every=0),
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def small_hapt(source: Path, folder: Path) -> Path:
    """Copy the HAPT download with two training and two test recordings."""
    with zipfile.ZipFile(next(source.glob("*.zip"))) as archive:
        names = archive.namelist()

        def copy(suffix: str, keep: Callable[[str], bool] = lambda line: True) -> None:
            name = next(name for name in names if name.endswith(suffix))
            lines = [line for line in archive.read(name).decode().splitlines() if keep(line)]
            path = folder / suffix
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(lines) + "\n")

        for recording in ("exp01_user01", "exp02_user01", "exp03_user02", "exp04_user02"):
            copy(f"RawData/acc_{recording}.txt")
            copy(f"RawData/gyro_{recording}.txt")
        copy("RawData/labels.txt", lambda line: int(line.split()[0]) <= 4)
        copy("activity_labels.txt")
        copy("Train/subject_id_train.txt")
        copy("Test/subject_id_test.txt")
    return folder


def finished_run(path: Path, bundle: DatasetBundle) -> RunFolder:
    """Train on the tiny data set and leave the files that training leaves, its configuration included."""
    folder, config = RunFolder(path), tiny_config()
    folder.create()
    result = train(config, bundle, folder, CPU, dataset_record=describe_dataset(bundle))
    write_results(folder, config, bundle, result)
    write_json(folder.config, to_dict(config))
    return folder
