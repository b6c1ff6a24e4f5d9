# SPDX-License-Identifier: Apache-2.0
"""Raw recordings with their annotations, and the data set that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from asl_fast.data.annotations.video import Annotations
from asl_fast.data.bundle import DatasetBundle
from asl_fast.data.channels import Centre, ChannelGroup, Preparation
from asl_fast.data.dataset import DetectionDataset
from asl_fast.data.features.manifest import FeatureManifest
from asl_fast.data.features.store import InMemoryFeatureStore
from asl_fast.data.grid import FeatureGrid
from asl_fast.data.source import DataSource
from asl_fast.data.transform import FeatureTransform
from asl_fast.wording import count


@dataclass(frozen=True, eq=False)
class SignalRecordings:
    """Evenly sampled recordings.

    Attributes:
        title: What they are, for reports.
        signals: (N, C) by video id.
        annotations: Of the same videos, with subsets ``train`` and ``test``.
        rate_hz: Samples per second.
        channels: What the C channels are.
        sources: What each training recording must not be parted from when recordings are held out: its person, or
            itself where persons are not known.
        source_noun: What these are, in one word.
        split: What the subsets are, in words.
    """

    title: str
    signals: Mapping[str, NDArray[Any]]
    annotations: Annotations
    rate_hz: float
    channels: tuple[ChannelGroup, ...]
    sources: Mapping[str, int]
    source_noun: str = "recording"
    split: str = "official split"


@dataclass(frozen=True)
class SignalSettings:
    """How recordings become features.

    Attributes:
        samples_per_step: Raw samples in one grid step; it is the grid's stride and window.
        centre: See `Preparation`.
        velocities: Likewise.
        clip_sd: See `FeatureTransform`.
        fold: Hold out this fold of the training sources as the test split; None is the official split.
        num_folds: Number of folds.
    """

    samples_per_step: int = 1
    centre: Centre = "none"
    velocities: bool = False
    clip_sd: float = 0.0
    fold: int | None = None
    num_folds: int = 5


def split_sources(sources: Sequence[int], fold: int, num_folds: int, noun: str) -> tuple[list[int], list[int]]:
    """Return sources to train on and to hold out: fold k holds out every ``num_folds``-th, from the k-th on.

    Raises:
        ValueError: When there are fewer sources than folds, or no such fold.
    """
    if not 2 <= num_folds <= len(sources):
        raise ValueError(f"num_folds must lie between 2 and the {len(sources)} training {noun}s, got {num_folds}")
    if not 0 <= fold < num_folds:
        raise ValueError(f"fold must lie in 0 to {num_folds - 1}, got {fold}")
    held = sorted(sources)[fold::num_folds]
    return [source for source in sorted(sources) if source not in held], held


def signal_bundle(recordings: SignalRecordings, settings: SignalSettings, *, seed: int = 0) -> DatasetBundle:
    """Make a bundle of recordings.

    A feature vector holds ``samples_per_step`` consecutive prepared and normalised samples, first sample first (see
    `FeatureTransform`). Mean and standard deviation come from the recordings trained on alone.

    Args:
        recordings: The recordings.
        settings: How they become features, and which are held out.
        seed: Seed of the training crops.

    Raises:
        ValueError: When a split has no recording left, or the fold does not exist.
    """
    name, signals = recordings.annotations.name, recordings.signals
    videos, which = _split(recordings, settings)
    annotations = replace(recordings.annotations, videos=videos)
    train, test = annotations.subset("train"), annotations.subset("test")
    preparation = Preparation(recordings.channels, settings.centre, settings.velocities)
    transform = FeatureTransform.fit(
        (signals[video.id] for video in train), settings.samples_per_step, preparation, settings.clip_sd
    )
    store = InMemoryFeatureStore({key: transform(signals[key]) for key in videos})
    grid = FeatureGrid(recordings.rate_hz, settings.samples_per_step, settings.samples_per_step)
    return DatasetBundle(
        name=name,
        annotations=annotations,
        train=DetectionDataset(train, store, grid, training=True, seed=seed),
        test=DetectionDataset(test, store, grid),
        class_names=annotations.class_names,
        grid=grid,
        feature_dim=transform.feature_dim,
        synthetic=False,
        description=f"{recordings.title}, {which}: {count(len(train), 'recording')} to train on, {len(test)} to test "
        "on",
        transform=transform,
        metadata={
            "samples_per_step": settings.samples_per_step,
            "num_channels": preparation.num_raw,
            "fold": settings.fold,
            "num_folds": settings.num_folds,
            "skipped": dict(annotations.skipped),
        },
    )


def _split(recordings: SignalRecordings, settings: SignalSettings) -> tuple[dict[str, Any], str]:
    videos, sources, fold = dict(recordings.annotations.videos), recordings.sources, settings.fold
    if fold is None:
        return videos, recordings.split
    noun = recordings.source_noun
    training = sorted({sources[key] for key, video in videos.items() if video.subset == "train"})
    _, held = split_sources(training, fold, settings.num_folds, noun)
    videos = {
        key: replace(video, subset="test" if sources[key] in held else "train")
        for key, video in videos.items()
        if video.subset == "train"
    }
    return videos, f"fold {fold} of {settings.num_folds} among the training {noun}s"


def signal_source(bundle: DatasetBundle, data_root: str | Path) -> DataSource:
    """Turn the bundle of recordings into an unchecked source, for `check_data`."""
    store = bundle.train.store
    assert isinstance(store, InMemoryFeatureStore)
    grid, root = bundle.grid, Path(data_root)
    layout = FeatureManifest(
        f"{bundle.name}, raw samples", bundle.feature_dim, grid.stride_frame, grid.window_frame, grid.fps
    )
    return DataSource(
        bundle.name, bundle.annotations, bundle.train.videos, bundle.test.videos, store, layout, root, (root,)
    )
