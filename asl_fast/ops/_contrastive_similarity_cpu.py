# SPDX-License-Identifier: Apache-2.0
"""asl_fast::contrastive_similarity_loss and its backward by the C++ module."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from asl_fast.ops._buffers import address, cpu_module, view
from asl_fast.ops._contrastive_similarity_inputs import contiguous_inputs
from asl_fast.reference._precision import compute_dtype
from asl_fast.reference.contrastive_similarity import loss_gradient, weighted_total


def _tensors(features: Tensor, *others: Tensor) -> Any:
    """The call's tensors as the module takes them: mask, segments ... count; the caller keeps them alive."""
    batch, frames, channels = features.shape
    return cpu_module().ContrastiveTensors(
        features=view(features),
        at=[address(tensor) for tensor in others],
        sizes=[batch, frames, channels, len(others[1]), len(others[4])],
        is_double=compute_dtype(features) == torch.float64,
        threads=torch.get_num_threads(),
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
    """The op's schema; threads as many as ``torch.get_num_threads()``, over instances and blocks of anchors."""
    dtype, count = compute_dtype(features), len(segments)
    loss, anchors = torch.empty((), dtype=dtype), torch.empty((), dtype=dtype)
    vectors = torch.empty((3, count, features.shape[2]), dtype=dtype)
    stats, ranges = torch.empty((3, 3, count), dtype=dtype), torch.empty((count, 12), dtype=torch.int32)
    if count == 0:
        loss.zero_()
        anchors.fill_(1)
    else:
        given = contiguous_inputs(features, mask, segments, labels, offsets, mu, sigma)
        cpu_module().contrastive_similarity_forward(
            tensors=_tensors(*given, vectors, stats, ranges, anchors),
            delta=delta,
            temperature=temperature,
            out_loss=address(loss),
        )
    return weighted_total(base, loss, weight), loss, vectors, stats, ranges, anchors


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
    dtype = vectors.dtype
    grad_features = torch.empty(features.shape if need_features else (0,), dtype=dtype)
    grad_mu, grad_sigma = (torch.empty(x.shape if need_gaussians else (0,), dtype=dtype) for x in (mu, sigma))
    if len(segments) == 0:
        for gradient in (grad_features, grad_mu, grad_sigma):
            gradient.zero_()
    else:
        given = contiguous_inputs(features, mask, segments, labels, offsets, mu, sigma)
        saved = [x.contiguous() for x in (vectors, stats, ranges, count)]
        cpu_module().contrastive_similarity_backward(
            tensors=_tensors(*given, *saved),
            grad=float(loss_gradient(grad_total, grad_loss, weight)),
            temperature=temperature,
            out_grad_features=address(grad_features),
            out_grad_mu=address(grad_mu),
            out_grad_sigma=address(grad_sigma),
        )
    return grad_features.to(features.dtype), grad_mu.to(mu.dtype), grad_sigma.to(sigma.dtype)
