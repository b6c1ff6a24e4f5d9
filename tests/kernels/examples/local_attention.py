# SPDX-License-Identifier: Apache-2.0
"""Operands of local attention: one realistic call, and those that are compiled ahead of time."""

from __future__ import annotations

import torch

from asl_fast.reference.local_attention import BackwardOperands, Operands
from tests.kernels.examples._scene import POINTS, VIDEOS, Call, Size


def attention(generator: torch.Generator) -> Operands:
    """Window 9 over two sequences, one of them padded."""
    q, k, v = (torch.randn(VIDEOS, 2, POINTS, 16, generator=generator).requires_grad_() for _ in range(3))
    mask = torch.arange(POINTS) < torch.tensor([[POINTS], [POINTS - 31]])
    bias = torch.randn(2, 9, generator=generator).requires_grad_()
    return Operands(q=q, k=k, v=v, mask=mask, bias=bias, window=9)


def attention_backward(generator: torch.Generator) -> BackwardOperands:
    """Of the same."""
    given = attention(generator)
    given = given._replace(**{name: getattr(given, name).detach() for name in ("q", "k", "v", "bias")})
    out, lse = torch.ops.asl_fast.local_attention.default(*given)
    grad = torch.randn(given.q.shape, generator=generator)
    return BackwardOperands(grad=grad, out=out, lse=lse, **given._asdict())


EXAMPLES = {"local_attention": attention, "local_attention_backward": attention_backward}


def calls(size: Size) -> list[Call]:
    """Two sizes of head, one of them with a bias; nothing in float64, because attention is computed in float32."""
    if size.dtype == torch.float64:
        return []
    found = []
    window, mask = 19, torch.ones(size.videos, size.rows, dtype=torch.bool)
    for channels in (64, 128):
        q, lse = (
            torch.zeros(size.videos, 4, size.rows, channels, dtype=size.dtype),
            torch.zeros(size.videos, 4, size.rows),
        )
        bias = torch.zeros(4, window, dtype=size.dtype) if channels == 64 else None
        given = Operands(q=q, k=q, v=q, mask=mask, bias=bias, window=window)
        back = BackwardOperands(grad=q, out=q, lse=lse, **given._asdict())
        found.append(Call(f"attention-{channels}-{size.name}", "local_attention", given))
        found.append(Call(f"attention-{channels}-backward-{size.name}", "local_attention_backward", back))
    return found
