# SPDX-License-Identifier: Apache-2.0
"""From a detector's output to detections in seconds: candidates, suppression, conversion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from asl_fast.models.config import InferenceConfig
from asl_fast.models.detector import DetectorOutput
from asl_fast.ops.soft_nms import soft_nms


class TimeGrid(Protocol):
    """What converts positions on the feature grid to seconds."""

    def to_sec(self, grid: Any, /) -> Any:
        """Convert positions, in grid steps, to seconds."""


@dataclass(frozen=True)
class Detections:
    """Detections of one video.

    Attributes:
        segments: (M, 2); grid steps for candidates, seconds after `detect`; float32, or float64 where a recording is so
            long that its times need it.
        scores: (M,) float32 in [0, 1].
        labels: (M,) int64.
    """

    segments: Tensor
    scores: Tensor
    labels: Tensor


@torch.no_grad()
def candidates(output: DetectorOutput, config: InferenceConfig) -> list[list[Detections]]:
    """Find each video's candidates before suppression, level by level, in grid steps and by falling score."""
    per_level = [
        level_candidates(*level, config)
        for level in zip(output.logits, output.offsets, output.masks, output.points, strict=True)
    ]
    return [list(levels) for levels in zip(*per_level, strict=True)]


@torch.no_grad()
def level_candidates(
    logits: Tensor, offsets: Tensor, mask: Tensor, points: Tensor, config: InferenceConfig
) -> list[Detections]:
    """Find each video's candidates on one level, in grid steps, by falling score.

    Args:
        logits: (B, T_l, C).
        offsets: (B, T_l, 2), in units of the level's stride.
        mask: (B, T_l) bool.
        points: (T_l, 4), see `asl_fast.models.points.level_points`.
        config: Thresholds.
    """
    logits, offsets = logits.float(), offsets.float()
    num_classes = logits.shape[-1]
    scores = (logits.sigmoid() * mask.unsqueeze(-1)).flatten(1)  # (B, T_l * C)
    top = scores.topk(min(config.candidates_per_level, scores.shape[1]), dim=1)
    point = torch.div(top.indices, num_classes, rounding_mode="floor")
    chosen = points[point]  # (B, K, 4)
    distance = torch.gather(offsets, 1, point.unsqueeze(-1).expand(-1, -1, 2)) * chosen[..., 3:]
    time = chosen[..., 0]
    segments = torch.stack((time - distance[..., 0], time + distance[..., 1]), dim=-1)
    # Found once: to index by bools finds them anew each time, and on a GPU waits for it.
    kept = [keep.nonzero().squeeze(1) for keep in is_candidate(segments, top.values, config)]
    labels = top.indices % num_classes
    return [Detections(segments[b][k], top.values[b][k], labels[b][k]) for b, k in enumerate(kept)]


def is_candidate(segments: Tensor, scores: Tensor, config: InferenceConfig) -> Tensor:
    """Tell which segments (..., 2) in grid steps with scores (...) are good and long enough: (...) bool."""
    return (scores > config.score_threshold) & (segments[..., 1] - segments[..., 0] > config.min_length_grid)


def joined(parts: Sequence[Detections]) -> Detections:
    """Put detections of one video one after the other."""
    return Detections(
        torch.cat([part.segments for part in parts]),
        torch.cat([part.scores for part in parts]),
        torch.cat([part.labels for part in parts]),
    )


@torch.no_grad()
def detect(
    videos: Sequence[Sequence[Detections]],
    *,
    grids: Sequence[TimeGrid],
    durations_sec: Sequence[float],
    config: InferenceConfig,
) -> list[Detections]:
    """Turn candidates into detections in seconds, by falling score.

    Those of which clipping leaves no length stay, as in ActionFormer, whose scores count them; see :func:`with_length`.

    Args:
        videos: Per video the candidates of its levels, as :func:`candidates` finds them.
        grids: Per video, what converts grid steps to seconds.
        durations_sec: Per video, the length that detections are clipped to.
        config: Thresholds.

    Returns:
        Detections of each of the videos, on the CPU.
    """
    found = [joined(levels) for levels in videos]
    suppressed = _suppress(found, config) if config.nms != "none" else [_best(video, config) for video in found]
    out = []
    for video, grid, duration_sec in zip(suppressed, grids, durations_sec, strict=True):
        segments = torch.as_tensor(grid.to_sec(video.segments.cpu().double())).to(video.segments.dtype)
        segments = segments.clamp(0.0, _not_above(float(duration_sec), segments.dtype))
        out.append(Detections(segments, video.scores.cpu(), video.labels.cpu()))
    return out


def with_length(found: Detections) -> Detections:
    """Leave out detections of which clipping left no length, as they lie beyond the end of their recording."""
    left = found.segments[:, 1] > found.segments[:, 0]
    return Detections(found.segments[left], found.scores[left], found.labels[left])


def _best(video: Detections, config: InferenceConfig) -> Detections:
    """Order candidates by falling score and keep those that suppression would keep if nothing overlapped."""
    order = video.scores.sort(descending=True, stable=True).indices
    scores, labels = video.scores[order], video.labels[order]
    keep = scores >= config.min_score
    by_class = labels.sort(stable=True)
    first = torch.ones_like(keep)
    first[1:] = by_class.values[1:] != by_class.values[:-1]
    keep[by_class.indices[first]] = True
    kept = keep.nonzero().squeeze(1)[: config.max_segments or None]
    return Detections(video.segments[order[kept]], scores[kept], labels[kept])


def _not_above(value: float, dtype: torch.dtype) -> float:
    """Return the largest number of a type that is not above ``value``, to which rounding might go."""
    rounded = torch.tensor(value, dtype=dtype)
    if float(rounded) > value:
        rounded = torch.nextafter(rounded, torch.zeros((), dtype=dtype))
    return float(rounded)


def _suppress(videos: list[Detections], config: InferenceConfig) -> list[Detections]:
    counts = torch.tensor([len(v.scores) for v in videos])
    segments, scores, labels = (
        torch.cat([getattr(v, name) for v in videos]) for name in ("segments", "scores", "labels")
    )
    video_index = torch.repeat_interleave(torch.arange(len(videos)), counts).to(scores.device)
    assert config.nms != "none"
    kept = soft_nms(
        segments,
        scores,
        None if config.class_agnostic else labels,
        method=config.nms,
        sigma=config.nms_sigma,
        iou_threshold=config.nms_iou_threshold,
        min_score=config.min_score,
        max_segments=config.max_segments,
        voting_threshold=config.voting_threshold,
        video_index=video_index,
        num_videos=len(videos),
    )
    out = []
    for video in range(len(videos)):
        of_video = kept.video_index == video
        out.append(Detections(kept.segments[of_video], kept.scores[of_video], labels[kept.indices[of_video]]))
    return out
