# SPDX-License-Identifier: Apache-2.0
"""Temporal soft-NMS as one reads it: select the best, decay the others, repeat; one video and class after the other.

Source: Bodla et al., "Soft-NMS", ICCV 2017, figure 2, on segments as ActionFormer (Zhang et al., ECCV 2022) does it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from asl_fast.reference import _outputs

Method = Literal["hard", "linear", "gaussian"]
METHODS: tuple[Method, ...] = ("hard", "linear", "gaussian")  # position = the number in compiled code

AREA_MARGIN = 1e-6  # as in ActionFormer: two identical segments stay just below IoU 1


class Outputs(NamedTuple):
    """The segments kept, by video and then by falling score, and padding behind them.

    Attributes:
        indices: (R,) int64 rows of the input, -1 in the padding; equal scores by row.
        segments: (R, 2) float32, moved if there is voting; 0 in the padding.
        scores: (R,) float32, decayed; 0 in the padding.
        num_kept: () int64, how many are kept.
    """

    indices: Tensor
    segments: Tensor
    scores: Tensor
    num_kept: Tensor


class Operands(NamedTuple):
    """What the op takes; :func:`asl_fast.soft_nms` explains the numbers.

    Attributes:
        segments: (N, 2) start and end.
        scores: (N,).
        labels: (N,) int64 or None: no distinction.
        video_index: (N,) int64 or None: one video.
        method: One of ``METHODS``.
        max_segments: Kept per video; 0 or less is no limit.
        voting_threshold: 0 or less is no voting.
        num_videos: V where video_index lies in [0, V): candidates of no such video take no part; 0: not known.
    """

    segments: Tensor
    scores: Tensor
    labels: Tensor | None
    video_index: Tensor | None
    method: str
    sigma: float
    iou_threshold: float
    min_score: float
    max_segments: int
    voting_threshold: float
    keep_best: bool
    num_videos: int = 0

    @property
    def limit(self) -> int | None:
        """Largest number of segments kept per video, or None."""
        return self.max_segments if self.max_segments > 0 else None

    def outputs(self) -> Outputs:
        """Return room for what fits whatever the values."""
        rows, device = self.scores.shape[0], self.scores.device
        videos = 1 if self.video_index is None else self.num_videos
        if videos > 0 and self.limit is not None:
            rows = torch.sym_min(rows, videos * self.limit)  # type: ignore[no-untyped-call]
        return Outputs(
            indices=_outputs.empty((rows,), torch.int64, device),
            segments=_outputs.empty((rows, 2), torch.float32, device),
            scores=_outputs.empty((rows,), torch.float32, device),
            num_kept=_outputs.empty((), torch.int64, device),
        )


def soft_nms(given: Operands) -> Outputs:
    """Run soft-NMS on every (video, label) group and merge the groups of a video by score; in float32."""
    given = given._replace(segments=given.segments.float(), scores=given.scores.float())
    everything = torch.arange(len(given.scores), device=given.scores.device)
    if given.video_index is not None and given.num_videos > 0:
        everything = everything[(given.video_index >= 0) & (given.video_index < given.num_videos)]
    parts = [_video(given, rows) for rows in _groups(everything, given.video_index)]
    found = given.outputs()
    found.indices.fill_(-1)
    found.segments.zero_()
    found.scores.zero_()
    found.num_kept.fill_(sum(len(rows) for rows, _, _ in parts))
    if parts:
        for place, columns in zip((found.indices, found.segments, found.scores), zip(*parts, strict=True), strict=True):
            kept = torch.cat(columns)
            place[: len(kept)] = kept
    return found


def _groups(rows: Tensor, key: Tensor | None) -> list[Tensor]:
    """Split ``rows`` by the value of ``key``, values ascending, the order of rows kept."""
    if key is None or len(rows) == 0:
        return [rows] if len(rows) else []
    values, order = torch.sort(key[rows], stable=True)
    _, sizes = torch.unique_consecutive(values, return_counts=True)
    return list(torch.split(rows[order], sizes.tolist()))


def _video(given: Operands, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows kept of one video, their segments and scores."""
    groups = _groups(rows, given.labels)
    results = [_select(given.segments[group], given.scores[group], given) for group in groups]
    kept = torch.cat([group[chosen] for group, (chosen, _) in zip(groups, results, strict=True)])
    decayed = torch.cat([values for _, values in results])
    by_row = torch.argsort(kept)
    order = by_row[torch.argsort(decayed[by_row], descending=True, stable=True)][: given.limit]
    kept, decayed = kept[order], decayed[order]
    moved = given.segments[kept]
    if given.voting_threshold > 0:
        for group in groups:
            of_group = torch.isin(kept, group)
            moved[of_group] = _vote(moved[of_group], given.segments[group], given.scores[group], given)
    return kept, moved, decayed


