# SPDX-License-Identifier: Apache-2.0
"""asl_fast::contrastive_similarity_loss and its backward by the CUDA module, in two launches each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from asl_fast.kernels.launch_counter import counter
from asl_fast.ops import _buffers
from asl_fast.ops._buffers import address, view
from asl_fast.ops._contrastive_similarity_inputs import contiguous_inputs
from asl_fast.reference._precision import compute_dtype


def _tensors(features: Tensor, *others: Tensor) -> Any:
    """The call's tensors as the module takes them: mask, segments ... count; the caller keeps them alive."""
    batch, frames, channels = features.shape
    return _buffers.cuda_module().ContrastiveBuffers(
        features=view(features),
        at=[address(tensor) for tensor in others],
        sizes=[batch, frames, channels, len(others[1]), len(others[4])],
    )


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
    """The op's schema; scratch memory linear in the number of instances."""
    dtype, count, device = compute_dtype(features), len(segments), features.device
    total, loss, anchors = (_buffers.empty((), dtype, device) for _ in range(3))
    vectors = _buffers.empty((3, count, features.shape[2]), dtype, device)
    stats = _buffers.empty((3, 3, count), dtype, device)
    ranges = _buffers.empty((count, 12), torch.int32, device)
    if count == 0:
        total = total.zero_() if base is None else total.copy_(base)
        return total, loss.zero_(), vectors, stats, ranges, anchors.fill_(1)
    given = contiguous_inputs(features, mask, segments, labels, offsets, mu, sigma)
    base = None if base is None else base.to(dtype)
    module = _buffers.cuda_module()
    parts = _buffers.empty((module.contrastive_similarity_parts(count, dtype == torch.float64),), dtype, device)
    with _buffers.on_device_of(features):
        module.contrastive_similarity_forward(
            buffers=_tensors(*given, vectors, stats, ranges, anchors),
            delta=delta,
            temperature=temperature,
            base=address(base),
            weight=weight,
            parts=address(parts),
            counter=address(counter(features)),
            out_total=address(total),
            out_loss=address(loss),
            stream=_buffers.stream(features),
        )
    return total, loss, vectors, stats, ranges, anchors


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
    """The schema of the backward op: gradients of features, mu and sigma, (0,) where not needed."""
    instances, device = len(segments), features.device
    grad_features = _buffers.empty(features.shape if need_features else (0,), features.dtype, device)
    grad_mu, grad_sigma = (_buffers.empty(x.shape if need_gaussians else (0,), x.dtype, device) for x in (mu, sigma))
    if instances == 0:
        return grad_features.zero_(), grad_mu.zero_(), grad_sigma.zero_()
    given = contiguous_inputs(features, mask, segments, labels, offsets, mu, sigma)
    saved = [x.contiguous() for x in (vectors, stats, ranges, count)]
    grad_vectors = _buffers.empty(vectors.shape, vectors.dtype, device)
    each = _buffers.empty((instances if need_gaussians else 0, 6), vectors.dtype, device)
    with _buffers.on_device_of(features):
        _buffers.cuda_module().contrastive_similarity_backward(
            buffers=_tensors(*given, *saved),
            grad_total=view(grad_total),
            grad_loss=view(grad_loss),
            temperature=temperature,
            weight=weight,
            grad_vectors=address(grad_vectors),
            each=address(each) if need_gaussians else 0,
            counter=address(counter(features)),
            out_grad_features=address(grad_features) if need_features else 0,
            out_grad_mu=view(grad_mu) if need_gaussians else (0, 0),
            out_grad_sigma=view(grad_sigma) if need_gaussians else (0, 0),
            stream=_buffers.stream(features),
        )
    return grad_features, grad_mu, grad_sigma
