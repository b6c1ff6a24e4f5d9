# SPDX-License-Identifier: Apache-2.0
"""What every op has to pass: registration checks, tracing, numerical gradients, dtypes, layouts, implementations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from asl_fast.backend import backend
from asl_fast.ops import _dispatch

HALVES = (torch.float16, torch.bfloat16)

# Two correct float32 evaluations of a formula of about 20 operations differ by a few units in the last place.
FLOAT32 = {"rtol": 2e-6, "atol": 1e-6}
FLOAT64 = {"rtol": 1e-12, "atol": 1e-12}


def opcheck(op: Callable[..., Any], *args: Any) -> None:
    """Assert that schema, fake shapes, autograd and AOT dispatch of a registered op agree with its kernel."""
    assert isinstance(op, torch._ops.OpOverload)
    for arguments in (args, tuple(_scattered(a) if isinstance(a, Tensor) else a for a in args)):
        results = torch.library.opcheck(op, arguments)
        assert set(results.values()) == {"SUCCESS"}, results


def compiles(function: Callable[..., Tensor], *args: Any) -> None:
    """Assert that ``function`` compiles without a graph break, with equal results and gradients."""
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    expected, expected_grads = value_and_grads(function, *args)
    found, found_grads = value_and_grads(compiled, *args)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert len(found_grads) == len(expected_grads)
    for one, other in zip(found_grads, expected_grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def value_and_grads(function: Callable[..., Tensor], *args: Any) -> tuple[Tensor, list[Tensor]]:
    """Return the result and, per tensor that requires one, the gradient of a weighted sum of it."""
    fresh = [a.detach().clone().requires_grad_(a.requires_grad) if isinstance(a, Tensor) else a for a in args]
    value = function(*fresh)
    inputs = [a for a in fresh if isinstance(a, Tensor) and a.requires_grad]
    if not inputs:
        return value, []
    factors = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    return value.detach(), list(torch.autograd.grad((value * factors).sum(), inputs))


def gradcheck(function: Callable[..., Tensor], *args: Any) -> None:
    """Analytic gradients equal numerical ones in float64, away from ties and clamps."""
    assert torch.autograd.gradcheck(function, args, eps=1e-6, atol=1e-7, rtol=1e-5)


def half_precision(function: Callable[..., Tensor], *args: Any) -> None:
    """Half inputs give exactly what their float32 values give, in float32; gradients only lose their last rounding."""
    for dtype in HALVES:
        low = [_like(a, dtype) for a in args]
        high = [_like(a, torch.float32) if isinstance(a, Tensor) else a for a in low]
        value, grads = value_and_grads(function, *low)
        expected, expected_grads = value_and_grads(function, *high)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected, rtol=0, atol=0)
        assert len(grads) == len(expected_grads)
        eps = torch.finfo(dtype).eps
        for grad, other in zip(grads, expected_grads, strict=True):
            assert grad.dtype == dtype
            torch.testing.assert_close(grad.float(), other, rtol=2 * eps, atol=eps * torch.finfo(dtype).tiny)


def any_layout(function: Callable[..., Tensor], *args: Any) -> None:
    """Transposed, strided and expanded tensors give what contiguous ones give."""
    expected, expected_grads = value_and_grads(function, *args)
    fresh = [_scattered(a) if isinstance(a, Tensor) else a for a in args]
    leaves = [a for a in fresh if isinstance(a, Tensor) and a.requires_grad]
    value = function(*fresh)
    torch.testing.assert_close(value.detach(), expected, **FLOAT32)  # vector and scalar exp round differently
    factors = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    if leaves:
        grads = torch.autograd.grad((value * factors).sum(), leaves)
        for grad, other in zip(grads, expected_grads, strict=True):
            torch.testing.assert_close(grad, other, **FLOAT32)


def implementations(op: str, device: str = "cpu") -> Sequence[Any]:
    """Every implementation of ``op`` as pytest parameters; those that cannot run here are skipped with the reason."""
    found = []
    for name in _dispatch.implementations(op):
        why = _dispatch.choose(op, device, name)
        skip = pytest.mark.skipif(why.implementation is None, reason=f"{op} on {device}: {why.reason}")
        found.append(pytest.param(name, marks=skip))
    return found


@contextmanager
def every_call_on(name: str) -> Iterator[None]:
    """Force one backend around a test's calls."""
    with backend(name):
        yield


def _like(value: Any, dtype: torch.dtype) -> Any:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.detach().to(dtype).requires_grad_(value.requires_grad)


def _scattered(tensor: Tensor) -> Tensor:
    """Lay the values out as every second element of a larger buffer, with the dimensions stored in reverse order."""
    reverse = tuple(reversed(range(tensor.dim())))
    buffer = torch.zeros([2 * size for size in tensor.permute(reverse).shape], dtype=tensor.dtype)
    view = buffer[tuple(slice(None, None, 2) for _ in reverse)].permute(reverse)
    view.copy_(tensor.detach())
    return view.detach().requires_grad_(tensor.requires_grad)
