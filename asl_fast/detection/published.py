# SPDX-License-Identifier: Apache-2.0
"""A detector out of ActionFormer's files as they are published, ready to detect as ActionFormer would."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from asl_fast.data.annotations.activitynet import read_activitynet_json
from asl_fast.data.collate import Batch, collate
from asl_fast.data.dataset import Sample
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.detection.rates import Rates
from asl_fast.detection.trained import TrainedDetector
from asl_fast.files import read_text
from asl_fast.models.actionformer_files import Published, read_published
from asl_fast.models.convert_actionformer import convert_inference, padded_length
from asl_fast.models.detector import ActionDetector
from asl_fast.models.postprocess import Detections
from asl_fast.training.config import TrainConfig
from asl_fast.training.inference import NonFiniteOutputError
from asl_fast.training.ranges import check_ranges
from asl_fast.wording import count

# What ActionFormer takes for what a YAML file leaves out (libs/core/config.py there).
_DATASET_DEFAULTS: dict[str, Any] = {"feat_stride": 16, "num_frames": 32, "default_fps": None, "downsample_rate": 1}


class PublishedDetector(TrainedDetector):
    """One that pads each recording as ActionFormer does, as its outputs near the end depend on it."""

    def detect(
        self,
        samples: Iterable[Sample],
        *,
        batch_size: int = 1,
        on_failure: Callable[[Sample, NonFiniteOutputError], None] | None = None,
    ) -> Iterator[tuple[Sample, Detections]]:
        """Detect as `TrainedDetector.detect` does, in one recording after the other whatever the batch size."""
        return super().detect(samples, batch_size=1, on_failure=on_failure)

    def _padded_steps(self, num_steps: int) -> int:
        return padded_length(self.config.model, num_steps)

    def _batch(self, samples: list[Sample]) -> Batch:
        (sample,) = samples
        longest = self._padded_steps(len(sample.features))
        return collate(samples, pad_multiple=self.detector.length_multiple, max_length=longest)


def load_published(
    weights: Path,
    config: Path,
    *,
    classes: Path | None = None,
    fps: Rates | None = None,
    device: torch.device | str = "cpu",
) -> tuple[PublishedDetector, list[str]]:
    """Load a detector from ActionFormer's files.

    Args:
        weights: The checkpoint; its averaged weights are taken.
        config: The YAML file it was trained with.
        classes: Names of the classes: a text file with one a line, or the annotations it was trained with; None takes
            the file that the YAML names, where that is there.
        fps: Frames per second of the recordings, where the YAML has none.
        device: Where the detector is put.

    Returns:
        The detector, and what was assumed, in words.

    Raises:
        FileNotFoundError: When a file is missing.
        ImportError: Without the package that reads YAML.
        ValueError: Naming the file and what in it cannot be used.
    """
    published = read_published(weights, config)
    settings = TrainConfig(
        dataset=str(published.config.get("dataset_name", config.stem)),
        model=published.model,
        inference=convert_inference(published.config),
    )
    try:
        check_ranges(settings)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{config}: test_cfg: {error}") from None
    names, rates, notes = _annotated(published, config, classes)
    if _section(published, "test_cfg").get("ext_score_file"):
        notes.append("the scores of ext_score_file are not used: detections have the model's own classes and scores")
    manifest, typical = _manifest(published, config, rates, fps)
    grid = {"fps": typical, "stride_frame": manifest.stride_frame or 1.0, "window_frame": manifest.window_frame or 1.0}
    dataset = {
        "name": settings.dataset,
        "synthetic": False,
        "description": f"{weights}, trained by ActionFormer",
        "class_names": list(names),
        "feature_dim": published.model.feature_dim,
        "grid": grid | {"offset_frame": None},
        "frame_rates": {} if manifest.fps is not None else rates,
        "manifest": asdict(manifest),
        "transform": None,
    }
    detector = ActionDetector(published.model)
    detector.load_state_dict(dict(published.weights))
    return PublishedDetector(detector.to(device).eval(), settings, dataset, 0, weights), notes


def _section(published: Published, name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = published.config.get(name) or {}
    return found


def _manifest(
    published: Published, path: Path, rates: Mapping[str, float], given: Rates | None
) -> tuple[FeatureManifest, float]:
    """Return how the features were extracted, and the frame rate of a recording of which nothing else is known."""
    data = {**_DATASET_DEFAULTS, **_section(published, "dataset")}
    if data["downsample_rate"] != 1:
        raise ValueError(
            f"{path}: dataset.downsample_rate is {data['downsample_rate']}: give features that are thinned out "
            "already, with feat_stride that many times as long and downsample_rate 1"
        )
    prefix, suffix = data.get("file_prefix"), data.get("file_ext")
    fixed = data["feat_stride"] > 0
    try:
        manifest = FeatureManifest(
            path.stem,
            published.model.feature_dim,
            data["feat_stride"] if fixed else None,
            data["num_frames"] if fixed else None,
            fps=data["default_fps"],
            resize=published.model.max_length_grid if data.get("force_upsampling") else None,
            prefix=prefix if isinstance(prefix, str) else "",
            layout="TC",
            extension=suffix if isinstance(suffix, str) else None,
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: dataset: {error}") from None
    if manifest.fps is None and given is None and not rates and fixed:
        raise ValueError(
            f"{path} has no dataset.default_fps, and no annotations say how many frames per second recordings have: "
            "give --fps, or the annotations as --classes"
        )
    usual = given if isinstance(given, (int, float)) else next(iter((given or rates or {}).values()), None)
    return manifest, float(manifest.fps or usual or 30.0)


def _annotated(
    published: Published, config: Path, classes: Path | None
) -> tuple[list[str], dict[str, float], list[str]]:
    """Return class names by label, frame rates by video, and what was assumed."""
    number, notes, rates = published.model.num_classes, list[str](), dict[str, float]()
    path = _annotation_file(published, config) if classes is None else classes
    if path is None:
        notes.append("the classes have no names, as their annotations are not there: --classes FILE names them")
        return [f"class {label}" for label in range(number)], rates, notes
    if path.suffix == ".txt":
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    else:
        annotations = read_activitynet_json(path, default_subset="")
        names = list(annotations.class_names)
        rates = {video.id: video.fps for video in annotations.videos.values() if video.fps}
    if len(names) != number:
        raise ValueError(
            f"{path} names {count(len(names), 'class', 'classes')}, the model has {number}; --classes FILE gives others"
        )
    return names, rates, notes


def _annotation_file(published: Published, config: Path) -> Path | None:
    """Find the annotations that a YAML file names, from here or from the folders that it lies in."""
    named = _section(published, "dataset").get("json_file")
    if not isinstance(named, str):
        return None
    places = [Path(named), *(folder / named for folder in (config.parent, config.parent.parent))]
    return next((place for place in places if place.is_file()), None)
