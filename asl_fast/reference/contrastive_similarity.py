# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss in plain PyTorch (Shao et al., ICCV 2023, section 3.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Elements of one (instances x frames) or (anchors x keys) block; larger problems go through in blocks of this size.
BLOCK_ELEMENTS = 1 << 24


class FrameRanges(NamedTuple):
    """Frames of one video each instance looks at; first and last frame are both included, empty where last < first."""

    video: Tensor  # (G,) int64
    valid: Tensor  # (G,) bool, False where the instance does not touch the video's valid frames
    sensitive: Tensor  # (G, 3, 2) int64 around the argmax of p_cls, p_start, p_end
    background: Tensor  # (G, 2, 2) int64 before and after the instance


def frame_ranges(
    mask: Tensor, segments: Tensor, labels: Tensor, offsets: Tensor, mu: Tensor, delta: float
) -> FrameRanges:
    """Steps 1 and 2: the most sensitive frames, ranges of delta * N_f around them, and the context on both sides.

    A Gaussian over the frames of an instance is largest at the frame nearest to its mean; the earlier one on a tie.
    """
    index = torch.arange(len(segments), device=segments.device)
    video = torch.searchsorted(offsets[1:].contiguous(), index, right=True).clamp(max=max(mask.shape[0] - 1, 0))
    last_frame = (mask.sum(-1) - 1).to(segments.dtype).index_select(0, video)
    start, end = segments.unbind(-1)
    centre, length = (start + end) / 2, end - start
    valid = (end > -0.5) & (start < last_frame + 0.5) & (length > 0) & (last_frame >= 0)

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
    return FrameRanges(video, valid, sensitive.long(), torch.stack([before, after], 1).long())


def _pool_block(
    features: Tensor, segments: Tensor, mu: Tensor, sigma: Tensor, video: Tensor, sensitive: Tensor, background: Tensor
) -> Tensor:
    """(g, 3, D) pooled features f_cls, f_loc, f_bg of a block of instances; mu and sigma are (g, 3)."""
    batch, frames, channels = features.shape
    time = torch.arange(frames, device=features.device)
    centre, length = segments.mean(-1), (segments[:, 1] - segments[:, 0]).clamp(min=torch.finfo(segments.dtype).eps)
    # Frames outside the instance occur only where it is shorter than a grid step: they count as its boundary.
    distance = ((time - centre[:, None]) / length[:, None]).clamp(-0.5, 0.5)
    p = torch.exp(-0.5 * ((distance[:, None] - mu[..., None]) / sigma[..., None]) ** 2)

    def within(ranges: Tensor) -> Tensor:
        return (time >= ranges[..., :1]) & (time <= ranges[..., 1:])

    in_sensitive, in_background = within(sensitive), within(background).any(1)
    in_loc = in_sensitive[:, 1] | in_sensitive[:, 2]
    selected = torch.stack([in_sensitive[:, 0], in_loc, in_background], 1)
    weight = torch.stack([p[:, 0], p[:, 1] + p[:, 2], torch.ones_like(p[:, 0])], 1)
    weight = torch.where(selected, weight, 0.0) / selected.sum(-1, keepdim=True).clamp(min=1)
    own_video = torch.nn.functional.one_hot(video, batch).to(weight.dtype)
    spread = own_video[:, None, :, None] * weight[:, :, None, :]
    return (spread.reshape(-1, batch * frames) @ features.reshape(-1, channels)).view(-1, 3, channels)


