# SPDX-License-Identifier: Apache-2.0
"""Windowed attention as a graph of plain operators that holds for every length, which is what an exported model needs.

While ``torch.export`` traces, the length is a symbol: nothing may be asked of it, as what holds for some lengths alone
would make another graph. The products of chunks that run elsewhere ask how many chunks there are, and whether the last
is full. Here a chunk is as large as is known to divide the length whatever it is.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNKS = (32, 16, 8, 4, 2, 1)


def exported_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, radius: int, bias: Tensor | None) -> Tensor:
    """Attend within ``radius`` positions on both sides; see :func:`asl_fast.ops.local_attention.local_attention`."""
    chunk = _known_divisor(q.shape[2])
    around = -(-radius // chunk)  # chunks of keys on either side of a chunk of queries
    row = torch.arange(chunk, device=q.device).unsqueeze(1)
    shift = torch.arange((2 * around + 1) * chunk, device=q.device) - around * chunk - row  # key minus query position
    valid = _with_neighbours(mask.to(q.dtype)[:, None, :, None], chunk, around).squeeze(-1).unsqueeze(3) > 0
    allowed = (shift.abs() <= radius) & valid  # (B, 1, n, c, keys)
    scores = torch.unflatten(q * q.shape[-1] ** -0.5, 2, (-1, chunk)) @ _with_neighbours(k, chunk, around).transpose(
        -1, -2
    )
    if bias is not None:
        scores = scores + bias[:, shift.clamp(-radius, radius) + radius].unsqueeze(1).to(q.dtype)
    weights = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min).softmax(-1)
    out: Tensor = (weights @ _with_neighbours(v, chunk, around)).flatten(2, 3)
    return out * mask[:, None, :, None].to(out.dtype)


def _known_divisor(length: int) -> int:
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return next(chunk for chunk in CHUNKS if statically_known_true(length % chunk == 0))


def _with_neighbours(x: Tensor, chunk: int, around: int) -> Tensor:
    """Cut positions (B, H, n * c, d) into chunks and ``around`` chunks more on both sides: (B, H, n, keys, d)."""
    length, edge = x.shape[2], around * chunk
    wide = F.pad(x, (0, 0, edge, edge))
    shifted = [wide[:, :, first : first + length] for first in range(0, 2 * edge + 1, chunk)]
    return torch.cat([torch.unflatten(part, 2, (-1, chunk)) for part in shifted], dim=3)
