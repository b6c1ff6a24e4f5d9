# SPDX-License-Identifier: Apache-2.0
"""Temporal soft-NMS as one reads it: select the best, decay the others, repeat; one video and class after the other.

Source: Bodla et al., "Soft-NMS", ICCV 2017, figure 2, on segments as ActionFormer (Zhang et al., ECCV 2022) does it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Method = Literal["hard", "linear", "gaussian"]

AREA_MARGIN = 1e-6  # ActionFormer's: two identical segments stay just below IoU 1


class Rule(NamedTuple):
    """How suppression works; see :func:`asl_fast.soft_nms` for the meaning of each."""

    method: Method = "gaussian"
    sigma: float = 0.5
    iou_threshold: float = 0.1
    min_score: float = 0.001
    max_segments: int | None = 200
    voting_threshold: float | None = None
    keep_best: bool = True


def soft_nms(
    segments: Tensor, scores: Tensor, labels: Tensor | None, video_index: Tensor | None, rule: Rule
) -> tuple[Tensor, Tensor, Tensor]:
    """Soft-NMS of every (video, label) group, the groups of a video merged by score.

    Args:
        segments: (N, 2) start and end, float32 or float64.
        scores: (N,) of the same dtype.
        labels: (N,) int64 or None: no distinction.
        video_index: (N,) int64 or None: one video.
        rule: how to suppress.

    Returns:
        Rows kept (M,) int64, their segments (M, 2) and decayed scores (M,), by video and then by falling score; equal
        scores by row.
    """
    everything = torch.arange(len(scores), device=scores.device)
    parts = [_video(segments, scores, labels, rows, rule) for rows in _groups(everything, video_index)]
    if not parts:
        return everything, segments.clone(), scores.clone()
    kept, moved, decayed = (torch.cat(columns) for columns in zip(*parts, strict=True))
    return kept, moved, decayed


def _groups(rows: Tensor, key: Tensor | None) -> list[Tensor]:
    """``rows`` split by the value of ``key``, values ascending, the order of rows kept."""
    if key is None or len(rows) == 0:
        return [rows] if len(rows) else []
    values, order = torch.sort(key[rows], stable=True)
    _, sizes = torch.unique_consecutive(values, return_counts=True)
    return list(torch.split(rows[order], sizes.tolist()))


def _video(
    segments: Tensor, scores: Tensor, labels: Tensor | None, rows: Tensor, rule: Rule
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows kept of one video, their segments and scores."""
    groups = _groups(rows, labels)
    results = [_select(segments[group], scores[group], rule) for group in groups]
    kept = torch.cat([group[chosen] for group, (chosen, _) in zip(groups, results, strict=True)])
    decayed = torch.cat([values for _, values in results])
    by_row = torch.argsort(kept)
    order = by_row[torch.argsort(decayed[by_row], descending=True, stable=True)][: rule.max_segments]
    kept, decayed = kept[order], decayed[order]
    moved = segments[kept]
    if rule.voting_threshold is not None:
        for group in groups:
            of_group = torch.isin(kept, group)
            moved[of_group] = _vote(moved[of_group], segments[group], scores[group], rule.voting_threshold)
    return kept, moved, decayed


def _select(segments: Tensor, scores: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """Positions selected within one group, in order, and their scores at that moment."""
    alive = torch.nonzero(scores >= rule.min_score)[:, 0]
    if len(alive) == 0 and rule.keep_best:
        alive = torch.nonzero(~scores.isnan())[:, 0]
        alive = alive[scores[alive].argmax()[None]] if len(alive) else alive
    chosen: list[Tensor] = []
    at: list[Tensor] = []
    current = scores[alive]
    while len(alive) and (rule.max_segments is None or len(chosen) < rule.max_segments):
        best = current.argmax()  # the first of equals
        chosen.append(alive[best])
        at.append(current[best])
        iou = _iou(segments[alive[best]], segments[alive])
        decay, suppressed = _decay(iou, rule)
        current = current * decay
        remains = (current >= rule.min_score) & ~suppressed
        remains[best] = False
        alive, current = alive[remains], current[remains]
    if not chosen:
        return alive[:0], scores[:0]
    return torch.stack(chosen), torch.stack(at)


def _iou(one: Tensor, others: Tensor) -> Tensor:
    """IoU of a segment (2,) with (N, 2), as ActionFormer's soft-NMS counts it; 0 where nothing is shared."""
    inter = torch.minimum(one[1], others[:, 1]) - torch.maximum(one[0], others[:, 0])
    area, areas = one[1] - one[0] + AREA_MARGIN, others[:, 1] - others[:, 0] + AREA_MARGIN
    return torch.where(inter > 0, inter / (area + areas - inter), 0.0)


def _decay(iou: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
    """Factors on the scores, and which candidates are out whatever their score."""
    over = iou >= rule.iou_threshold
    if rule.method == "hard":
        return torch.ones_like(iou), over
    if rule.method == "linear":
        return torch.where(over, 1 - iou, 1.0), torch.zeros_like(over)
    # A tensor, because dividing by a number is a multiplication by its rounded inverse on some devices. The exponential
    # is taken in float64 and rounded once: every implementation then gets the same float32.
    exponent = -(iou * iou) / torch.full_like(iou, rule.sigma)
    return exponent.double().exp().to(iou.dtype), torch.zeros_like(over)


def _vote(kept: Tensor, segments: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """(K, 2): each kept segment moved to the mean of the (N, 2) that overlap it, weighted by score * IoU."""
    inter = torch.minimum(kept[:, None, 1], segments[:, 1]) - torch.maximum(kept[:, None, 0], segments[:, 0])
    lengths = (kept[:, 1] - kept[:, 0])[:, None] + (segments[:, 1] - segments[:, 0])
    iou = torch.where(inter > 0, inter / (lengths - inter), 0.0)
    counts = (iou >= threshold) & (inter > 0) & (scores > 0)
    weights = torch.where(counts, scores * iou, 0.0).double()
    total = weights.sum(dim=1, keepdim=True)
    mean = ((weights @ segments.double()) / total).to(kept.dtype)
    return torch.where(total > 0, mean, kept)
