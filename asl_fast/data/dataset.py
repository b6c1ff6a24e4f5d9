# SPDX-License-Identifier: Apache-2.0
"""Videos as training and evaluation samples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from asl_fast.data.annotations.video import Video
from asl_fast.data.augment import Change, SensorAugmentation
from asl_fast.data.crop import clean_segments, crop_length, random_crop
from asl_fast.data.features.rows import Rows, open_rows, rows_in_memory
from asl_fast.data.features.store import FeatureStore
from asl_fast.data.grid import FeatureGrid

logger = logging.getLogger(__name__)


class FeatureLayout(Protocol):
    """How the features of one video lie in time; see `asl_fast.data.features.manifest.FeatureManifest`."""

    @property
    def resize(self) -> int | None:
        """Steps that every video is brought to; None where all keep the number that they are stored with."""
        ...

    def grid(self, video: Video, num_steps: int) -> FeatureGrid:
        """Give the grid of the features as the model gets them, from their number in the store."""
        ...

    def prepare(self, video: Video, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], FeatureGrid]:
        """Features as the model gets them (resized where the layout says so) and their grid."""
        ...


@dataclass(frozen=True, eq=False)
class Sample:
    """One video, or a crop of it.

    ``features`` (T, D) float32; ``segments`` (G, 2) float32 in grid units; ``labels`` (G,) int64; ``duration_sec`` of
    the whole video; ``grid`` maps this sample's indices to seconds of the video, also when it is a crop.
    """

    video_id: str
    features: torch.Tensor
    segments: torch.Tensor
    labels: torch.Tensor
    duration_sec: float
    grid: FeatureGrid


class Drawn(NamedTuple):
    """What of a video becomes a sample: steps [start, stop) of its features, then the change.

    Attributes:
        video: The video.
        start: First step.
        stop: Step after the last.
        segments: (G, 2) in grid units of the sample.
        labels: (G,).
        grid: Of the sample.
        augmentation: Makes the change.
        change: What it does; None where there is no augmentation.
    """

    video: Video
    start: int
    stop: int
    segments: NDArray[np.float64]
    labels: NDArray[np.int64]
    grid: FeatureGrid
    augmentation: SensorAugmentation | None
    change: Change | None

    def sample(self, features: torch.Tensor) -> Sample:
        """Make the sample of the features of these steps, on the device where they lie."""
        if self.augmentation is not None and self.change is not None:
            features = self.augmentation.apply(features, self.change)
        return Sample(
            video_id=self.video.id,
            features=features,
            segments=torch.tensor(self.segments, dtype=torch.float32),
            labels=torch.tensor(self.labels, dtype=torch.int64),
            duration_sec=self.video.duration_sec,
            grid=self.grid,
        )


class DetectionDataset(Dataset[Sample]):
    """Samples of one split.

    Segments are clipped to the recording and empty ones dropped (counted in ``num_clipped`` and ``num_dropped``); the
    raw ones stay in ``videos`` for scoring. In training every sample is a random crop that depends on ``(seed, epoch,
    index)`` alone, so order, workers and resumption do not change it.

    Args:
        videos: The split.
        store: Their features.
        layout: Grid of all videos, or a layout that knows each video's own.
        training: Crop at random; otherwise full length.
        max_length: Longest training crop in grid steps.
        crop_ratio: Smallest and largest share kept of a training video that fits; None keeps all of it.
        truncation_threshold: Share of a segment that must lie in a crop for it to be kept.
        augmentation: Random changes to training samples after the crop; None makes none.
        seed: Non-negative seed of the crops and changes.

    Raises:
        ValueError: When no video is given, or an option is out of range.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        store: FeatureStore,
        layout: FeatureGrid | FeatureLayout,
        *,
        training: bool = False,
        max_length: int | None = None,
        crop_ratio: tuple[float, float] | None = (0.9, 1.0),
        truncation_threshold: float = 0.5,
        augmentation: SensorAugmentation | None = None,
        seed: int = 0,
    ) -> None:
        if not videos:
            raise ValueError("no video left: the split is empty, or none of its videos has usable features")
        if max_length is not None and max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}")
        if crop_ratio is not None and not 0 < crop_ratio[0] <= crop_ratio[1] <= 1:
            raise ValueError(f"crop_ratio must satisfy 0 < low <= high <= 1, got {crop_ratio}")
        if not 0 <= truncation_threshold <= 1:
            raise ValueError(f"truncation_threshold must lie in [0, 1], got {truncation_threshold}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}")
        self.videos = tuple(videos)
        self.store = store
        self.layout = layout
        self.training = training
        self.max_length = max_length
        self.crop_ratio = crop_ratio
        self.truncation_threshold = truncation_threshold
        self.augmentation = augmentation
        self.seed = seed
        # Shared memory, so that workers which outlive an epoch see the new one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._clean = [clean_segments(v.segments_sec, v.labels, v.duration_sec) for v in self.videos]
        self.num_clipped = sum(clean.num_clipped for clean in self._clean)
        self.num_dropped = sum(clean.num_dropped for clean in self._clean)
        if self.num_dropped:
            logger.info("%d empty or outside segments are not used as training targets", self.num_dropped)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Steps of every video as the model gets it, (N,); a store may have to open its files for them."""
        resize = None if isinstance(self.layout, FeatureGrid) else self.layout.resize
        return np.array([resize or self.store.length(video.id) for video in self.videos], np.int64)

    def set_epoch(self, epoch: int) -> None:
        """Choose the crops of this epoch; call it before iterating."""
        self._epoch.fill_(epoch)

    def sample_lengths(self, epoch: int) -> NDArray[np.int64]:
        """Count the steps of every sample of an epoch, (N,), without reading features."""
        if not self.training:
            return self.lengths
        return np.array([self._sample_length(index, num, epoch) for index, num in enumerate(self.lengths.tolist())])

    def _sample_length(self, index: int, num_steps: int, epoch: int) -> int:
        if self.augmentation is not None:
            drawn = self._draw(index, num_steps, self._grid(index, num_steps), epoch)
            changed = None if drawn.change is None else drawn.change.length
            return drawn.stop - drawn.start if changed is None else changed
        # The first of all draws, which spares the search for a place.
        generator = self._generator(epoch, index)
        return crop_length(num_steps, generator, max_length=self.max_length, crop_ratio=self.crop_ratio)

    def _generator(self, epoch: int, index: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, epoch, index])

    def _grid(self, index: int, num_steps: int) -> FeatureGrid:
        layout = self.layout
        return layout if isinstance(layout, FeatureGrid) else layout.grid(self.videos[index], num_steps)

    def with_options(self, **options: Any) -> DetectionDataset:
        """Return the same videos and features with other crop settings (the keyword arguments of the constructor)."""
        settings: dict[str, Any] = {
            "training": self.training,
            "max_length": self.max_length,
            "crop_ratio": self.crop_ratio,
            "truncation_threshold": self.truncation_threshold,
            "augmentation": self.augmentation,
            "seed": self.seed,
        }
        return DetectionDataset(self.videos, self.store, self.layout, **(settings | options))

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Sample:
        rows, grid = self.rows(index)
        drawn = self.draw(index, rows.num_steps, grid)
        # Copied: a tensor over the store's memory would let a training step change the store.
        return drawn.sample(torch.tensor(rows.read(drawn.start, drawn.stop), dtype=torch.float32))

    def rows(self, index: int) -> tuple[Rows, FeatureGrid]:
        """Open the features of a video, as the model gets them, to be read in parts, and give their grid.

        Raises:
            IndexError: When there is no such video.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} videos")
        video = self.videos[index]
        rows = open_rows(self.store, video.id)
        if isinstance(self.layout, FeatureGrid) or self.layout.resize is None:
            return rows, self._grid(index, rows.num_steps)
        features, grid = self.layout.prepare(video, rows.all())
        return rows_in_memory(features), grid

    def draw(self, index: int, num_steps: int, grid: FeatureGrid) -> Drawn:
        """Choose what of a video becomes the sample of this epoch: in training a random crop.

        Args:
            index: Of the video.
            num_steps: T of its features.
            grid: Of its features.
        """
        return self._draw(index % len(self), num_steps, grid, int(self._epoch))

    def _draw(self, index: int, num_steps: int, grid: FeatureGrid, epoch: int) -> Drawn:
        clean = self._clean[index]
        segments, labels = grid.to_grid(clean.segments_sec), clean.labels
        start, stop, augmentation, change = 0, num_steps, None, None
        if self.training:
            generator = self._generator(epoch, index)
            start, stop, segments, labels = random_crop(
                segments,
                labels,
                num_steps,
                generator,
                max_length=self.max_length,
                crop_ratio=self.crop_ratio,
                reach=grid.reach_grid,
                threshold=self.truncation_threshold,
            )
            grid = grid.shifted(start) if start else grid
            if self.augmentation is not None:
                augmentation = self.augmentation
                change = augmentation.draw(segments, grid, stop - start, generator)
                segments, grid = change.segments, change.grid
        return Drawn(self.videos[index], start, stop, segments, labels, grid, augmentation, change)
