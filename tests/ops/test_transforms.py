# SPDX-License-Identifier: Apache-2.0
"""Transforms of torch: forward-mode derivatives are refused, never zero, and a vmap passes gradients on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from asl_fast import diou_loss, segment_iou, sensitivity_focal_loss
from tests.kernels.examples import EXAMPLES, arguments

OPS = [op for op in EXAMPLES if any(isinstance(value, Tensor) and value.requires_grad for value in arguments(op))]
REFUSED = r"has no forward-mode derivative; .* use the plain formula in asl_fast\.reference\."

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "segment_iou": lambda x: segment_iou(x, torch.tensor([[0.5, 2.0], [3.0, 4.0]])),
    "diou_loss": lambda x: diou_loss(x, torch.tensor([[0.5, 2.0], [3.0, 4.0]]), reduction="sum"),
    "sensitivity_focal_loss": lambda x: sensitivity_focal_loss(x, torch.tensor([0, -1]), reduction="sum"),
}
POINT = torch.tensor([[0.2, 1.5], [2.0, 5.0]])


def test_all_differentiable_ops_are_looked_at() -> None:
    assert len(OPS) == 7
    assert set(FUNCTIONS) < set(OPS)


@pytest.mark.parametrize("needs_backward", [False, True])
@pytest.mark.parametrize("op", OPS)
def test_a_tangent_is_refused(op: str, needs_backward: bool) -> None:
    given = arguments(op)
    function = getattr(torch.ops.asl_fast, op).default
    fields = [name for name, value in given._asdict().items() if isinstance(value, Tensor) and value.requires_grad]
    plain = given._replace(**{name: getattr(given, name).detach() for name in fields})
    with forward_ad.dual_level():
        function(*plain)  # without a tangent it runs
        for name in fields:
            value = getattr(plain, name).clone().requires_grad_(needs_backward)
            dual = forward_ad.make_dual(value, torch.ones_like(value))
            with pytest.raises(NotImplementedError, match=f"{op} {REFUSED}"):
                function(*plain._replace(**{name: dual}))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_transforms_that_follow_tangents_are_refused(name: str) -> None:
    function, ones = FUNCTIONS[name], torch.ones_like(POINT)
    with pytest.raises(NotImplementedError, match=REFUSED):
        torch.func.jvp(function, (POINT,), (ones,))
    with pytest.raises(NotImplementedError, match=REFUSED):
        torch.func.jacfwd(function)(POINT)
    with pytest.raises(NotImplementedError, match=REFUSED):
        torch.func.jvp(torch.vmap(function), (POINT[None],), (ones[None],))
    # What is not followed is a constant.
    constant = function(POINT)
    value, tangent = torch.func.jvp(lambda x: (function(POINT) * x.sum()).sum(), (POINT,), (ones,))
    torch.testing.assert_close((value, tangent), (constant.sum() * POINT.sum(), constant.sum() * POINT.numel()))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_tangent_of_the_gradient_is_refused(name: str) -> None:
    point = POINT.clone().requires_grad_()
    value = FUNCTIONS[name](point)
    with forward_ad.dual_level():
        grad = forward_ad.make_dual(torch.ones_like(value), torch.ones_like(value))
        with pytest.raises(NotImplementedError, match=REFUSED):
            torch.autograd.grad(value, point, grad)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_gradient_passes_through_vmap(name: str) -> None:
    batch = torch.stack([POINT, POINT.flip(0), POINT * 0.5])
    mapped, looped = batch.clone().requires_grad_(), batch.clone().requires_grad_()
    torch.vmap(FUNCTIONS[name])(mapped).sum().backward()
    torch.stack([FUNCTIONS[name](each) for each in looped]).sum().backward()
    assert mapped.grad is not None
    assert mapped.grad.any()
    assert torch.equal(mapped.grad, looped.grad)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradients_of_all_operands_pass_through_nested_vmaps() -> None:
    pred, target, weights = torch.rand(2, 3, 4, 2), torch.rand(2, 3, 4, 2), torch.rand(2, 3, 4)
    operands = [each.clone().requires_grad_() for each in (pred, target, weights)]
    torch.vmap(torch.vmap(diou_loss))(*operands).sum().backward()
    flat = [each.flatten(0, 2).requires_grad_() for each in (pred, target, weights)]
    diou_loss(*flat).sum().backward()
    for each, other in zip(operands, flat, strict=True):
        assert each.grad is not None
        assert torch.equal(each.grad.flatten(0, 2), other.grad)  # type: ignore[arg-type]
