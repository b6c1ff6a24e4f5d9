# SPDX-License-Identifier: Apache-2.0
"""Windowed attention equals its reference and full attention where the window covers everything."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from asl_fast import backend
from asl_fast.ops.local_attention import local_attention
from asl_fast.reference import local_attention as registered
from asl_fast.reference.local_attention import BackwardOperands, Operands, unfolded_attention
from tests.drawing import draws
from tests.ops import checks


def reference(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor,
    *,
    window: int,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Apply the formula, called as the op is."""
    return unfolded_attention(Operands(q=q, k=k, v=v, mask=mask, bias=bias, window=window))


def inputs(batch: int, heads: int, length: int, dim: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, heads, length, dim, generator=generator, dtype=torch.float64) for _ in range(3)]


@settings(max_examples=draws(60), deadline=None)
@given(
    length=st.integers(1, 150),
    radius=st.integers(0, 40),
    with_bias=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_equals_reference(length: int, radius: int, with_bias: bool, seed: int) -> None:
    q, k, v = inputs(2, 2, length, 4, seed)
    window = 2 * radius + 1
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, length + 1, (2, 1), generator=generator)
    mask = torch.arange(length)[None] < lengths
    bias = torch.randn(2, window, generator=generator, dtype=torch.float64) if with_bias else None
    found = local_attention(q, k, v, mask, window=window, bias=bias)
    expected = reference(q, k, v, mask, window=window, bias=bias)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    assert not found.transpose(1, 2)[~mask].any()


def test_wide_window_is_full_attention() -> None:
    q, k, v = inputs(2, 3, 20, 8)
    mask = torch.arange(20)[None] < torch.tensor([[20], [13]])
    found = local_attention(q, k, v, mask, window=39)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
    torch.testing.assert_close(found.transpose(1, 2)[mask], expected.transpose(1, 2)[mask], atol=1e-12, rtol=1e-12)


def test_gradients() -> None:
    q, k, v = (x.requires_grad_() for x in inputs(1, 2, 7, 3))
    bias = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(7)[None] < 5
    assert torch.autograd.gradcheck(lambda *x: local_attention(*x[:3], mask, window=5, bias=x[3]), (q, k, v, bias))


def test_sequence_without_valid_position_is_zero_with_finite_gradients() -> None:
    q, k, v = (x.requires_grad_() for x in inputs(1, 1, 6, 2))
    mask = torch.zeros(1, 6, dtype=torch.bool)
    for implementation in (local_attention, reference):
        out = implementation(q, k, v, mask, window=3)
        assert not out.any()
        for gradient in torch.autograd.grad(out.sum(), (q, k, v)):
            assert torch.isfinite(gradient).all()


def test_bad_arguments() -> None:
    q, k, v = inputs(1, 2, 6, 4)
    mask = torch.ones(1, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match="odd"):
        local_attention(q, k, v, mask, window=4)
    with pytest.raises(ValueError, match=r"mask \(B, T\)"):
        local_attention(q, k[:, :, :5], v, mask, window=3)
    with pytest.raises(ValueError, match="bias must have shape"):
        local_attention(q, k, v, mask, window=3, bias=torch.zeros(2, 5))


def test_the_registered_reference_equals_automatic_differentiation() -> None:
    q, k, v = (x.requires_grad_() for x in inputs(2, 2, 13, 3))
    bias = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.arange(13)[None] < torch.tensor([[13], [8]])
    expected = reference(q, k, v, mask, window=5, bias=bias)
    grad = torch.randn_like(expected)
    expected_grads = torch.autograd.grad(expected, (q, k, v, bias), grad)
    given = Operands(*(x.detach() for x in (q, k, v)), mask=mask, bias=bias.detach(), window=5)
    result = registered.local_attention(given)
    torch.testing.assert_close(result.out, expected.detach(), **checks.FLOAT64)
    found = registered.local_attention_backward(BackwardOperands(grad=grad, **result._asdict(), **given._asdict()))
    for one, other in zip(found, expected_grads, strict=True):
        torch.testing.assert_close(one, other, **checks.FLOAT64)


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("heads_within_position", [False, True])
def test_registration(with_bias: bool, heads_within_position: bool) -> None:
    tensors = inputs(1, 2, 7, 3)
    if heads_within_position:
        tensors = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors]
    q, k, v = (x.requires_grad_() for x in tensors)
    bias = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True) if with_bias else None
    mask = torch.arange(7)[None] < 5
    given = Operands(q=q, k=k, v=v, mask=mask, bias=bias, window=3)
    checks.opcheck(torch.ops.asl_fast.local_attention.default, *given)
    out, lse = torch.ops.asl_fast.local_attention(*given)
    assert out.stride() == q.stride()
    back = BackwardOperands(grad=out, out=out, lse=lse, **given._asdict())
    detached = [x.detach() if isinstance(x, torch.Tensor) else x for x in back]
    checks.opcheck(torch.ops.asl_fast.local_attention_backward.default, *detached)


@pytest.mark.parametrize("name", checks.implementations("local_attention"))
def test_nothing_is_copied_between_projections_and_attention(name: str) -> None:
    """The result and the gradients lie where the products before and behind the attention want them."""
    x = torch.randn(2, 9, 12, requires_grad=True)
    weight = torch.randn(12, 12)
    mask = torch.ones(2, 9, dtype=torch.bool)
    found: list[str] = []  # what runs around the implementation, whose inside a mode does not see

    class Named(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            found.append(func._schema.name.removeprefix("aten::"))
            return func(*args, **(kwargs or {}))

    q, k, v = (F.linear(x, weight).view(2, 9, 3, 4).transpose(1, 2) for _ in range(3))
    with Named(), backend(name):
        op = torch.ops.asl_fast.local_attention.default
        out, _ = op(*Operands(q=q, k=k, v=v, mask=mask, bias=None, window=5))
        joined = out.transpose(1, 2).flatten(2)
        F.linear(joined, weight).sum().backward()
    assert joined.data_ptr() == out.data_ptr()
    assert "asl_fast::local_attention_backward" in found
    assert not {"clone", "contiguous", "copy_", "_to_copy"} & set(found), found


@pytest.mark.parametrize("name", checks.implementations("local_attention"))
@pytest.mark.parametrize("with_bias", [False, True])
def test_every_implementation_equals_the_reference(name: str, with_bias: bool) -> None:
    tensors = [x.float().requires_grad_() for x in inputs(2, 2, 45, 8)]
    if with_bias:
        tensors.append(torch.randn(2, 7, generator=torch.Generator().manual_seed(1), requires_grad=True))
    mask = torch.arange(45)[None] < torch.tensor([[45], [20]])

    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *bias: torch.Tensor) -> torch.Tensor:
        return local_attention(q, k, v, mask, window=7, bias=bias[0] if bias else None)

    with checks.every_call_on(name):
        value, grads = checks.value_and_grads(run, *tensors)
    expected, expected_grads = checks.value_and_grads(run, *(x.detach().double().requires_grad_() for x in tensors))
    for one, other in zip((value, *grads), (expected, *expected_grads), strict=True):
        # A hundred products of numbers around 1, weighted by factors up to 1.5.
        torch.testing.assert_close(one.double(), other, rtol=1e-5, atol=2e-5)