def pool(features: Tensor, ranges: FrameRanges, segments: Tensor, labels: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """Step 3: (G, 3, D) with f_cls = mean of p_cls(t) z_t, f_loc = mean of p_loc(t) z_t, f_bg = mean of z_t."""
    mu, sigma = mu.to(features.dtype).index_select(0, labels), sigma.to(features.dtype).index_select(0, labels)
    rows = max(1, BLOCK_ELEMENTS // max(1, 3 * features.shape[0] * features.shape[1]))
    inputs = (segments, mu, sigma, ranges.video, ranges.sensitive, ranges.background)
    blocks = zip(*(x.split(rows) for x in inputs), strict=True)
    if len(segments) <= rows:
        return torch.cat([_pool_block(features, *block) for block in blocks])
    return torch.cat([checkpoint(_pool_block, features, *block, use_reentrant=False) for block in blocks])


def _info_nce_block(
    anchors: Tensor, row: Tensor, row_label: Tensor, keys: Tensor, key_label: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Summed loss of some anchors and how many have a positive; labels are a class, -1 background or -2 unused."""
    similarity = anchors @ keys.T / temperature
    column = torch.arange(len(keys), device=keys.device)
    usable = (key_label > -2) & (column != row[:, None])
    positive = usable & (key_label == row_label[:, None])
    nothing = torch.finfo(similarity.dtype).min / 4
    log_all = torch.where(usable, similarity, nothing).logsumexp(-1)
    log_positive = torch.where(positive, similarity, nothing).logsumexp(-1)
    counted = positive.any(-1) & (row_label >= 0)
    return torch.where(counted, log_all - log_positive, 0.0).sum(), counted.sum()


def info_nce(
    anchors: Tensor, labels: Tensor, backgrounds: Tensor, background_valid: Tensor, temperature: float
) -> Tensor:
    """Step 4: mean over anchors with a positive of -log(sum_P sim / (sum_P sim + sum_N sim)), by log-sum-exp.

    Args:
        anchors: (N, D) f_cls and f_loc.
        labels: (N,) int64 classes; -2 marks an anchor that takes no part.
        backgrounds: (M, D) f_bg, negatives of every anchor.
        background_valid: (M,) bool.
        temperature: tau.
    """
    keys = torch.cat([anchors, backgrounds])
    norm = keys.square().sum(-1, keepdim=True).clamp(min=torch.finfo(keys.dtype).tiny).sqrt()
    keys = keys / norm
    key_label = torch.cat([labels, torch.where(background_valid, -1, -2)])
    rows = max(1, BLOCK_ELEMENTS // max(1, len(keys)))
    row = torch.arange(len(anchors), device=keys.device)
    total, count = keys.new_zeros(()), labels.new_zeros(())
    for block in zip(keys[: len(anchors)].split(rows), row.split(rows), labels.split(rows), strict=True):
        if len(anchors) <= rows:
            loss, number = _info_nce_block(*block, keys, key_label, temperature)
        else:
            loss, number = checkpoint(_info_nce_block, *block, keys, key_label, temperature, use_reentrant=False)
        total, count = total + loss, count + number
    return total / count.clamp(min=1)


def contrastive_similarity_loss(
    features: Tensor,
    mask: Tensor,
    segments: Tensor,
    labels: Tensor,
    offsets: Tensor,
    mu: Tensor,
    sigma: Tensor,
    delta: float,
    temperature: float,
) -> Tensor:
    """Scalar loss in float32, or float64 where the features are; see :func:`asl_fast.contrastive_similarity_loss`."""
    features = features if features.dtype == torch.float64 else features.float()
    if len(segments) == 0:
        return features.flatten()[:0].sum() + (mu.flatten()[:0].sum() + sigma.flatten()[:0].sum()).to(features.dtype)
    segments = segments.to(features.dtype)
    ranges = frame_ranges(mask, segments, labels, offsets, mu, delta)
    pooled = pool(torch.where(mask[..., None], features, 0.0), ranges, segments, labels, mu, sigma)
    anchor_labels = torch.where(ranges.valid, labels, -2)
    has_background = ranges.valid & (ranges.background[..., 1] >= ranges.background[..., 0]).any(-1)
    anchors = pooled[:, :2].transpose(0, 1).flatten(0, 1)
    return info_nce(anchors, anchor_labels.repeat(2), pooled[:, 2], has_background, temperature)
