# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss in plain PyTorch (Shao et al., ICCV 2023, section 3.3)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference._precision import compute_dtype

# Elements of one (instances x frames) or (anchors x keys) block.
BLOCK_ELEMENTS = 1 << 22


class FrameRanges(NamedTuple):
    """Frames of one video each instance looks at: first and last, both included; 0 and -1 where there is none."""

    video: Tensor  # (G,) int64
    valid: Tensor  # (G,) bool, False where the instance does not touch the video's valid frames
    sensitive: Tensor  # (G, 3, 2) int64 around the argmax of p_cls, p_start, p_end
    background: Tensor  # (G, 2, 2) int64 before and after the instance

    def state(self) -> Tensor:
        """(G,) int64: 0 takes no part, 1 has no background, 2 has one."""
        has_background = (self.background[..., 1] >= self.background[..., 0]).any(-1)
        return self.valid * (1 + has_background.long())

    def pack(self) -> Tensor:
        """(G, 12) int32: first and last of the five ranges, video, state."""
        ranges = torch.cat([self.sensitive, self.background], 1).flatten(1)
        return torch.cat([ranges, self.video[:, None], self.state()[:, None]], 1).int()


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
    ranges = torch.cat([sensitive, torch.stack([before, after], 1)], 1).long()
    empty = (ranges[..., 1:] < ranges[..., :1]) | ~valid[:, None, None]
    ranges = torch.where(empty, torch.tensor([0, -1], device=ranges.device), ranges)
    return FrameRanges(video, valid, ranges[:, :3], ranges[:, 3:])


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


