# SPDX-License-Identifier: Apache-2.0
"""asl_fast::soft_nms by the CUDA module."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.kernels.candidate_order import ordered
from asl_fast.ops import _buffers

# How many videos there are only the device knows: enough blocks to fill it.
MOST_BLOCKS = 1024


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
    """The op's schema: sorts by (video, score), selects with a block per video, and gathers the padded result."""
    device, count = scores.device, scores.shape[0]
    rows = count if video_index is not None or max_segments <= 0 else min(count, max_segments)
    indices = _buffers.empty((rows,), torch.int64, device)
    moved = _buffers.empty((rows, 2), torch.float32, device)
    decayed = _buffers.empty((rows,), torch.float32, device)
    kept = _buffers.empty((), torch.int64, device)
    if count == 0:
        return indices, moved, decayed, kept.zero_()
    module, stream = _buffers.cuda_module(), _buffers.stream(scores)
    with _buffers.on_device_of(scores):
        candidates = ordered(segments.float(), scores.float(), labels, video_index)
        videos = len(candidates.starts) - 1
        positions = _buffers.empty((count,), torch.int32, device)
        selected_scores = _buffers.empty((count,), torch.float32, device)
        counts = _buffers.empty((videos,), torch.int64, device).zero_()  # most of what may be a video is none
        current = _buffers.empty((count,), torch.float32, device)
        best = _buffers.empty((count,), torch.int64, device)
        seen = _buffers.empty((count,), torch.int32, device)
        buffers = module.NmsBuffers(
            segments=candidates.segments.data_ptr(),
            scores=candidates.scores.data_ptr(),
            labels=_buffers.address(candidates.labels),
            rows=candidates.rows.data_ptr(),
            starts=candidates.starts.data_ptr(),
            positions=positions.data_ptr(),
            decayed=selected_scores.data_ptr(),
            counts=counts.data_ptr(),
            count=count,
            videos=videos,
        )
        scratch = (current.data_ptr(), best.data_ptr(), seen.data_ptr())
        rule = (method, sigma, iou_threshold, min_score, max_segments, keep_best)
        module.soft_nms_select(buffers, *scratch, *rule, min(videos, MOST_BLOCKS), stream)
        result = (indices.data_ptr(), moved.data_ptr(), decayed.data_ptr(), kept.data_ptr())
        ends = counts.cumsum(0)
        module.soft_nms_collect(buffers, ends.data_ptr(), voting_threshold, rows, *result, stream)
    return indices, moved, decayed, kept
