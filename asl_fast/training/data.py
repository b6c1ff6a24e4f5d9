# SPDX-License-Identifier: Apache-2.0
"""The data set of a run: loaded as its configuration says, and described as detection has to know it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from asl_fast.data.augment import SensorAugmentation
from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.datasets.catalogue import get_dataset
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.load import load_dataset
from asl_fast.data.transform import FeatureTransform
from asl_fast.training.config import DataConfig, TrainConfig
from asl_fast.training.fingerprint import fingerprint
from asl_fast.training.own_preset import open_configured


def load(config: TrainConfig) -> DatasetBundle:
    """Load the data set of a run.

    The crops follow the run's seed, a synthetic twin its own, so that runs of several seeds compare on the same data.

    Raises:
        ValueError, OSError: Naming the option or file that cannot be used.
    """
    data = config.data
    if config.is_own_data:
        bundle = open_configured(config).source.bundle(
            max_length=data.max_length,
            truncation_threshold=data.truncation_threshold,
            verify=True,
            seed=config.seed,
            strict=data.strict,
            place=Path(str(config.annotations)),
        )
        augmentation = _augmentation(bundle.transform, data)
        crops = bundle.train.with_options(crop_ratio=data.crop_ratio, augmentation=augmentation)
        return dataclasses.replace(bundle, train=crops)
    entry = get_dataset(config.dataset)
    options = entry.check_options(
        annotations=config.annotations, features=config.features or None, manifest=data.manifest
    )
    if config.data_root is None:
        if options:
            raise ValueError(f"{', '.join(options)} of benchmark {config.dataset!r} need its --data-root")
        options["synthetic_scale"] = data.synthetic_scale
    else:
        options |= {"strict": data.strict} | entry.chosen_settings(data)
    bundle = load_dataset(config.dataset, config.data_root, seed=data.synthetic_seed, **options)
    crops = bundle.train.with_options(
        max_length=data.max_length,
        crop_ratio=data.crop_ratio,
        truncation_threshold=data.truncation_threshold,
        augmentation=_augmentation(bundle.transform, data),
        seed=config.seed,
    )
    return dataclasses.replace(bundle, train=crops)


def _augmentation(transform: FeatureTransform | None, data: DataConfig) -> SensorAugmentation | None:
    """Make what changes training samples of raw signals; None where nothing is changed, or nothing is raw."""
    if transform is None:
        return None
    # The amounts are called alike there and here.
    names = [entry.name for entry in dataclasses.fields(SensorAugmentation) if entry.name != "transform"]
    augmentation = SensorAugmentation(transform, **{name: getattr(data, name) for name in names})
    return augmentation if augmentation.is_active else None


def describe_dataset(bundle: DatasetBundle) -> dict[str, Any]:
    """Put down what detection has to know about the data set a detector was trained on, ready for JSON."""
    layout = bundle.test.layout
    return {
        "name": bundle.name,
        "synthetic": bundle.synthetic,
        "description": bundle.description,
        "class_names": list(bundle.class_names),
        "feature_dim": bundle.feature_dim,
        "grid": dataclasses.asdict(bundle.grid),
        "frame_rates": {} if getattr(layout, "fps", None) is not None else _frame_rates(bundle),
        "manifest": None if isinstance(layout, FeatureGrid) else dataclasses.asdict(layout),  # type: ignore[call-overload]
        "transform": None if bundle.transform is None else bundle.transform.state(),
        "metadata": dict(bundle.metadata),
        "train_videos": len(bundle.train),
        "test_videos": len(bundle.test),
        "fingerprint": fingerprint(bundle),
    }


def _frame_rates(bundle: DatasetBundle) -> dict[str, float]:
    """Frames per second by video, where the annotations say so."""
    return {video.id: video.fps for part in (bundle.train, bundle.test) for video in part.videos if video.fps}
