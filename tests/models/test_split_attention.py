# SPDX-License-Identifier: Apache-2.0
"""Half of the heads see what came before, half what comes after, and neither sees anything of the other side."""

from __future__ import annotations

import pytest
import torch

from asl_fast.models.attention import ConvAttention
from asl_fast.models.primitives import apply_mask

HEADS, DIM, LENGTH = 4, 16, 13


def make(window: int, *, relative: bool = False) -> ConvAttention:
    torch.manual_seed(0)
    return ConvAttention(
        DIM, HEADS, window=window, stride=1, relative_positions=relative, split_sides=True, dropout=0.0
    ).double()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(3, LENGTH, DIM, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x, torch.arange(LENGTH) < torch.tensor([[LENGTH], [5], [0]])


def projected(attention: ConvAttention, x: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    """Compute queries, keys and values (B, H, T, d)."""
    out = []
    for name in ("query", "key", "value"):
        conv, norm, linear = (getattr(attention, name + part) for part in ("_conv", "_norm", ""))
        out.append(attention._heads(linear(norm(apply_mask(conv(x), mask)))))
    return out


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("window", [0, 1, 5, 31])
def test_it_is_softmax_over_one_side(window: int, relative: bool) -> None:
    attention, (x, mask) = make(window, relative=relative), batch()
    found, _ = attention(x * mask.unsqueeze(-1), mask)
    q, k, v = projected(attention, x * mask.unsqueeze(-1), mask)
    out = torch.zeros_like(q)
    reach = window // 2 if window else LENGTH
    for b in range(len(x)):
        for h in range(HEADS):
            for t in range(int(mask[b].sum())):
                first, last = (t - reach, t) if h < HEADS // 2 else (t, t + reach)
                keys = [u for u in range(max(0, first), last + 1) if u < LENGTH and mask[b, u]]
                scores = torch.stack([q[b, h, t] @ k[b, h, u] for u in keys]) * (DIM // HEADS) ** -0.5
                if attention.relative_bias is not None:
                    scores = scores + torch.stack([attention.relative_bias[h, u - t + reach] for u in keys])
                out[b, h, t] = scores.softmax(0) @ v[b, h, keys]
    wanted = apply_mask(attention.projection(out.transpose(1, 2).flatten(2)), mask)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("window", [0, 7])
def test_the_other_side_has_exactly_no_part(window: int, dtype: torch.dtype) -> None:
    """A head's output has no gradient at all to values of the side that it does not see."""
    attention, (x, mask) = make(window).to(dtype), batch()
    x, mask = x.to(dtype), mask[:1].expand(3, -1)
    values: list[torch.Tensor] = []
    attention.value.register_forward_hook(lambda module, given, out: values.append(out))  # type: ignore[arg-type]
    heads: list[torch.Tensor] = []
    attention.projection.register_forward_pre_hook(lambda module, given: heads.append(given[0]))  # type: ignore[arg-type]
    attention(x, mask)
    at, size = LENGTH // 2, DIM // HEADS
    for head in range(HEADS):
        channels = slice(head * size, (head + 1) * size)
        (grad,) = torch.autograd.grad(heads[0][0, at, channels].sum(), values[0], retain_graph=True)
        seen = (grad[0] != 0).any(-1).nonzero().flatten().tolist()
        reach = window // 2 if window else LENGTH
        past = list(range(max(0, at - reach), at + 1))
        assert seen == (past if head < HEADS // 2 else list(range(at, min(LENGTH, at + reach + 1))))
        assert torch.isfinite(grad).all()


def test_gradients_are_finite_and_padding_has_none() -> None:
    for window in (0, 5):
        attention, (x, mask) = make(window, relative=True), batch()
        x.requires_grad_()
        out, _ = attention(x, mask)
        out.square().sum().backward()
        assert x.grad is not None and torch.isfinite(x.grad).all()
        assert all(p.grad is None or bool(torch.isfinite(p.grad).all()) for p in attention.parameters())
        assert not out[~mask].any()
