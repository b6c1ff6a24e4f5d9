# SPDX-License-Identifier: Apache-2.0
"""Triton windowed attention, forward and backward, equals the float64 reference and stays within its buffers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

pytest.importorskip("triton", minversion="3.5")

from asl_fast.kernels import local_attention as kernels
from triton.runtime import interpreter

from asl_fast.reference.local_attention import BackwardOperands, Operands, unfolded_attention
from tests.kernels.fences import fenced


def inputs(batch: int, heads: int, length: int, dim: int, dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    """Draw q, k, v and the gradient of the result."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, heads, length, dim, generator=generator).to(dtype) for _ in range(4)]


def compare(tensors: list[Tensor], mask: Tensor, bias: Tensor | None, window: int, slack: float = 1.0) -> None:
    """Results and gradients against float64; a half result is rounded once, its probabilities once more."""
    q, k, v, grad = tensors
    given = Operands(q=q, k=k, v=v, mask=mask, bias=bias, window=window)
    with fenced():
        found = kernels.local_attention(given)
    with fenced():
        grads = kernels.local_attention_backward(
            BackwardOperands(grad=grad, out=found.out, lse=found.lse, **given._asdict())
        )
    # Zero under the mask, where the kernel must not look: what is NaN there may not matter.
    valid = mask[:, None, :, None]
    wide = [torch.where(valid, x.double(), 0).requires_grad_() for x in (q, k, v)]
    leaves = wide if bias is None else [*wide, bias.double().requires_grad_()]
    wide_bias = None if bias is None else leaves[3]
    expected = unfolded_attention(Operands(*wide, mask=mask, bias=wide_bias, window=window))
    expected_grads = torch.autograd.grad(expected, leaves, torch.where(valid, grad.double(), 0))
    eps = slack * max(torch.finfo(q.dtype).eps, 1e-6)
    for one in (found.out, *grads[:3]):
        assert one.stride() == torch.empty_like(q).stride()  # in memory as q lies there, without gaps
    for one, other in zip((found.out, *grads), (expected.detach(), *expected_grads), strict=False):
        assert one.shape == other.shape
        scale = float(other.abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one.double(), other, rtol=4 * eps, atol=4 * eps * max(scale, 1.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [False, True])
def test_equals_the_reference(dtype: torch.dtype, with_bias: bool) -> None:
    tensors = inputs(2, 2, 83, 20, dtype)
    mask = torch.arange(83)[None] < torch.tensor([[83], [51]])
    for tensor in tensors:
        tensor[1, :, 51:] = math.nan
    bias = torch.randn(2, 9, generator=torch.Generator().manual_seed(1)) if with_bias else None
    compare(tensors, mask, bias, 9)


@given(
    length=st.integers(1, 70),
    dim=st.sampled_from([1, 3, 16, 33]),
    radius=st.sampled_from([0, 1, 5, 40]),
    seed=st.integers(0, 100),
)
@settings(max_examples=12, deadline=None)
def test_drawn_shapes(length: int, dim: int, radius: int, seed: int) -> None:
    mask = torch.rand(1, length, generator=torch.Generator().manual_seed(seed)) > 0.2  # holes as well as tails
    compare(inputs(1, 2, length, dim, torch.float32, seed), mask, None, 2 * radius + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("window", [kernels.WIDEST_IN_TILE, kernels.WIDEST_IN_TILE + 2])
def test_the_widest_window_in_a_tile_and_the_next(dtype: torch.dtype, window: int) -> None:
    mask = torch.arange(90)[None] < torch.tensor([[90], [37]])
    bias = torch.randn(2, window, generator=torch.Generator().manual_seed(1))
    compare(inputs(2, 2, 90, 40, dtype), mask, bias, window)


@pytest.mark.parametrize("dim", [64, 72, 129, 256])
def test_sizes_of_a_head(dim: int) -> None:
    for window in (5, 41):
        compare(inputs(1, 1, 20, dim, torch.float16), torch.ones(1, 20, dtype=torch.bool), None, window)


def _tf32(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round to the 10 bits that a matrix unit takes of a float32, ties away from zero."""
    return ((x.view(np.int32) + 0x1000) & ~0x1FFF).view(np.float32)


def _towards_zero(x: NDArray[np.float64]) -> NDArray[np.float32]:
    near = x.astype(np.float32)
    return np.where(np.abs(near) > np.abs(x), np.nextafter(near, np.float32(0)), near)


def _three_products(a: NDArray[Any], b: NDArray[Any], acc: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply as "tf32x3" does: without small * small, in steps of 8 whose sums are cut off, not rounded."""
    halves = [(_tf32(x), _tf32(x - _tf32(x))) for x in (np.ascontiguousarray(a), np.ascontiguousarray(b))]
    total = np.zeros_like(acc)
    for i, j in ((1, 0), (0, 1), (0, 0)):
        left, right = halves[0][i].astype(np.float64), halves[1][j].astype(np.float64)
        for step in range(0, a.shape[-1], 8):
            total = _towards_zero(left[:, step : step + 8] @ right[step : step + 8] + total)
    return total + acc


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU multiplies by itself")
@pytest.mark.parametrize(("dim", "window"), [(20, 9), (128, 19), (256, 19), (64, 41)])
def test_float32_in_three_products_stays_within_the_tolerance(
    dim: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other tests allow in float32 is what a matrix unit needs, not only what the interpreter does."""
    taken: list[int] = []

    def create_dot(self: Any, a: Any, b: Any, d: Any, input_precision: Any, max_num_imprecise_acc: Any) -> Any:
        taken.append(a.data.shape[-1])
        return interpreter.TensorHandle(_three_products(a.data, b.data, d.data), d.dtype.scalar)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)
    mask = torch.arange(83)[None] < torch.tensor([[83], [51]])
    bias = torch.randn(2, window, generator=torch.Generator().manual_seed(1))
    compare(inputs(2, 2, 83, dim, torch.float32), mask, bias, window)
    assert taken


def test_large_scores_do_not_overflow() -> None:
    q, k, v, grad = inputs(1, 1, 40, 8, torch.float32)
    # Scores reach some thousands, so their last digit changes a probability by some thousand times epsilon.
    compare([30 * q, 30 * k, v, grad], torch.ones(1, 40, dtype=torch.bool), None, 11, slack=1000)


@pytest.mark.parametrize("window", [5, 41])
def test_heads_beside_each_other_within_a_position(window: int) -> None:
    tensors = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in inputs(2, 3, 30, 16, torch.float32)]
    mask = torch.arange(30)[None] < torch.tensor([[30], [11]])
    compare(tensors, mask, torch.randn(3, window, generator=torch.Generator().manual_seed(1)), window)
    compare([*tensors[:3], tensors[3].contiguous()], mask, None, window)  # a gradient that lies otherwise
    compare([*tensors[:3], torch.ones(1, 1, 1, 1).expand(2, 3, 30, 16)], mask, None, window)


def test_views_of_one_projection_are_read_in_place() -> None:
    packed = torch.randn(2, 30, 3, 2, 8, generator=torch.Generator().manual_seed(0))  # (B, T, 3, H, d)
    q, k, v = packed.permute(2, 0, 3, 1, 4)
    mask = torch.arange(30)[None] < torch.tensor([[30], [11]])
    compare([q, k, v, torch.ones(2, 2, 30, 8)], mask, None, 5)
    mixed = [q, k.contiguous(), v, torch.ones(2, 2, 30, 8).transpose(2, 3).contiguous().transpose(2, 3)]
    compare(mixed, mask, None, 5)


def test_nothing_valid_and_nothing_at_all() -> None:
    compare(inputs(1, 1, 6, 2, torch.float32), torch.zeros(1, 6, dtype=torch.bool), torch.zeros(1, 3), 3)
    compare(inputs(0, 2, 6, 4, torch.float32), torch.zeros(0, 6, dtype=torch.bool), None, 3)


def test_what_the_kernel_does_not_take_is_refused() -> None:
    q = torch.zeros(1, 1, 2, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match="float64"):
        kernels.local_attention(Operands(q, q, q, mask=torch.ones(1, 2, dtype=torch.bool), bias=None, window=3))
