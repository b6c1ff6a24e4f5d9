# SPDX-License-Identifier: Apache-2.0
"""Candidates of soft-NMS brought into the order in which a GPU treats them, without reading anything back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from asl_fast.reference.soft_nms import Operands


class Ordered(NamedTuple):
    """N candidates by video, within a video by falling score (NaN last), then by row of the input.

    Attributes:
        segments: (N, 2) float32.
        scores: (N,) float32.
        labels: (N,) int64 or None.
        rows: (N,) int64, of the input.
        starts: (V + 1,) int64, first candidate of each video, and one past the last. V is the number of videos where
            it is known, else N, and then starts are N where there is no further video.
    """

    segments: Tensor
    scores: Tensor
    labels: Tensor | None
    rows: Tensor
    starts: Tensor


def ordered(given: Operands) -> Ordered:
    """Sort by score, then by video, both stable."""
    segments, scores = given.segments.float(), given.scores.float()
    # Adding 0 makes -0 a 0, which it has to tie with.
    falling = torch.nan_to_num(scores, nan=-math.inf, posinf=math.inf, neginf=-math.inf) + 0.0
    rows = torch.sort(falling, descending=True, stable=True).indices
    if given.video_index is None:
        starts = torch.arange(2, device=scores.device) * len(scores)
    elif given.num_videos > 0:
        number = _numbered(given.video_index, given.num_videos)
        sorted_number, by_video = torch.sort(number[rows], stable=True)
        rows = rows[by_video]
        wanted = torch.arange(1, given.num_videos + 2, device=scores.device)
        starts = torch.searchsorted(sorted_number, wanted.to(number.dtype))
    else:
        videos, by_video = torch.sort(given.video_index[rows], stable=True)
        rows = rows[by_video]
        starts = _starts(videos)
    labels = given.labels[rows] if given.labels is not None else None
    return Ordered(segments[rows], scores[rows], labels, rows, starts)


def _numbered(video_index: Tensor, num_videos: int) -> Tensor:
    """Return 1 + the video of each candidate, 0 and num_videos + 1 for those of none, as narrow as it can be.

    A radix sort takes a pass for each byte: one for up to 254 videos, where int64 takes eight.
    """
    most = num_videos + 1
    dtype = torch.uint8 if most < 256 else torch.int16 if most < 1 << 15 else torch.int32
    return (video_index.clamp(-1, num_videos) + 1).to(dtype)


def _starts(videos: Tensor) -> Tensor:
    """Return (N + 1,) where each of the sorted videos begins, N behind the last."""
    count = len(videos)
    begins = torch.ones(count, dtype=torch.bool, device=videos.device)
    begins[1:] = videos[1:] != videos[:-1]
    starts = torch.full((count + 2,), count, device=videos.device)
    # What begins no video writes behind the end.
    place = torch.where(begins, begins.cumsum(0) - 1, count + 1)
    return starts.scatter_(0, place, torch.arange(count, device=videos.device))[: count + 1]
