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
    """Two sizes of head, one of them with a bias, and a wide window; nothing in float64, which no kernel takes."""
    if size.dtype == torch.float64:
        return []
    found = []
    mask = torch.ones(size.videos, size.rows, dtype=torch.bool)
    for name, channels, window, with_bias in (
        ("attention-64", 64, 19, True),
        ("attention-128", 128, 19, False),
        ("attention-wide", 64, 65, True),
        ("attention-128-wide", 128, 65, False),
    ):
        # Heads beside each other within a position, as those of a projection are.
        q = torch.zeros(size.videos, size.rows, 4, channels, dtype=size.dtype).transpose(1, 2)
        bias = torch.zeros(4, window, dtype=size.dtype) if with_bias else None
        given = Operands(q=q, k=q, v=q, mask=mask, bias=bias, window=window)
        back = BackwardOperands(grad=q, out=q, lse=torch.zeros(size.videos, 4, size.rows), **given._asdict())
        found.append(Call(f"{name}-{size.name}", "local_attention", given))
        found.append(Call(f"{name}-backward-{size.name}", "local_attention_backward", back))
    return found
