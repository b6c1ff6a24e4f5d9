# SPDX-License-Identifier: Apache-2.0
"""Which frames an instance looks at, and how they enter its three vectors.

kernels/_contrastive_similarity_frames.py does likewise.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference._contrastive_similarity_info_nce import vector_labels
from asl_fast.reference._precision import compute_dtype


class FrameRanges(NamedTuple):
    """Frames of one video each instance looks at: first and last, both included; 0 and -1 where there is none.

    Attributes:
        video: (G,) int64.
        valid: (G,) bool, False where the instance does not touch the video's valid frames, and for padding.
        sensitive: (G, 3, 2) int64 around the argmax of p_cls, p_start, p_end.
        background: (G, 2, 2) int64 before and after the instance.
    """

    video: Tensor
    valid: Tensor
    sensitive: Tensor
    background: Tensor

    def state(self) -> Tensor:
        """Return (G,) int64: 0 takes no part, 1 has no background, 2 has one."""
        has_background = (self.background[..., 1] >= self.background[..., 0]).any(-1)
        return self.valid * (1 + has_background.long())

    def pack(self) -> Tensor:
        """Return (G, 12) int32: first and last of the five ranges, video, state."""
        ranges = torch.cat([self.sensitive, self.background], 1).flatten(1)
        return torch.cat([ranges, self.video[:, None], self.state()[:, None]], 1).int()


def real_labels(labels: Tensor, video_offsets: Tensor) -> Tensor:
    """Return (G,) labels, 0 of padding, whose own may be of no class."""
    return torch.where(torch.arange(len(labels), device=labels.device) < video_offsets[-1], labels, 0)


def frame_ranges(
    mask: Tensor, segments: Tensor, labels: Tensor, video_offsets: Tensor, mu: Tensor, delta: float
) -> FrameRanges:
    """Find the most sensitive frames, ranges of delta * N_f around them, and the context on both sides.

    A Gaussian over the frames of an instance is largest at the frame nearest to its mean; the earlier one on a tie.
    """
    index = torch.arange(len(segments), device=segments.device)
    video = torch.searchsorted(video_offsets[1:].contiguous(), index, right=True).clamp(max=max(mask.shape[0] - 1, 0))
    last_frame = (mask.sum(-1) - 1).to(segments.dtype).index_select(0, video)
    start, end = segments.unbind(-1)
    centre, length = (start + end) / 2, end - start
    valid = (index < video_offsets[-1]) & (end > -0.5) & (start < last_frame + 0.5) & (length > 0) & (last_frame >= 0)

    first, last = start.ceil(), end.floor()
    nearest = (centre - 0.5).ceil()
    first, last = torch.where(first > last, nearest, first), torch.where(first > last, nearest, last)
    bound = last_frame.clamp(min=0)
    first, last = torch.minimum(first.clamp(min=0), bound), torch.minimum(last.clamp(min=0), bound)

    peak = ((centre[:, None] + mu.detach().to(segments.dtype).index_select(0, labels) * length[:, None]) - 0.5).ceil()
    peak = torch.minimum(torch.maximum(peak, first[:, None]), last[:, None])
    reach = (delta * length)[:, None]
    sensitive = torch.stack(
        [torch.maximum((peak - reach).ceil(), first[:, None]), torch.minimum((peak + reach).floor(), last[:, None])], -1
    )
    reach = reach[:, 0]
    before = torch.stack([(start - reach).ceil().clamp(min=0), torch.minimum(start.floor(), last_frame)], -1)
    after = torch.stack([end.ceil().clamp(min=0), torch.minimum((end + reach).floor(), last_frame)], -1)
    ranges = torch.cat([sensitive, torch.stack([before, after], 1)], 1).long()
    empty = (ranges[..., 1:] < ranges[..., :1]) | ~valid[:, None, None]
    # 0 and -1, made on the device: a CUDA graph holds no copy from the host.
    ranges = torch.where(empty, -torch.arange(2, device=ranges.device), ranges)
    return FrameRanges(video, valid, ranges[:, :3], ranges[:, 3:])


class Pooling(NamedTuple):
    """How the frames of a block of g instances enter their three vectors.

    Attributes:
        p: (g, 3, T) p_cls, p_start, p_end.
        z: (g, 3, T) (d - mu) / sigma.
        share: (g, 3, T) 1 / (number of frames) on the frames of R_cls, R_loc and the background, else 0.
    """

    p: Tensor
    z: Tensor
    share: Tensor

    def weights(self) -> Tensor:
        """Return (g, 3, T): p_cls over R_cls, p_loc over R_loc, 1 over the background, each as a mean."""
        p_cls, p_start, p_end = self.p.unbind(1)
        return torch.stack([p_cls, p_start + p_end, torch.ones_like(p_cls)], 1) * self.share


def pooling(sensitive: Tensor, background: Tensor, segments: Tensor, mu: Tensor, sigma: Tensor, frames: int) -> Pooling:
    """Weigh the frames of these ranges; mu and sigma are (g, 3), the instances' own."""
    time = torch.arange(frames, device=segments.device)
    centre, length = segments.mean(-1), (segments[:, 1] - segments[:, 0]).clamp(min=torch.finfo(segments.dtype).eps)
    # Frames outside the instance occur only where it is shorter than a grid step: they count as its boundary.
    distance = ((time - centre[:, None]) / length[:, None]).clamp(-0.5, 0.5)
    z = (distance[:, None] - mu[..., None]) / sigma[..., None]

    def within(bounds: Tensor) -> Tensor:
        return (time >= bounds[..., :1]) & (time <= bounds[..., 1:])

    near_cls, near_start, near_end = within(sensitive).unbind(1)
    selected = torch.stack([near_cls, near_start | near_end, within(background).any(1)], 1)
    return Pooling(torch.exp(-0.5 * z**2), z, selected / selected.sum(-1, keepdim=True).clamp(min=1).to(z.dtype))


