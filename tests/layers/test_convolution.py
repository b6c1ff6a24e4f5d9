# SPDX-License-Identifier: Apache-2.0
"""Every form of the temporal convolution equals PyTorch's, forward and backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from asl_fast.layers import convolution
from asl_fast.layers.convolution import convolve


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    ("batch", "length", "taps", "stride", "groups"),
    [(2, 13, 3, 1, 1), (1, 1, 3, 1, 1), (3, 2, 7, 1, 1), (2, 13, 5, 1, 1), (2, 12, 3, 2, 1), (2, 13, 3, 1, 4),
     (2, 9, 1, 1, 1), (0, 9, 3, 1, 1)],
)  # fmt: skip
def test_equals_conv1d(
    batch: int, length: int, taps: int, stride: int, groups: int, with_bias: bool, dtype: torch.dtype
) -> None:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(batch, length, 8, generator=g, dtype=dtype).requires_grad_()
    weight = torch.randn(12, 8 // groups, taps, generator=g, dtype=dtype).requires_grad_()
    bias = torch.randn(12, generator=g, dtype=dtype).requires_grad_() if with_bias else None
    leaves = [x, weight] if bias is None else [x, weight, bias]
    wide = [leaf.detach().double().requires_grad_() for leaf in leaves]
    found = convolve(x, weight, bias, stride, groups)
    wanted = F.conv1d(
        wide[0].transpose(1, 2), wide[1], wide[2] if with_bias else None, stride, taps // 2, groups=groups
    ).transpose(1, 2)
    tolerance = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-12}
    torch.testing.assert_close(found.double(), wanted, **tolerance)
    grad = torch.randn(wanted.shape, generator=g, dtype=torch.float64)
    ours = torch.autograd.grad(found, leaves, grad.to(dtype).transpose(0, 1).contiguous().transpose(0, 1))
    theirs = torch.autograd.grad(wanted, wide, grad)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.double(), other, **tolerance)


def test_gradients_that_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.randn(2, 9, 4), torch.randn(5, 4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(convolve(x, weight, None).sum(), weight)
    frozen = weight.detach()
    monkeypatch.setattr(convolution, "_weight_gradient", lambda *_: pytest.fail("nobody asked for it"))
    (of_x,) = torch.autograd.grad(convolve(x.requires_grad_(), frozen, None).sum(), x)
    assert of_x.shape == x.shape and gradient.shape == weight.shape
    with torch.no_grad():
        assert not convolve(x, weight, None).requires_grad


def test_autocast_and_compilation_take_pytorchs_own() -> None:
    x, weight = torch.randn(2, 9, 4), torch.randn(5, 4, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert convolve(x, weight, None).dtype == torch.bfloat16
    compiled = torch.compile(convolve, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, weight, None), convolve(x, weight, None), rtol=1e-5, atol=1e-5)