def _select(segments: Tensor, scores: Tensor, rule: Operands) -> tuple[Tensor, Tensor]:
    """Return the positions selected within one group, in order, and the score that each then had."""
    alive = torch.nonzero(scores >= rule.min_score)[:, 0]
    if len(alive) == 0 and rule.keep_best:
        alive = torch.nonzero(~scores.isnan())[:, 0]
        alive = alive[scores[alive].argmax()[None]] if len(alive) else alive
    chosen: list[Tensor] = []
    scores_then: list[Tensor] = []
    current = scores[alive]
    while len(alive) and (rule.limit is None or len(chosen) < rule.limit):
        best = current.argmax()  # the first of equal ones
        chosen.append(alive[best])
        scores_then.append(current[best])
        iou = _iou(segments[alive[best]], segments[alive])
        decay, suppressed = _decay(iou, rule)
        current = current * decay
        remains = (current >= rule.min_score) & ~suppressed
        remains[best] = False
        alive, current = alive[remains], current[remains]
    if not chosen:
        return alive[:0], scores[:0]
    return torch.stack(chosen), torch.stack(scores_then)


def _iou(one: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of a segment (2,) with (N, 2), with ActionFormer's margins; 0 where nothing is shared."""
    inter = torch.minimum(one[1], others[:, 1]) - torch.maximum(one[0], others[:, 0])
    area, areas = one[1] - one[0] + AREA_MARGIN, others[:, 1] - others[:, 0] + AREA_MARGIN
    return torch.where(inter > 0, inter / (area + areas - inter), 0.0)


def _decay(iou: Tensor, rule: Operands) -> tuple[Tensor, Tensor]:
    """Return the factors on the scores, and which candidates are out whatever their score."""
    over = iou >= rule.iou_threshold
    if rule.method == "hard":
        return torch.ones_like(iou), over
    if rule.method == "linear":
        return torch.where(over, 1 - iou, 1.0), torch.zeros_like(over)
    # A tensor, because dividing by a number is a multiplication by its rounded inverse on some devices. The exponential
    # is taken in float64 and rounded once: every implementation then gets the same float32.
    exponent = -(iou * iou) / torch.full_like(iou, rule.sigma)
    return exponent.double().exp().to(iou.dtype), torch.zeros_like(over)


def _vote(kept: Tensor, segments: Tensor, scores: Tensor, rule: Operands) -> Tensor:
    """Move each kept segment (K, 2) to the mean of the (N, 2) that overlap it, weighted by score * IoU."""
    inter = torch.minimum(kept[:, None, 1], segments[:, 1]) - torch.maximum(kept[:, None, 0], segments[:, 0])
    lengths = (kept[:, 1] - kept[:, 0])[:, None] + (segments[:, 1] - segments[:, 0])
    iou = torch.where(inter > 0, inter / (lengths - inter), 0.0)
    counts = (iou >= rule.voting_threshold) & (inter > 0) & (scores > 0)
    weights = torch.where(counts, scores * iou, 0.0).double()
    total = weights.sum(dim=1, keepdim=True)
    mean = ((weights @ segments.double()) / total).to(kept.dtype)
    return torch.where(total > 0, mean, kept)
