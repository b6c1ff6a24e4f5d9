# SPDX-License-Identifier: Apache-2.0
"""What the CUDA focal and DIoU losses have in common: layouts, rows without a value, autograd, who runs on the CPU."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from asl_fast.backend import backend
from asl_fast.ops import _dispatch
from tests.kernels import examples

OPS = ["diou_loss", "sensitivity_focal_loss"]


def misaligned(tensor: Tensor) -> Tensor:
    """The same values, contiguous, one element behind the beginning of an allocation."""
    room = torch.empty(tensor.numel() + 1, dtype=tensor.dtype, device=tensor.device)
    return room[1:].view(tensor.shape).copy_(tensor)


def strided(tensor: Tensor) -> Tensor:
    """The same values, no two of them side by side."""
    return torch.stack((tensor, tensor), -1)[..., 0]


def call(op: str, given: examples.Arguments) -> list[Tensor]:
    with torch.no_grad():
        return list(_dispatch.load(op, "cuda")(*given))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("layout", [misaligned, strided])
def test_layouts_give_the_same_bits(op: str, layout: Callable[[Tensor], Tensor], cuda_device: torch.device) -> None:
    given = examples.arguments(op, cuda_device)
    expected = call(op, given)
    for changed, value in enumerate(given):
        if isinstance(value, Tensor):
            moved = (*given[:changed], layout(value.detach()), *given[changed + 1 :])
            assert all(map(torch.equal, call(op, moved), expected))


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_row_without_a_value_stays_alone(op: str, value: float, cuda_device: torch.device) -> None:
    given = examples.arguments(op, cuda_device)
    given = tuple("none" if isinstance(x, str) else x for x in given)
    expected = call(op, given)
    first = given[0].detach().clone()
    rows = first.view(-1, first.shape[-1])
    rows[40, 0] = value
    found = call(op, (first, *given[1:]))
    assert not bool(found[0].reshape(len(rows), -1)[40].isfinite().all())
    others = torch.arange(len(rows), device=cuda_device) != 40
    for one, other in zip(found, expected, strict=True):
        if one.numel():  # else it is not needed
            assert torch.equal(one.reshape(len(rows), -1)[others], other.reshape(len(rows), -1)[others])


@pytest.mark.parametrize("op", OPS)
def test_autograd_takes_the_derivatives(op: str, cuda_device: torch.device) -> None:
    def gradients(name: str) -> list[Tensor]:
        given = examples.arguments(op, cuda_device)
        with backend(name):
            loss = getattr(torch.ops.asl_fast, op).default(*given)[0]
        return list(torch.autograd.grad(3 * loss, [x for x in given if isinstance(x, Tensor) and x.requires_grad]))

    for one, other in zip(gradients("cuda"), gradients("reference"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("op", OPS)
def test_tensors_on_the_cpu_take_another_implementation(op: str) -> None:
    assert "cuda" in _dispatch.implementations(op)
    assert _dispatch.choose(op, "cpu").implementation in ("cpu", "reference")
    assert _dispatch.choose(op, "cpu", "cuda").implementation is None
