# SPDX-License-Identifier: Apache-2.0
"""Windowed self-attention, spelled out."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from asl_fast.reference import _outputs


class Outputs(NamedTuple):
    """The attended values, and what the backward pass needs to know about the scores.

    Attributes:
        out: (B, H, T, d) in the dtype of q, in memory as q lies there; 0 at invalid positions.
        lse: (B, H, T) float32, log of the sum that normalises each query; 0 at invalid positions.
    """

    out: Tensor
    lse: Tensor


class Operands(NamedTuple):
    """What the op takes.

    Attributes:
        q: (B, H, T, d) queries; k and v likewise.
        mask: (B, T) bool, True where valid.
        bias: (H, window), added to the scores by relative position, oldest key first; or None.
        window: Odd number of positions.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor
    bias: Tensor | None
    window: int

    def outputs(self) -> Outputs:
        """Return room for the results."""
        q = self.q
        return Outputs(
            out=_like(q),
            lse=_outputs.empty(q.shape[:-1], torch.float32, q.device),
        )


class BackwardOutputs(NamedTuple):
    """Gradients.

    Attributes:
        grad_q: (B, H, T, d) in the dtype of q, in memory as q lies there; grad_k and grad_v likewise.
        grad_bias: (H, window) in the dtype of bias, or (0,) where there is none.
    """

    grad_q: Tensor
    grad_k: Tensor
    grad_v: Tensor
    grad_bias: Tensor


class BackwardOperands(NamedTuple):
    """What the backward pass takes.

    Attributes:
        grad: (B, H, T, d) gradient of ``out``.
        q: As in :class:`Operands`, like the others.
        out: (B, H, T, d) from the forward pass.
        lse: (B, H, T) likewise.
    """

    grad: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor
    bias: Tensor | None
    out: Tensor
    lse: Tensor
    window: int

    @property
    def forward(self) -> Operands:
        """What the forward pass took."""
        return Operands(q=self.q, k=self.k, v=self.v, mask=self.mask, bias=self.bias, window=self.window)

    def outputs(self) -> BackwardOutputs:
        """Return room for the gradients."""
        q = self.q
        like = q.new_empty(0) if self.bias is None else self.bias
        grad_bias = _outputs.empty(like.shape, like.dtype, q.device)
        return BackwardOutputs(grad_q=_like(q), grad_k=_like(q), grad_v=_like(q), grad_bias=grad_bias)


def _like(q: Tensor) -> Tensor:
    """Return room for a tensor like q without gaps: by position where all heads of a position lie together in q.

    The heads of a projection (B, T, H * d) do, and the result and the gradients are then what the products before and
    behind the attention take, without a copy.
    """
    batch, heads, length, dim = q.shape
    if q.stride(1) < q.stride(2):
        return _outputs.empty((batch, length, heads, dim), q.dtype, q.device).transpose(1, 2)
    return _outputs.empty(q.shape, q.dtype, q.device)


def unfolded_attention(given: Operands) -> Tensor:
    """Attend from every position over the ``window`` around it, as the formula says; differentiable.

    See :mod:`asl_fast.ops.local_attention`.
    """
    q, window, radius = given.q, given.window, given.window // 2
    keys = F.pad(given.k, (0, 0, radius, radius)).unfold(2, window, 1)  # (B, H, T, d, w)
    values = F.pad(given.v, (0, 0, radius, radius)).unfold(2, window, 1)
    valid = F.pad(given.mask, (radius, radius)).unfold(1, window, 1)[:, None]  # (B, 1, T, w)
    scores = torch.einsum("bhtd,bhtdw->bhtw", q * q.shape[-1] ** -0.5, keys)
    if given.bias is not None:
        scores = scores + given.bias[None, :, None, :]
    # The lowest finite score: minus infinity would turn a query without any valid key into NaN, in its gradient too.
    weights = scores.masked_fill(~valid, torch.finfo(scores.dtype).min).softmax(-1)
    return torch.einsum("bhtw,bhtdw->bhtd", weights, values) * given.mask[:, None, :, None].to(given.v.dtype)


def local_attention(given: Operands) -> Outputs:
    """Walk over the window, without unfolded keys and values, which are ``window`` times as large."""
    scores, mask, length = _scores(given), given.mask[:, None], given.q.shape[2]
    weights = scores.softmax(-1)
    values = _neighbours(given.v, given.window // 2)
    out = sum(weights[..., w, None] * values[:, :, w : w + length] for w in range(given.window))
    found = given.outputs()
    found.out.copy_(out * mask[..., None])
    found.lse.copy_(torch.where(mask, scores.logsumexp(-1), 0.0))
    return found


def local_attention_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute the gradients: dS = P (dP - sum P dP), summed over queries for the keys."""
    q, bias, window, radius = given.q, given.bias, given.window, given.window // 2
    length, scale = q.shape[2], q.shape[-1] ** -0.5
    weights = _scores(given.forward).softmax(-1)  # (B, H, T, w)
    wide = weights.dtype
    grad = given.grad.to(wide) * given.mask[:, None, :, None]
    keys, values = _neighbours(given.k.to(wide), radius), _neighbours(given.v.to(wide), radius)
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
    found = given.outputs()
    found.grad_q.copy_(grad_q)
    found.grad_k.copy_(grad_k[:, :, inner])
    found.grad_v.copy_(grad_v[:, :, inner])
    if bias is not None:
        found.grad_bias.copy_(grad_scores.sum((0, 2)))
    return found


def _neighbours(x: Tensor, radius: int) -> Tensor:
    """Pad x to (B, H, T + 2 radius, d) with zeros beyond both ends."""
    return F.pad(x, (0, 0, radius, radius))


def _scores(given: Operands) -> Tensor:
    """Return (B, H, T, w) float32 or wider; very negative where the key is invalid, so that softmax stays finite."""
    wide = torch.promote_types(given.q.dtype, torch.float32)
    window, radius, length = given.window, given.window // 2, given.q.shape[2]
    keys = _neighbours(given.k.to(wide), radius)
    query = given.q.to(wide) * given.q.shape[-1] ** -0.5
    scores = torch.stack([(query * keys[:, :, w : w + length]).sum(-1) for w in range(window)], -1)
    if given.bias is not None:
        scores = scores + given.bias[None, :, None, :].to(wide)
    valid = F.pad(given.mask, (radius, radius)).unfold(1, window, 1)[:, None]
    return scores.masked_fill(~valid, torch.finfo(wide).min)
