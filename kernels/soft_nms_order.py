# SPDX-License-Identifier: Apache-2.0
"""Candidates of soft-NMS brought into the order in which a GPU treats them, without reading anything back."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Ordered(NamedTuple):
    """N candidates by video, within a video by falling score (NaN last), then by row of the input.

    Attributes:
        segments: (N, 2) float32.
        scores: (N,) float32.
        labels: (N,) int64 or None.
        rows: (N,) int64, of the input.
        starts: (V + 1,) int64, first candidate of each video, N where there is no further one. V is what the shape of
            the input allows: 1 or N.
    """

    segments: Tensor
    scores: Tensor
    labels: Tensor | None
    rows: Tensor
    starts: Tensor


def ordered(segments: Tensor, scores: Tensor, labels: Tensor | None, video_index: Tensor | None) -> Ordered:
    """Sort by score, then by video, both stable."""
    count = len(scores)
    # Adding 0 makes -0 a 0, which it has to tie with.
    falling = torch.nan_to_num(scores, nan=-math.inf, posinf=math.inf, neginf=-math.inf) + 0.0
    rows = torch.sort(falling, descending=True, stable=True).indices
    if video_index is None:
        starts = torch.arange(2, device=scores.device) * count
    else:
        videos, by_video = torch.sort(video_index[rows], stable=True)
        rows = rows[by_video]
        is_next = torch.zeros(count, dtype=torch.int64, device=scores.device)
        is_next[1:] = videos[1:] != videos[:-1]
        starts = torch.searchsorted(is_next.cumsum(0), torch.arange(count + 1, device=scores.device))
    return Ordered(segments[rows], scores[rows], labels[rows] if labels is not None else None, rows, starts)
