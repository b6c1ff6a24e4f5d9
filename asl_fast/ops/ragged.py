# SPDX-License-Identifier: Apache-2.0
"""Ground truth of a batch: any number of segments per video, one video after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class RaggedTargets(NamedTuple):
    """Ground truth of B videos, G segments in all; video b owns rows ``video_offsets[b]:video_offsets[b + 1]``.

    Rows from ``video_offsets[B]`` on are padding, which takes no part in anything: a batch of varying size fits buffers
    of one size.

    Attributes:
        segments: (G, 2) float32, start and end in feature-grid units.
        labels: (G,) int64 in [0, num_classes).
        video_offsets: (B + 1,) int64, from 0 to at most G, non-decreasing.
    """

    segments: Tensor
    labels: Tensor
    video_offsets: Tensor

    @classmethod
    def from_list(
        cls, videos: Sequence[tuple[Tensor, Tensor]], device: torch.device | str | None = None
    ) -> RaggedTargets:
        """Join one (segments (G_b, 2), labels (G_b,)) pair per video; a video without instances has G_b = 0.

        Args:
            videos: One pair per video; segments in grid units, converted to float32 unless float64; labels to int64.
            device: Where the result lies; by default with the first segments.

        Raises:
            ValueError: No video at all, segments not (G_b, 2), or labels of another length.
        """
        if not videos:
            raise ValueError("RaggedTargets.from_list: an empty list has no batch size; give one pair per video")
        for index, (segments, labels) in enumerate(videos):
            if segments.dim() != 2 or segments.shape[1] != 2:
                raise ValueError(f"video {index}: segments must be (G, 2), got {tuple(segments.shape)}")
            if labels.shape != segments.shape[:1]:
                raise ValueError(
                    f"video {index}: {segments.shape[0]} segments need labels ({segments.shape[0]},), "
                    f"got {tuple(labels.shape)}"
                )
        device = videos[0][0].device if device is None else torch.device(device)
        dtype = torch.float64 if any(s.dtype == torch.float64 for s, _ in videos) else torch.float32
        counts = torch.tensor([0, *(len(labels) for _, labels in videos)])
        return cls(
            torch.cat([segments.to(device, dtype) for segments, _ in videos]),
            torch.cat([labels.to(device, torch.int64) for _, labels in videos]),
            counts.cumsum(0).to(device),
        )

    @property
    def batch_size(self) -> int:
        """Number of videos B."""
        return self.video_offsets.shape[0] - 1

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RaggedTargets:
        """Return the same targets on another device."""
        return RaggedTargets(*(tensor.to(device, non_blocking=non_blocking) for tensor in self))

    def video_index(self) -> Tensor:
        """Return (G,) int64, the video of every segment, without a device synchronisation."""
        rows = torch.arange(self.segments.shape[0], device=self.video_offsets.device)
        return torch.searchsorted(self.video_offsets[1:].contiguous(), rows, right=True)
