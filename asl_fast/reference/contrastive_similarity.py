# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss in plain PyTorch (Shao et al., ICCV 2023, section 3.3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference._precision import compute_dtype

# Elements of one (instances x frames) or (anchors x keys) block.
BLOCK_ELEMENTS = 1 << 22


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


class Pooling(NamedTuple):
    """How the frames of a block of g instances enter their three vectors."""

    p: Tensor  # (g, 3, T) p_cls, p_start, p_end
    z: Tensor  # (g, 3, T) (d - mu) / sigma
    share: Tensor  # (g, 3, T) 1 / (number of frames) on the frames of R_cls, R_loc and the background, else 0

    def weights(self) -> Tensor:
        """(g, 3, T): p_cls over R_cls, p_loc over R_loc, 1 over the background, each as a mean."""
        p_cls, p_start, p_end = self.p.unbind(1)
        return torch.stack([p_cls, p_start + p_end, torch.ones_like(p_cls)], 1) * self.share


def pooling(sensitive: Tensor, background: Tensor, segments: Tensor, mu: Tensor, sigma: Tensor, frames: int) -> Pooling:
    """Step 2 in weights; mu and sigma are (g, 3), the instances' own."""
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


def spread(weights: Tensor, video: Tensor, batch: int) -> Tensor:
    """(3 g, B T): every row of (g, 3, T) weights at its own video's place among all frames of the batch."""
    own_video = torch.nn.functional.one_hot(video, batch).to(weights.dtype)
    return (weights[:, :, None, :] * own_video[:, None, :, None]).flatten(0, 1).flatten(1)