def seen(features: Tensor, ranges: Tensor) -> Tensor:
    """Return (B T, D) features, 0 in frames at which no instance looks: there a weight of 0 would leave NaN as it is.

    Args:
        features: (B, T, D).
        ranges: (G, 12) as :meth:`FrameRanges.pack` gives them.
    """
    batch, frames, _ = features.shape
    first, last = ranges[:, :10].long().view(-1, 5, 2).unbind(-1)
    row = (frames + 1) * ranges[:, 10, None].long()
    changes = torch.zeros(batch * (frames + 1), dtype=torch.int64, device=ranges.device)
    one = torch.ones((), dtype=torch.int64, device=ranges.device).expand(first.numel())
    changes.index_add_(0, (row + first).flatten(), one)
    changes.index_add_(0, (row + last + 1).flatten(), -one)
    looked_at = changes.view(batch, frames + 1).cumsum(1)[:, :frames] > 0
    return torch.where(looked_at[..., None], features, 0.0).flatten(0, 1)


def spread(weights: Tensor, video: Tensor, batch: int) -> Tensor:
    """Return (3 g, B T): every row of (g, 3, T) weights at its own video's place among all frames of the batch."""
    own_video = torch.nn.functional.one_hot(video, batch).to(weights.dtype)
    return (weights[:, :, None, :] * own_video[:, None, :, None]).flatten(0, 1).flatten(1)


def pooling_of(
    segments: Tensor, labels: Tensor, mu: Tensor, sigma: Tensor, ranges: Tensor, frames: int
) -> tuple[Pooling, Tensor]:
    """Return the pooling of instances from their packed ranges, and their sigma."""
    own_mu, own_sigma = (x.to(segments.dtype).index_select(0, labels) for x in (mu, sigma))
    bounds = ranges[:, :10].long().view(-1, 5, 2)
    return pooling(bounds[:, :3], bounds[:, 3:], segments, own_mu, own_sigma, frames), own_sigma


def instance_vectors(
    features: Tensor,
    mask: Tensor,
    segments: Tensor,
    labels: Tensor,
    video_offsets: Tensor,
    mu: Tensor,
    sigma: Tensor,
    delta: float,
) -> tuple[Tensor, Tensor]:
    """Pool the frames of every instance, for automatic differentiation; holds a (3 G, B T) matrix.

    Returns:
        (3 G, D) f_cls, f_loc and f_bg of the first instance, of the second, and so on; and their labels (3 G,), as
        ``vector_labels`` gives them: -2 for what takes no part.
    """
    dtype = compute_dtype(features)
    if len(segments) == 0:
        features = features.to(dtype)
        nothing = features.flatten()[:0].sum() + (mu.flatten()[:0].sum() + sigma.flatten()[:0].sum()).to(dtype)
        return features.flatten(0, 1)[:0] + nothing, labels
    segments, labels = segments.to(dtype), real_labels(labels, video_offsets)
    ranges = frame_ranges(mask, segments, labels, video_offsets, mu, delta)
    own_mu, own_sigma = (x.to(dtype).index_select(0, labels) for x in (mu, sigma))
    # An instance that takes no part may hold anything, and so may a frame that none looks at; 0 times anything is not
    # always 0.
    segments = torch.where(ranges.valid[:, None], segments, 0.0)
    frames = seen(features.to(dtype), ranges.pack())
    weights = pooling(ranges.sensitive, ranges.background, segments, own_mu, own_sigma, mask.shape[1]).weights()
    vectors = spread(weights, ranges.video, len(mask)) @ frames
    return vectors, vector_labels(ranges.state(), labels).T.flatten()
