# SPDX-License-Identifier: Apache-2.0
"""Samples to a padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from asl_fast.data.dataset import Sample
from asl_fast.data.grid import FeatureGrid


@dataclass(frozen=True, eq=False)
class Batch:
    """B videos padded to one length T, with their G segments flat.

    ``features`` (B, T, D) float32, zero in the padding; ``mask`` (B, T) bool, True on data; ``segments`` (G, 2) float32
    grid units; ``labels`` (G,) int64; ``video_offsets`` (B + 1,) int64: segments of video b are
    ``segments[video_offsets[b]:video_offsets[b + 1]]``.
    """

    video_ids: tuple[str, ...]
    features: torch.Tensor
    mask: torch.Tensor
    segments: torch.Tensor
    labels: torch.Tensor
    video_offsets: torch.Tensor
    durations_sec: tuple[float, ...]
    grids: tuple[FeatureGrid, ...]

    def __len__(self) -> int:
        return len(self.video_ids)

    @property
    def num_padded(self) -> int:
        """Grid steps that are padding; a GPU is not asked while the mask is on the CPU, as `collate` makes it."""
        return int((~self.mask).sum())

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the batch with every tensor on ``device``."""
        return replace(
            self,
            features=self.features.to(device, non_blocking=non_blocking),
            mask=self.mask.to(device, non_blocking=non_blocking),
            segments=self.segments.to(device, non_blocking=non_blocking),
            labels=self.labels.to(device, non_blocking=non_blocking),
            video_offsets=self.video_offsets.to(device, non_blocking=non_blocking),
        )

    def without_content(self) -> Batch:
        """Return a batch of the same shape in which everything is padding and nothing is annotated."""
        return replace(
            self,
            features=torch.zeros_like(self.features),
            mask=torch.zeros_like(self.mask),
            segments=self.segments[:0],
            labels=self.labels[:0],
            video_offsets=torch.zeros_like(self.video_offsets),
        )

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory; what a DataLoader with ``pin_memory=True`` calls."""
        return replace(
            self,
            features=self.features.pin_memory(),
            mask=self.mask.pin_memory(),
            segments=self.segments.pin_memory(),
            labels=self.labels.pin_memory(),
            video_offsets=self.video_offsets.pin_memory(),
        )


def padded_length(
    longest: int, *, pad_multiple: int = 1, max_length: int | None = None, buckets: Sequence[int] | None = None
) -> int:
    """Length that a batch is padded to.

    Args:
        longest: Steps of its longest sample.
        pad_multiple: The result is a multiple of this.
        max_length: Pad every batch to at least this length, as ActionFormer does in training (one static shape).
        buckets: Lengths to choose from: the smallest that fits (rounded up to the multiple). Longer batches than the
            largest bucket are padded to the multiple only.
    """
    if pad_multiple < 1:
        raise ValueError(f"pad_multiple must be at least 1, got {pad_multiple}")
    length = max(longest, max_length or 0)
    length = min((bucket for bucket in buckets or () if bucket >= length), default=length)
    return -(-length // pad_multiple) * pad_multiple


def collate(
    samples: Sequence[Sample],
    *,
    pad_multiple: int = 1,
    max_length: int | None = None,
    buckets: Sequence[int] | None = None,
) -> Batch:
    """Pad samples to one length (see `padded_length`) and lay their segments end to end.

    Raises:
        ValueError: For an empty list, or features of different width.
    """
    if not samples:
        raise ValueError("collate: no samples")
    lengths = [len(sample.features) for sample in samples]
    dim = samples[0].features.shape[1]
    for sample in samples:
        if sample.features.shape[1] != dim:
            raise ValueError(
                f"video {sample.video_id!r} has features of width {sample.features.shape[1]}, but "
                f"{samples[0].video_id!r} in the same batch has {dim}"
            )
    total = padded_length(max(lengths), pad_multiple=pad_multiple, max_length=max_length, buckets=buckets)
    features = samples[0].features.new_empty(len(samples), total, dim)
    for row, sample in zip(features, samples, strict=True):
        row[: len(sample.features)] = sample.features
        row[len(sample.features) :] = 0
    counts = torch.tensor([0, *(len(sample.labels) for sample in samples)])
    return Batch(
        video_ids=tuple(sample.video_id for sample in samples),
        features=features,
        mask=torch.arange(total) < torch.tensor(lengths)[:, None],
        segments=torch.cat([sample.segments for sample in samples]),
        labels=torch.cat([sample.labels for sample in samples]),
        video_offsets=counts.cumsum(0),
        durations_sec=tuple(sample.duration_sec for sample in samples),
        grids=tuple(sample.grid for sample in samples),
    )
