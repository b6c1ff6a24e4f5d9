# SPDX-License-Identifier: Apache-2.0
"""asl_fast::soft_nms by the C++ module."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast import native


def soft_nms(
    segments: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    video_index: Tensor | None,
    method: int,
    sigma: float,
    iou_threshold: float,
    min_score: float,
    max_segments: int,
    voting_threshold: float,
    keep_best: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The op's schema; threads as many as ``torch.get_num_threads()``, over videos."""
    module = native.cpu_module()
    assert module is not None  # the dispatch table asked
    count = scores.shape[0]
    rows = count if video_index is not None or max_segments <= 0 else min(count, max_segments)
    segments, scores = segments.float().contiguous(), scores.float().contiguous()
    labels = labels.contiguous() if labels is not None else None
    video_index = video_index.contiguous() if video_index is not None else None
    indices = torch.empty(rows, dtype=torch.int64)
    moved, decayed = torch.empty(rows, 2), torch.empty(rows)
    kept = module.soft_nms(
        segments=segments.data_ptr(),
        scores=scores.data_ptr(),
        labels=labels.data_ptr() if labels is not None else 0,
        video_index=video_index.data_ptr() if video_index is not None else 0,
        count=count,
        method=method,
        sigma=sigma,
        iou_threshold=iou_threshold,
        min_score=min_score,
        max_segments=max_segments,
        voting_threshold=voting_threshold,
        keep_best=keep_best,
        out_indices=indices.data_ptr(),
        out_segments=moved.data_ptr(),
        out_scores=decayed.data_ptr(),
        rows=rows,
        threads=torch.get_num_threads(),
    )
    return indices, moved, decayed, torch.tensor(kept)
