# SPDX-License-Identifier: Apache-2.0
"""Assignment of pyramid points to ground truth in plain PyTorch: ActionFormer's rule for a ragged batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.reference._precision import compute_dtype

# (points x segments) elements held at once; more points go through in blocks.
BLOCK_ELEMENTS = 1 << 23


def assign_points(
    points: Tensor,
    segments: Tensor,
    labels: Tensor,
    offsets: Tensor,
    num_classes: int,
    center_sampling_radius: float | None,
    tie_tolerance: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The registered op. Each point meets every segment of the whole batch once; minima are then taken per video.

    Args:
        points: (P, 4) time, range low, range high (grid), stride.
        segments: (G, 2) grid, all videos.
        labels: (G,) int64.
        offsets: (B + 1,) int64.
        num_classes: C.
        center_sampling_radius: in strides, or None for the whole instance.
        tie_tolerance: instances at most this much longer (grid) than the shortest share the point.

    Returns:
        class targets (B, P, C), offsets (B, P, 2), instance (B, P) int64, distance (B, P).
    """
    dtype = compute_dtype(points, segments)
    points, segments = points.to(dtype), segments.to(dtype)
    num_videos, num_points = offsets.shape[0] - 1, points.shape[0]
    class_targets = points.new_zeros(num_points, num_videos * num_classes)
    instance = torch.full((num_points, num_videos), -1, dtype=torch.int64, device=points.device)
    if segments.shape[0] > 0 and num_points > 0:
        index = torch.arange(segments.shape[0], device=points.device)
        video = torch.searchsorted(offsets[1:].contiguous(), index, right=True)
        step = max(BLOCK_ELEMENTS // segments.shape[0], 1)
        for first in range(0, num_points, step):
            block = slice(first, first + step)
            lengths = _claimed_lengths(points[block], segments, center_sampling_radius)
            shape = (lengths.shape[0], num_videos)
            by_video = video.expand_as(lengths)
            shortest = lengths.new_full(shape, torch.inf).scatter_reduce_(1, by_video, lengths, "amin")
            of_mine = shortest.gather(1, by_video)
            claimed = lengths < torch.inf
            tied = claimed & (lengths <= of_mine + tie_tolerance)
            class_targets[block].scatter_reduce_(
                1, (video * num_classes + labels).expand_as(lengths), tied.to(dtype), "amax"
            )
            # The first of the shortest, in annotation order.
            candidate = torch.where(claimed & (lengths == of_mine), index, segments.shape[0])
            chosen = torch.full(shape, segments.shape[0], device=points.device).scatter_reduce_(
                1, by_video, candidate, "amin"
            )
            instance[block] = torch.where(chosen < segments.shape[0], chosen, -1)

    instance = instance.t().contiguous()
    class_targets = class_targets.view(num_points, num_videos, num_classes).transpose(0, 1).contiguous()
    reg_targets, distance = _geometry(points, segments, instance)
    return class_targets, reg_targets, instance, distance


def _claimed_lengths(points: Tensor, segments: Tensor, radius: float | None) -> Tensor:
    """(P, G) length of the segment where it claims the point, infinity elsewhere."""
    time, low, high, stride = points.unsqueeze(-1).unbind(1)
    start, end = segments.unbind(-1)
    left, right = time - start, end - time
    if radius is None:
        inside = torch.minimum(left, right) > 0
    else:
        centre = 0.5 * (start + end)
        after = time - torch.maximum(centre - stride * radius, start)
        before = torch.minimum(centre + stride * radius, end) - time
        inside = torch.minimum(after, before) > 0
    reach = torch.maximum(left, right)
    claims = inside & (reach >= low) & (reach <= high)
    return torch.where(claims, end - start, torch.inf)


def _geometry(points: Tensor, segments: Tensor, instance: Tensor) -> tuple[Tensor, Tensor]:
    """Offsets in strides (B, P, 2) and signed distance to the centre in lengths (B, P); 0 on background."""
    positive = instance >= 0
    if segments.shape[0] == 0:
        zeros = points.new_zeros(instance.shape)
        return zeros.unsqueeze(-1).repeat(1, 1, 2), zeros
    start, end = segments[instance.clamp(min=0)].unbind(-1)
    time, stride = points[:, 0], points[:, 3]
    offsets = torch.stack(((time - start) / stride, (end - time) / stride), dim=-1)
    distance = (time - 0.5 * (start + end)) / torch.where(positive, end - start, 1)
    return torch.where(positive.unsqueeze(-1), offsets, 0), torch.where(positive, distance, 0)
