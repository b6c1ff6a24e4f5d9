# SPDX-License-Identifier: Apache-2.0
"""Action Sensitive Contrastive Loss in plain PyTorch (Shao et al., ICCV 2023, section 3.3)."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from asl_fast.reference import _outputs
from asl_fast.reference._contrastive_similarity_frames import (
    frame_ranges,
    instance_vectors,
    pooling_of,
    real_labels,
    seen,
    spread,
)
from asl_fast.reference._contrastive_similarity_info_nce import (
    info_nce,
    log_sums,
    similarities,
    unit_vectors,
    vector_labels,
)
from asl_fast.reference._precision import compute_dtype

# Elements of one (instances x frames) or (anchors x keys) block.
BLOCK_ELEMENTS = 1 << 22
# Of at most so many instances a forward pass on a GPU may keep the similarities: 38 MB, which its cache holds.
KEPT_INSTANCES = 1024


class Outputs(NamedTuple):
    """The loss, and what the backward pass needs; floating in float32, or float64 if the features are.

    Attributes:
        total: () base + weight * loss.
        loss: ().
        vectors: (3, G, D) unit vectors f_cls, f_loc and f_bg.
        stats: (3, 3, G) of each vector one over its length, and the log-sum-exp over all keys and over the positives,
            infinite where an anchor has none and for the background.
        ranges: (G, 12) int32, ``FrameRanges.pack``.
        anchors: () number of the anchors with a positive, at least 1.
        similarities: (3 G + 3, 3 G rounded up to 32) what Triton keeps for its own backward pass: cosines over
            temperature, and three rows of what else slopes are made of; infinite from others. (0,) if not asked for.

    Padding has vectors of 0 (one over their length, too), infinite sums and a row of ``ranges`` that takes no part.
    """

    total: Tensor
    loss: Tensor
    vectors: Tensor
    stats: Tensor
    ranges: Tensor
    anchors: Tensor
    similarities: Tensor

    def leave_similarities(self) -> None:
        """Say that they were not kept, where no backward pass looks at them."""
        if self.similarities.numel():
            self.similarities.fill_(math.inf)

    def take(self, computed: Outputs, videos: int) -> None:
        """Take over what was computed of the instances that take part; the others are padding."""
        count = computed.ranges.shape[0]
        for whole, part in ((self.total, computed.total), (self.loss, computed.loss), (self.anchors, computed.anchors)):
            whole.copy_(part)
        self.vectors[:, :count] = computed.vectors
        self.vectors[:, count:] = 0
        self.stats[..., :count] = computed.stats
        self.stats[0, :, count:] = 0
        self.stats[1:, :, count:] = math.inf
        self.ranges[:count] = computed.ranges
        self.ranges[count:] = torch.tensor([0, -1] * 5 + [videos - 1, 0], dtype=torch.int32)
        self.leave_similarities()


class Operands(NamedTuple):
    """What the op takes; :func:`asl_fast.contrastive_similarity_loss` explains the tensors and numbers.

    Attributes:
        features: (B, T, D).
        mask: (B, T) bool.
        segments: (G, 2) start and end of every instance, in frames of ``features``.
        labels: (G,) int64.
        video_offsets: (B + 1,) int64 rows of ``segments`` where each video begins, and at most G: where the last one
            ends. What follows is padding and takes no part, whatever it holds.
        mu: (C, 3).
        sigma: (C, 3).
        base: () what ``weight`` times the loss is added to, or None: nothing.
        delta: Half width of the ranges, in instance lengths.
        keep_similarities: Keep them for the backward pass, if there are at most ``KEPT_INSTANCES`` rows of segments.
    """

    features: Tensor
    mask: Tensor
    segments: Tensor
    labels: Tensor
    video_offsets: Tensor
    mu: Tensor
    sigma: Tensor
    base: Tensor | None
    delta: float
    temperature: float
    weight: float
    keep_similarities: bool

    def outputs(self) -> Outputs:
        """Return room for the results."""
        dtype, device = compute_dtype(self.features), self.features.device
        count, channels = self.segments.shape[0], self.features.shape[2]
        kept = self.keep_similarities and 0 < count <= KEPT_INSTANCES
        return Outputs(
            total=_outputs.empty((), dtype, device),
            loss=_outputs.empty((), dtype, device),
            vectors=_outputs.empty((3, count, channels), dtype, device),
            stats=_outputs.empty((3, 3, count), dtype, device),
            ranges=_outputs.empty((count, 12), torch.int32, device),
            anchors=_outputs.empty((), dtype, device),
            similarities=_outputs.empty_unless(kept, (3 * count + 3, -(-3 * count // 32) * 32), dtype, device),
        )

    def without_padding(self) -> Operands:
        """Return the operands of the instances that take part; of all on a GPU, where nothing is read back."""
        count = _taking_part(self.segments, self.video_offsets)
        if count == self.segments.shape[0]:
            return self
        return self._replace(segments=self.segments[:count], labels=self.labels[:count])

    def instance_vectors(self) -> tuple[Tensor, Tensor]:
        """Return vectors (3 G, D), with their graph, and their labels (3 G,): see :func:`instance_vectors`."""
        operands = (self.features, self.mask, self.segments, self.labels, self.video_offsets, self.mu, self.sigma)
        return instance_vectors(*operands, self.delta)

    def write_total(self, found: Outputs) -> None:
        """Write ``base + weight * loss`` once the loss is there."""
        if self.base is None:
            torch.mul(found.loss, self.weight, out=found.total)
        else:
            torch.add(self.base.to(found.loss.dtype), found.loss, alpha=self.weight, out=found.total)

    def backward(
        self,
        found: Outputs,
        *,
        grad_total: Tensor | None,
        grad_loss: Tensor | None,
        need_features: bool = True,
        need_gaussians: bool = True,
    ) -> BackwardOperands:
        """Return what the backward op takes after this call, which has found ``found``."""
        return BackwardOperands(
            grad_total=grad_total,
            grad_loss=grad_loss,
            features=self.features,
            mask=self.mask,
            segments=self.segments,
            labels=self.labels,
            video_offsets=self.video_offsets,
            mu=self.mu,
            sigma=self.sigma,
            vectors=found.vectors,
            stats=found.stats,
            ranges=found.ranges,
            anchors=found.anchors,
            similarities=found.similarities,
            temperature=self.temperature,
            weight=self.weight,
            need_features=need_features,
            need_gaussians=need_gaussians,
        )


class BackwardOutputs(NamedTuple):
    """Gradients in shape and dtype of what they belong to, of shape (0,) where they are not needed."""

    grad_features: Tensor
    grad_mu: Tensor
    grad_sigma: Tensor

    def in_dtype(self, dtype: torch.dtype) -> BackwardOutputs:
        """Return room to compute them in one dtype: themselves where it is theirs."""
        return BackwardOutputs(*[x if x.dtype == dtype else _outputs.empty(x.shape, dtype, x.device) for x in self])

    def take(self, computed: BackwardOutputs) -> None:
        """Take over what was computed in that room."""
        for gradient, values in zip(self, computed, strict=True):
            if values is not gradient:
                gradient.copy_(values)


class BackwardOperands(NamedTuple):
    """What the backward op takes: operands and outputs of the forward pass, and the gradients that arrive.

    Attributes:
        grad_total: () or None: nothing arrives there.
        grad_loss: () or None; not both are None.
        need_features: Whether the gradient of the features is needed.
        need_gaussians: Likewise of mu or sigma.
    """

    grad_total: Tensor | None
    grad_loss: Tensor | None
    features: Tensor
    mask: Tensor
    segments: Tensor
    labels: Tensor
    video_offsets: Tensor
    mu: Tensor
    sigma: Tensor
    vectors: Tensor
    stats: Tensor
    ranges: Tensor
    anchors: Tensor
    similarities: Tensor
    temperature: float
    weight: float
    need_features: bool
    need_gaussians: bool

    def outputs(self) -> BackwardOutputs:
        """Return room for the gradients."""

        def like(tensor: Tensor, needed: bool) -> Tensor:
            return _outputs.empty_unless(needed, tensor.shape, tensor.dtype, tensor.device)

        return BackwardOutputs(
            grad_features=like(self.features, self.need_features),
            grad_mu=like(self.mu, self.need_gaussians),
            grad_sigma=like(self.sigma, self.need_gaussians),
        )

    def without_padding(self) -> BackwardOperands:
        """Return the operands of the instances that take part; of all on a GPU, where nothing is read back."""
        count = _taking_part(self.segments, self.video_offsets)
        if count == self.segments.shape[0]:
            return self
        return self._replace(
            segments=self.segments[:count],
            labels=self.labels[:count],
            vectors=self.vectors[:, :count],
            stats=self.stats[..., :count],
            ranges=self.ranges[:count],
        )

    def loss_gradient(self) -> Tensor:
        """Return what reaches the loss (), through ``base + weight * loss`` and by itself."""
        if self.grad_total is None:
            assert self.grad_loss is not None
            return self.grad_loss
        through_total = self.weight * self.grad_total
        return through_total if self.grad_loss is None else through_total + self.grad_loss


def leave_out_padding(compute: Callable[[Operands], Outputs]) -> Callable[[Operands], Outputs]:
    """Decorate an implementation of the forward pass on the CPU, so that it meets no padding."""

    @functools.wraps(compute)
    def run(given: Operands) -> Outputs:
        taking_part = given.without_padding()
        if taking_part is given:
            return compute(given)
        found = given.outputs()
        found.take(compute(taking_part), given.mask.shape[0])
        return found

    return run


def plain_loss(given: Operands) -> Tensor:
    """Return the loss () for automatic differentiation; holds (3 G, B T) and, of up to 2,048 vectors, (3 G, 3 G)."""
    return info_nce(*given.instance_vectors(), given.temperature)


@leave_out_padding
def contrastive_similarity_loss(given: Operands) -> Outputs:
    """Compute the loss in blocks of instances and of anchors, so that memory is linear in their number."""
    found = given.outputs()
    count, dtype = given.segments.shape[0], found.loss.dtype
    found.loss.zero_()
    if count == 0:
        found.anchors.fill_(1)
        given.write_total(found)
        return found
    found.leave_similarities()
    labels = real_labels(given.labels, given.video_offsets)
    given = given._replace(segments=given.segments.to(dtype), labels=labels)
    ranges = frame_ranges(given.mask, given.segments, given.labels, given.video_offsets, given.mu, given.delta)
    found.ranges.copy_(ranges.pack())
    frames = seen(given.features.to(dtype), found.ranges)
    parts = []
    for b in _blocks(count, 3 * given.mask.numel()):
        own = given.segments[b], given.labels[b], given.mu, given.sigma, found.ranges[b]
        weights = pooling_of(*own, given.mask.shape[1])[0].weights()
        parts.append(spread(weights, ranges.video[b], given.mask.shape[0]) @ frames)
    pooled = torch.cat(parts).view(count, 3, given.features.shape[2]).transpose(0, 1).contiguous()
    vectors, inverse = unit_vectors(pooled)
    found.vectors.copy_(vectors)
    found.stats.fill_(math.inf)
    found.stats[0] = inverse[..., 0]

    keys, key_label = vectors.flatten(0, 1), vector_labels(ranges.state(), given.labels).flatten()
    index = torch.arange(3 * count, device=keys.device)
    log_sums_all, log_sums_positive = found.stats[1:].view(2, -1)
    found.anchors.zero_()
    for b in _blocks(2 * count, 6 * count):
        log_all, log_positive, counted = log_sums(
            *similarities(keys[b], index[b], key_label[b], keys, key_label, given.temperature)
        )
        found.loss.add_(torch.where(counted, log_all - log_positive, 0.0).sum())
        found.anchors.add_(counted.sum())
        log_sums_all[b] = torch.where(counted, log_all, math.inf)
        log_sums_positive[b] = torch.where(counted, log_positive, math.inf)
    found.anchors.clamp_(min=1)
    found.loss.div_(found.anchors)
    given.write_total(found)
    return found


def contrastive_similarity_loss_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute gradients of features, mu and sigma from what the forward pass saved, in the same blocks.

    The similarity is symmetric, so what a vector receives as an anchor and as a key comes from one row of it.
    """
    given = given.without_padding()
    found = given.outputs()
    given = given._replace(labels=real_labels(given.labels, given.video_offsets))
    dtype, (batch, frames, channels) = given.vectors.dtype, given.features.shape
    keys, key_label = given.vectors.flatten(0, 1), vector_labels(given.ranges[:, 11], given.labels).flatten()
    index = torch.arange(len(keys), device=keys.device)
    log_all, log_positive = given.stats[1].flatten(), given.stats[2].flatten()
    grad_keys = torch.zeros_like(keys)
    for b in _blocks(2 * len(given.segments), 2 * len(keys)):
        among_all, among_positive = similarities(keys[b], index[b], key_label[b], keys, key_label, given.temperature)
        slope = (among_all - log_all[b, None]).exp() - (among_positive - log_positive[b, None]).exp()
        grad_keys[b] += slope @ keys
        grad_keys += slope.T @ keys[b]
    grad_keys *= given.loss_gradient() / (given.temperature * given.anchors)
    grad_vectors = given.stats[0].reshape(-1, 1) * (grad_keys - keys * (grad_keys * keys).sum(-1, keepdim=True))
    grad_vectors = grad_vectors.view(3, -1, channels).transpose(0, 1)

    computed = found.in_dtype(dtype)
    grad_features, grad_mu, grad_sigma = (gradient.zero_() for gradient in computed)
    flat = seen(given.features.to(dtype), given.ranges)
    given = given._replace(segments=given.segments.to(dtype))
    video = given.ranges[:, 10].long()
    own_class = given.labels[:, None, None] == torch.arange(len(given.mu), device=given.mu.device)[:, None]
    for b in _blocks(len(given.segments), 3 * given.mask.numel()):
        own = given.segments[b], given.labels[b], given.mu, given.sigma, given.ranges[b]
        block, own_sigma = pooling_of(*own, frames)
        if given.need_features:
            of_frames = spread(block.weights(), video[b], batch).T @ grad_vectors[b].flatten(0, 1)
            grad_features += of_frames.view(batch, frames, channels)
        if given.need_gaussians:
            per_frame = (grad_vectors[b] @ flat.T).view(*grad_vectors[b].shape[:2], batch, frames)
            own_video = video[b][:, None, None, None].expand(-1, 3, 1, frames)
            slope = per_frame.gather(2, own_video)[:, :, 0] * block.share
            slope = torch.stack([slope[:, 0], slope[:, 1], slope[:, 1]], 1) * block.p * block.z
            # A product with zeros would carry NaN, of a Gaussian without width, into the other classes.
            for gradient, slopes in ((grad_mu, slope), (grad_sigma, slope * block.z)):
                gradient += torch.where(own_class[b], (slopes.sum(-1) / own_sigma)[:, None], 0.0).sum(0)
    if given.need_features:
        grad_features.masked_fill_(~given.mask[..., None], 0.0)
    found.take(computed)
    return found


def _taking_part(segments: Tensor, video_offsets: Tensor) -> int:
    return segments.shape[0] if segments.is_cuda else int(video_offsets[-1])


def _blocks(count: int, elements_each: int) -> Iterator[slice]:
    size = max(1, BLOCK_ELEMENTS // max(1, elements_each))
    return (slice(first, min(first + size, count)) for first in range(0, count, size))