def similarities(
    rows: Tensor, row_index: Tensor, row_label: Tensor, keys: Tensor, key_label: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """log sim of some anchors with all keys, very negative where a key does not count, and where it is no positive.

    Args:
        rows: (R, D) unit vectors of the anchors.
        row_index: (R,) where each anchor stands among the keys.
        row_label: (R,) class, or -2 for an anchor that takes no part.
        keys: (K, D) unit vectors.
        key_label: (K,) class, -1 background, -2 takes no part.
        temperature: tau.

    Returns:
        (R, K) twice.
    """
    similarity = rows @ keys.T / temperature
    usable = (key_label > -2) & (torch.arange(len(keys), device=keys.device) != row_index[:, None])
    positive = usable & (key_label == row_label[:, None]) & (row_label >= 0)[:, None]
    nothing = torch.finfo(similarity.dtype).min / 4
    return torch.where(usable, similarity, nothing), torch.where(positive, similarity, nothing)


def log_sums(among_all: Tensor, among_positive: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exp (R,) of both, and whether (R,) an anchor has a positive."""
    counted = (among_positive > torch.finfo(among_all.dtype).min / 4).any(-1)
    return among_all.logsumexp(-1), among_positive.logsumexp(-1), counted


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
    log_all, log_positive, counted = log_sums(*similarities(keys, index, labels, keys, labels, temperature))
    return torch.where(counted, log_all - log_positive, 0.0).sum() / counted.sum().clamp(min=1)


def vector_labels(state: Tensor, labels: Tensor) -> Tensor:
    """(3, G) labels of f_cls, f_loc and f_bg of every instance, as ``info_nce`` takes them."""
    own = torch.where(state > 0, labels, -2)
    return torch.stack([own, own, torch.where(state == 2, -1, -2)])


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
    return info_nce(vectors, vector_labels(ranges.state(), labels).T.flatten(), temperature)


def _blocks(count: int, elements_each: int) -> Iterator[slice]:
    size = max(1, BLOCK_ELEMENTS // max(1, elements_each))
    return (slice(first, min(first + size, count)) for first in range(0, count, size))


def _pooling_of(
    packed: Tensor, segments: Tensor, labels: Tensor, mu: Tensor, sigma: Tensor, frames: int
) -> tuple[Pooling, Tensor]:
    """Of a block of instances, and their sigma."""
    own_mu, own_sigma = (x.to(segments.dtype).index_select(0, labels) for x in (mu, sigma))
    ranges = packed[:, :10].long().view(-1, 5, 2)
    return pooling(ranges[:, :3], ranges[:, 3:], segments, own_mu, own_sigma, frames), own_sigma


def contrastive_similarity_forward(
    features: Tensor,
    mask: Tensor,
    segments: Tensor,
    labels: Tensor,
    offsets: Tensor,
    mu: Tensor,
    sigma: Tensor,
    base: Tensor | None,
    delta: float,
    temperature: float,
    weight: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The loss in blocks of instances and of anchors, so that memory is linear in their number.

    Returns:
        base + weight loss (); loss (); unit vectors (3, G, D); stats (3, 3, G): one over their lengths, and the
        log-sum-exp over all keys and over the positives, infinite where an anchor has none and for the background;
        ranges (G, 12) as ``FrameRanges.pack``; count () of the anchors with a positive, at least 1.
    """
    dtype = compute_dtype(features)
    count, channels = len(segments), features.shape[2]
    stats = features.new_full((3, 3, count), math.inf, dtype=dtype)
    loss, anchors = features.new_zeros((), dtype=dtype), features.new_zeros((), dtype=dtype)
    if count == 0:
        vectors, packed = features.new_empty((3, 0, channels), dtype=dtype), labels.new_empty((0, 12)).int()
        return weighted_total(base, loss, weight), loss, vectors, stats, packed, anchors + 1
    segments = segments.to(dtype)
    ranges = frame_ranges(mask, segments, labels, offsets, mu, delta)
    packed = ranges.pack()
    flat = torch.where(mask[..., None], features.to(dtype), 0.0).flatten(0, 1)
    parts = []
    for b in _blocks(count, 3 * mask.numel()):
        block, _ = _pooling_of(packed[b], segments[b], labels[b], mu, sigma, mask.shape[1])
        parts.append(spread(block.weights(), ranges.video[b], len(mask)) @ flat)
    vectors, inverse = unit_vectors(torch.cat(parts).view(count, 3, channels).transpose(0, 1).contiguous())
    stats[0] = inverse[..., 0]

    keys, key_label = vectors.flatten(0, 1), vector_labels(ranges.state(), labels).flatten()
    index = torch.arange(len(keys), device=keys.device)
    for b in _blocks(2 * count, 2 * len(keys)):
        log_all, log_positive, counted = log_sums(
            *similarities(keys[b], index[b], key_label[b], keys, key_label, temperature)
        )
        loss += torch.where(counted, log_all - log_positive, 0.0).sum()
        anchors += counted.sum()
        stats[1].view(-1)[b] = torch.where(counted, log_all, math.inf)
        stats[2].view(-1)[b] = torch.where(counted, log_positive, math.inf)
    anchors = anchors.clamp(min=1)
    loss = loss / anchors
    return weighted_total(base, loss, weight), loss, vectors, stats, packed, anchors


def weighted_total(base: Tensor | None, loss: Tensor, weight: float) -> Tensor:
    """() in the dtype of ``loss``; without ``base`` nothing is added."""
    return weight * loss if base is None else torch.add(base.to(loss.dtype), loss, alpha=weight)


def loss_gradient(grad_total: Tensor | None, grad_loss: Tensor | None, weight: float) -> Tensor:
    """What reaches the loss () through ``base + weight loss`` and by itself; one of them may be absent."""
    if grad_total is None:
        assert grad_loss is not None
        return grad_loss
    through_total = weight * grad_total
    return through_total if grad_loss is None else through_total + grad_loss


def contrastive_similarity_backward(
    grad_total: Tensor | None,
    grad_loss: Tensor | None,
    features: Tensor,
    mask: Tensor,
    segments: Tensor,
    labels: Tensor,
    offsets: Tensor,
    mu: Tensor,
    sigma: Tensor,
    vectors: Tensor,
    stats: Tensor,
    ranges: Tensor,
    count: Tensor,
    temperature: float,
    weight: float,
    need_features: bool,
    need_gaussians: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of features, mu and sigma from what the forward saved, in the same blocks; (0,) where not needed.

    The similarity is symmetric, so what a vector receives as an anchor and as a key comes from one row of it.
    """
    dtype, (batch, frames, channels) = vectors.dtype, features.shape
    keys, key_label = vectors.flatten(0, 1), vector_labels(ranges[:, 11], labels).flatten()
    index = torch.arange(len(keys), device=keys.device)
    log_all, log_positive = stats[1].view(-1), stats[2].view(-1)
    grad_keys = torch.zeros_like(keys)
    for b in _blocks(2 * len(segments), 2 * len(keys)):
        among_all, among_positive = similarities(keys[b], index[b], key_label[b], keys, key_label, temperature)
        slope = (among_all - log_all[b, None]).exp() - (among_positive - log_positive[b, None]).exp()
        grad_keys[b] += slope @ keys
        grad_keys += slope.T @ keys[b]
    grad_keys *= loss_gradient(grad_total, grad_loss, weight) / (temperature * count)
    grad_vectors = stats[0].view(-1, 1) * (grad_keys - keys * (grad_keys * keys).sum(-1, keepdim=True))
    grad_vectors = grad_vectors.view(3, -1, channels).transpose(0, 1)

    grad_features = torch.zeros(batch * frames, channels, dtype=dtype, device=keys.device)
    grad_mu, grad_sigma = (torch.zeros(x.shape, dtype=dtype, device=x.device) for x in (mu, sigma))
    flat = torch.where(mask[..., None], features.to(dtype), 0.0).flatten(0, 1)
    segments, video = segments.to(dtype), ranges[:, 10].long()
    one_hot = torch.nn.functional.one_hot(labels, len(mu)).to(dtype)
    for b in _blocks(len(segments), 3 * mask.numel()):
        block, own_sigma = _pooling_of(ranges[b], segments[b], labels[b], mu, sigma, frames)
        if need_features:
            grad_features += spread(block.weights(), video[b], batch).T @ grad_vectors[b].flatten(0, 1)
        if need_gaussians:
            per_frame = (grad_vectors[b] @ flat.T).view(-1, 3, batch, frames)
            own_video = video[b][:, None, None, None].expand(-1, 3, 1, frames)
            slope = per_frame.gather(2, own_video)[:, :, 0] * block.share
            slope = torch.stack([slope[:, 0], slope[:, 1], slope[:, 1]], 1) * block.p * block.z
            grad_mu += one_hot[b].T @ (slope.sum(-1) / own_sigma)
            grad_sigma += one_hot[b].T @ ((slope * block.z).sum(-1) / own_sigma)
    grad_features = torch.where(mask[..., None], grad_features.view(features.shape), 0.0)
    return (
        grad_features.to(features.dtype) if need_features else features.new_empty(0),
        grad_mu.to(mu.dtype) if need_gaussians else mu.new_empty(0),
        grad_sigma.to(sigma.dtype) if need_gaussians else sigma.new_empty(0),
    )