def info_nce_terms(
    rows: Tensor, row_index: Tensor, row_label: Tensor, keys: Tensor, key_label: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Step 4 for some anchors: -log(sum_P sim / (sum_P sim + sum_N sim)) by log-sum-exp, and what its gradient needs.

    Args:
        rows: (R, D) unit vectors of the anchors.
        row_index: (R,) where each anchor stands among the keys.
        row_label: (R,) class, or -2 for an anchor that takes no part.
        keys: (K, D) unit vectors.
        key_label: (K,) class, -1 background, -2 takes no part.
        temperature: tau.

    Returns:
        loss (R,), 0 where the anchor has no positive; counted (R,) bool; log-shares (R, K) of each key among all keys,
        and among the positives, very negative where it is none.
    """
    similarity = rows @ keys.T / temperature
    usable = (key_label > -2) & (torch.arange(len(keys), device=keys.device) != row_index[:, None])
    positive = usable & (key_label == row_label[:, None])
    nothing = torch.finfo(similarity.dtype).min / 4
    among_all = torch.where(usable, similarity, nothing)
    among_positive = torch.where(positive, similarity, nothing)
    log_all, log_positive = among_all.logsumexp(-1), among_positive.logsumexp(-1)
    counted = positive.any(-1) & (row_label >= 0)
    loss = torch.where(counted, log_all - log_positive, 0.0)
    return loss, counted, among_all - log_all[:, None], among_positive - log_positive[:, None]


def unit_vectors(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of length 1 and one over their lengths; a vector of length 0 stays, without gradient."""
    squared = vectors.square().sum(-1, keepdim=True)
    positive = squared > torch.finfo(vectors.dtype).tiny
    inverse = torch.where(positive, torch.where(positive, squared, 1.0).rsqrt(), 0.0)
    return vectors * inverse, inverse


def info_nce(vectors: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Mean loss of the anchors with a positive; vectors (K, D), labels (K,): class, -1 background, -2 takes no part."""
    keys, _ = unit_vectors(vectors)
    index = torch.arange(len(keys), device=keys.device)
    loss, counted, _, _ = info_nce_terms(keys, index, labels, keys, labels, temperature)
    return loss.sum() / counted.sum().clamp(min=1)


def vector_labels(ranges: FrameRanges, labels: Tensor) -> Tensor:
    """(3 G,) labels of f_cls, f_loc and f_bg of every instance, as ``info_nce`` takes them."""
    has_background = ranges.valid & (ranges.background[..., 1] >= ranges.background[..., 0]).any(-1)
    own = torch.where(ranges.valid, labels, -2)
    return torch.stack([own, own, torch.where(has_background, -1, -2)], 1).flatten()


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
    """The whole loss by automatic differentiation; holds (3 G, B T) and (3 G, 3 G) matrices.

    Arguments as in ``asl_fast.contrastive_similarity_loss``, the targets in three tensors.
    """
    features = torch.where(mask[..., None], features.to(compute_dtype(features)), 0.0)
    if len(segments) == 0:
        return features.flatten()[:0].sum() + (mu.flatten()[:0].sum() + sigma.flatten()[:0].sum()).to(features.dtype)
    segments = segments.to(features.dtype)
    ranges = frame_ranges(mask, segments, labels, offsets, mu, delta)
    own_mu, own_sigma = (x.to(features.dtype).index_select(0, labels) for x in (mu, sigma))
    weights = pooling(ranges.sensitive, ranges.background, segments, own_mu, own_sigma, features.shape[1]).weights()
    vectors = spread(weights, ranges.video, len(features)) @ features.flatten(0, 1)
    return info_nce(vectors, vector_labels(ranges, labels), temperature)


def contrastive_similarity_blocks(
    features: Tensor,
    mask: Tensor,
    segments: Tensor,
    labels: Tensor,
    offsets: Tensor,
    mu: Tensor,
    sigma: Tensor,
    delta: float,
    temperature: float,
    need_grad: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss with its gradients, in blocks of instances and of anchors, so that memory is linear in their number.

    Returns:
        loss (), and the gradients of features, mu and sigma, or three empty tensors where ``need_grad`` is False.
    """
    dtype = compute_dtype(features)
    grad_mu, grad_sigma = torch.zeros_like(mu, dtype=dtype), torch.zeros_like(sigma, dtype=dtype)
    frames_of_all = torch.where(mask[..., None], features.to(dtype), 0.0)
    batch, frames, channels = features.shape
    grad_features = torch.zeros_like(frames_of_all)
    if len(segments) == 0:
        return _finish(frames_of_all.new_zeros(()), grad_features, grad_mu, grad_sigma, need_grad)
    segments = segments.to(dtype)
    ranges = frame_ranges(mask, segments, labels, offsets, mu, delta)
    own_mu, own_sigma = (x.to(dtype).index_select(0, labels) for x in (mu, sigma))
    size = max(1, BLOCK_ELEMENTS // (3 * batch * frames))

    def pooling_of(block: slice) -> Pooling:
        return pooling(
            ranges.sensitive[block], ranges.background[block], segments[block], own_mu[block], own_sigma[block], frames
        )

    blocks = [slice(start, start + size) for start in range(0, len(segments), size)]
    flat = frames_of_all.flatten(0, 1)
    vectors = torch.cat([spread(pooling_of(b).weights(), ranges.video[b], batch) @ flat for b in blocks])
    keys, inverse = unit_vectors(vectors)
    key_label = vector_labels(ranges, labels)

    index = torch.arange(len(keys), device=keys.device).view(-1, 3)
    total, count, grad_keys = keys.new_zeros(()), key_label.new_zeros(()), torch.zeros_like(keys)
    size = max(1, BLOCK_ELEMENTS // (2 * len(keys)))
    for start in range(0, len(segments), size):
        anchors = index[start : start + size, :2].flatten()
        unit = keys.index_select(0, anchors)
        loss, counted, among_all, among_positive = info_nce_terms(
            unit, anchors, key_label.index_select(0, anchors), keys, key_label, temperature
        )
        total, count = total + loss.sum(), count + counted.sum()
        if need_grad:
            slope = torch.where(counted[:, None], among_all.exp() - among_positive.exp(), 0.0) / temperature
            grad_keys.view(-1, 3, channels)[start : start + size, :2] += (slope @ keys).view(-1, 2, channels)
            grad_keys += slope.T @ unit
    count = count.clamp(min=1)
    if not need_grad:
        return _finish(total / count, grad_features, grad_mu, grad_sigma, need_grad)

    grad_keys = grad_keys / count
    grad_vectors = inverse * (grad_keys - keys * (grad_keys * keys).sum(-1, keepdim=True))
    one_hot = torch.nn.functional.one_hot(labels, len(mu)).to(dtype)
    for b in blocks:
        block = pooling_of(b)
        grad = grad_vectors[3 * b.start : 3 * b.stop]
        grad_features += (spread(block.weights(), ranges.video[b], batch).T @ grad).view_as(frames_of_all)
        per_frame = (grad @ flat.T).view(-1, 3, batch, frames)
        own_video = ranges.video[b][:, None, None, None].expand(-1, 3, 1, frames)
        slope = per_frame.gather(2, own_video)[:, :, 0] * block.share
        slope = torch.stack([slope[:, 0], slope[:, 1], slope[:, 1]], 1) * block.p * block.z
        inverse_sigma = 1.0 / own_sigma[b]
        grad_mu += one_hot[b].T @ (slope.sum(-1) * inverse_sigma)
        grad_sigma += one_hot[b].T @ ((slope * block.z).sum(-1) * inverse_sigma)
    grad_features = torch.where(mask[..., None], grad_features, 0.0)
    return _finish(total / count, grad_features, grad_mu, grad_sigma, need_grad)


def _finish(
    loss: Tensor, grad_features: Tensor, grad_mu: Tensor, grad_sigma: Tensor, need_grad: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if need_grad:
        return loss, grad_features, grad_mu, grad_sigma
    return loss, loss.new_empty(0), loss.new_empty(0), loss.new_empty(0)
