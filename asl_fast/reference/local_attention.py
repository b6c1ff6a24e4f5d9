# SPDX-License-Identifier: Apache-2.0
"""Windowed self-attention, spelled out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def local_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, window: int, bias: Tensor | None = None
) -> Tensor:
    """Softmax attention of every position over the ``window`` around it; see :mod:`asl_fast.ops.local_attention`."""
    radius = window // 2
    keys = F.pad(k, (0, 0, radius, radius)).unfold(2, window, 1)  # (B, H, T, d, w)
    values = F.pad(v, (0, 0, radius, radius)).unfold(2, window, 1)
    valid = F.pad(mask, (radius, radius)).unfold(1, window, 1)[:, None]  # (B, 1, T, w)
    scores = torch.einsum("bhtd,bhtdw->bhtw", q * q.shape[-1] ** -0.5, keys)
    if bias is not None:
        scores = scores + bias[None, :, None, :]
    # The lowest finite score: minus infinity would turn a query without any valid key into NaN, in its gradient too.
    weights = scores.masked_fill(~valid, torch.finfo(scores.dtype).min).softmax(-1)
    return torch.einsum("bhtw,bhtdw->bhtd", weights, values) * mask[:, None, :, None].to(v.dtype)


def local_attention_with_lse(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, bias: Tensor | None, window: int
) -> tuple[Tensor, Tensor]:
    """The registered op: the result, and the log of the sum that normalises each query, float32, 0 where invalid."""
    scores = _scores(q, k, mask, bias, window)
    weights = scores.softmax(-1)
    values = _neighbours(v, window // 2)
    out = sum(weights[..., w, None] * values[:, :, w : w + q.shape[2]] for w in range(window))
    lse = torch.where(mask[:, None], scores.logsumexp(-1), 0.0)
    return (out * mask[:, None, :, None]).to(q.dtype).contiguous(), lse.float().contiguous()


def local_attention_backward(
    grad: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor,
    bias: Tensor | None,
    out: Tensor,
    lse: Tensor,
    window: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v and bias, (0,) without one: dS = P (dP - sum P dP), summed over queries for the keys."""
    radius, length, scale = window // 2, q.shape[2], q.shape[-1] ** -0.5
    weights = _scores(q, k, mask, bias, window).softmax(-1)  # (B, H, T, w)
    wide = weights.dtype
    grad = grad.to(wide) * mask[:, None, :, None]
    keys, values = _neighbours(k.to(wide), radius), _neighbours(v.to(wide), radius)
    slices = [slice(w, w + length) for w in range(window)]
    grad_weights = torch.stack([(grad * values[:, :, at]).sum(-1) for at in slices], -1)
    grad_scores = weights * (grad_weights - (weights * grad_weights).sum(-1, keepdim=True))
    grad_q, grad_k, grad_v = torch.zeros_like(q, dtype=wide), torch.zeros_like(keys), torch.zeros_like(values)
    for w, at in enumerate(slices):
        slope = grad_scores[..., w, None] * scale
        grad_q += slope * keys[:, :, at]
        grad_k[:, :, at] += slope * q.to(wide)
        grad_v[:, :, at] += weights[..., w, None] * grad
    inner = slice(radius, radius + length)
    grad_bias = q.new_empty(0) if bias is None else grad_scores.sum((0, 2)).to(bias.dtype)
    grads = [x.to(q.dtype).contiguous() for x in (grad_q, grad_k[:, :, inner], grad_v[:, :, inner])]
    return grads[0], grads[1], grads[2], grad_bias


def _neighbours(x: Tensor, radius: int) -> Tensor:
    """(B, H, T + 2 radius, d): zeros beyond both ends."""
    return F.pad(x, (0, 0, radius, radius))


def _scores(q: Tensor, k: Tensor, mask: Tensor, bias: Tensor | None, window: int) -> Tensor:
    """(B, H, T, w) float32 or wider; very negative where the key is invalid, so that softmax stays finite."""
    wide = torch.promote_types(q.dtype, torch.float32)
    radius, length = window // 2, q.shape[2]
    keys = _neighbours(k.to(wide), radius)
    query = q.to(wide) * q.shape[-1] ** -0.5
    scores = torch.stack([(query * keys[:, :, w : w + length]).sum(-1) for w in range(window)], -1)
    if bias is not None:
        scores = scores + bias[None, :, None, :].to(wide)
    valid = F.pad(mask, (radius, radius)).unfold(1, window, 1)[:, None]
    return scores.masked_fill(~valid, torch.finfo(wide).min)
