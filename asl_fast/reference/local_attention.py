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
