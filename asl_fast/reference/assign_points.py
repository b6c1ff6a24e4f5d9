# SPDX-License-Identifier: Apache-2.0
"""Assignment of pyramid points to ground truth in plain PyTorch: ActionFormer's rule for a ragged batch at once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference import _outputs
from asl_fast.reference._precision import compute_dtype

# (points x segments) elements held at once; more points go through in blocks.
BLOCK_ELEMENTS = 1 << 23


class Outputs(NamedTuple):
    """What every point of every video is trained towards.

    Attributes:
        class_targets: (B, P, C) 0 or 1, float32, or float64 if points or segments are.
        offsets: (B, P, 2) distances to start and end of the instance in strides of the point's level, same dtype.
        instance: (B, P) int64 row of the segments, -1 on background.
        distance: (B, P) signed distance to the centre in lengths of the instance, dtype as the offsets.
    """

    class_targets: Tensor
    offsets: Tensor
    instance: Tensor
    distance: Tensor


class Operands(NamedTuple):
    """What the op takes.

    Attributes:
        points: (P, 4) time, range low, range high (grid), stride.
        segments: (G, 2) grid, all videos.
        labels: (G,) int64.
        video_offsets: (B + 1,) int64, where the segments of each video begin and end; what comes behind is padding.
        num_classes: C.
        center_sampling_radius: In strides, or None for the whole instance.
        tie_tolerance: Instances at most this much longer (grid) than the shortest share the point.
    """

    points: Tensor
    segments: Tensor
    labels: Tensor
    video_offsets: Tensor
    num_classes: int
    center_sampling_radius: float | None
    tie_tolerance: float

    @property
    def num_points(self) -> int:
        """P."""
        return self.points.shape[0]

    @property
    def num_videos(self) -> int:
        """B."""
        return self.video_offsets.shape[0] - 1

    def outputs(self) -> Outputs:
        """Return room for the results."""
        size, device = (self.num_videos, self.num_points), self.points.device
        dtype = compute_dtype(self.points, self.segments)
        return Outputs(
            class_targets=_outputs.empty((*size, self.num_classes), dtype, device),
            offsets=_outputs.empty((*size, 2), dtype, device),
            instance=_outputs.empty(size, torch.int64, device),
            distance=_outputs.empty(size, dtype, device),
        )


def assign_points(given: Operands) -> Outputs:
    """Compare each point with every segment of the batch once, then take minima per video."""
    found = given.outputs()
    dtype = found.distance.dtype
    points, segments = given.points.to(dtype), given.segments.to(dtype)
    num_points, num_videos, num_classes = given.num_points, given.num_videos, given.num_classes
    class_targets = points.new_zeros(num_points, num_videos * num_classes)
    instance = torch.full((num_points, num_videos), -1, dtype=torch.int64, device=points.device)
    if segments.shape[0] > 0 and num_points > 0 and num_videos > 0:
        index = torch.arange(segments.shape[0], device=points.device)
        padding = index >= given.video_offsets[-1]
        # Padding counts as the last video's and claims nothing.
        video = torch.searchsorted(given.video_offsets[1:].contiguous(), index, right=True).clamp(max=num_videos - 1)
        labels = torch.where(padding, 0, given.labels)
        step = max(BLOCK_ELEMENTS // segments.shape[0], 1)
        for first in range(0, num_points, step):
            block = slice(first, first + step)
            lengths = _claimed_lengths(points[block], segments, given.center_sampling_radius)
            lengths = torch.where(padding, torch.inf, lengths)
            shape = (lengths.shape[0], num_videos)
            by_video = video.expand_as(lengths)
            shortest = lengths.new_full(shape, torch.inf).scatter_reduce_(1, by_video, lengths, "amin")
            of_own_video = shortest.gather(1, by_video)
            claimed = lengths < torch.inf
            tied = claimed & (lengths <= of_own_video + given.tie_tolerance)
            class_targets[block].scatter_reduce_(
                1, (video * num_classes + labels).expand_as(lengths), tied.to(dtype), "amax"
            )
            # The first of the shortest, in annotation order.
            candidate = torch.where(claimed & (lengths == of_own_video), index, segments.shape[0])
            chosen = torch.full(shape, segments.shape[0], device=points.device).scatter_reduce_(
                1, by_video, candidate, "amin"
            )
            instance[block] = torch.where(chosen < segments.shape[0], chosen, -1)

    found.instance.copy_(instance.t())
    found.class_targets.copy_(class_targets.view(num_points, num_videos, num_classes).transpose(0, 1))
    _measure(points, segments, found)
    return found


def _claimed_lengths(points: Tensor, segments: Tensor, radius: float | None) -> Tensor:
    """Return (P, G), the length of the segment where it claims the point, infinity elsewhere."""
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


def _measure(points: Tensor, segments: Tensor, found: Outputs) -> None:
    """Fill in the offsets and the distance of every point from its instance; 0 on background."""
    if segments.shape[0] == 0:
        found.offsets.zero_()
        found.distance.zero_()
        return
    positive = found.instance >= 0
    start, end = segments[found.instance.clamp(min=0)].unbind(-1)
    time, stride = points[:, 0], points[:, 3]
    offsets = torch.stack(((time - start) / stride, (end - time) / stride), dim=-1)
    distance = (time - 0.5 * (start + end)) / torch.where(positive, end - start, 1)
    found.offsets.copy_(torch.where(positive.unsqueeze(-1), offsets, 0))
    found.distance.copy_(torch.where(positive, distance, 0))
