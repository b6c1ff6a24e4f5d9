# SPDX-License-Identifier: Apache-2.0
"""What the tests of the focal and DIoU losses have in common: operands, layouts, rows without a value, autograd."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch
from torch import Tensor

from asl_fast.backend import backend
from asl_fast.ops import _dispatch
from asl_fast.reference import _outputs
from asl_fast.reference.diou_loss import Operands as DIoU
from asl_fast.reference.diou_loss import Outputs as DIoUOutputs
from asl_fast.reference.diou_loss import diou_loss
from asl_fast.reference.sensitivity_focal_loss import Operands as Focal
from tests.kernels import examples

Given = TypeVar("Given", Focal, DIoU)


def focal_operands(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    alpha: float = 0.25,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    reduction: str = "none",
) -> Focal:
    """Make a call of the focal loss that needs the gradients of the logits, and of the weights where there are any."""
    return Focal(
        logits=logits,
        targets=targets,
        weights=weights,
        mask=mask,
        alpha=alpha,
        gamma=gamma,
        label_smoothing=label_smoothing,
        reduction=reduction,
        need_logits=True,
        need_weights=weights is not None,
    )


def diou_operands(
    pred: Tensor,
    target: Tensor,
    weights: Tensor | None = None,
    *,
    reduction: str = "none",
    need_pred: bool = True,
    need_target: bool = True,
    need_weights: bool = True,
) -> DIoU:
    """Make a call of the DIoU loss; without weights no gradient of them is needed."""
    return DIoU(
        pred=pred,
        target=target,
        weights=weights,
        reduction=reduction,
        eps=1e-8,
        need_pred=need_pred,
        need_target=need_target,
        need_weights=need_weights and weights is not None,
    )


def noted_launches(patch: pytest.MonkeyPatch) -> list[object]:
    """Collect the kernels that Triton's launchers launch from here on; they run as well."""
    from asl_fast.kernels import _launch

    found: list[object] = []
    launch = _launch.launch
    patch.setattr(
        _launch, "launch", lambda kernel, *rest, **options: (found.append(kernel), launch(kernel, *rest, **options))
    )
    return found


def widened(given: Given) -> Given:
    """Make the same call in float64."""
    return given._make(x.double() if isinstance(x, Tensor) and x.is_floating_point() else x for x in given)


def misaligned(tensor: Tensor) -> Tensor:
    """Copy the values, contiguous, one element behind the beginning of an allocation."""
    room = torch.empty(tensor.numel() + 1, dtype=tensor.dtype, device=tensor.device)
    return room[1:].view(tensor.shape).copy_(tensor)


def strided(tensor: Tensor) -> Tensor:
    """Copy the values, no two of them side by side."""
    return torch.stack((tensor, tensor), -1)[..., 0]


def outputs(op: str, given: examples.Operands) -> list[Tensor]:
    """Of the CUDA implementation: the loss and all derivatives."""
    with torch.no_grad():
        return list(_dispatch.load(op, "cuda")(given))


def layouts_give_the_same_bits(op: str, given: examples.Operands) -> None:
    """Each tensor in turn strided and at an odd address, then all outputs at odd addresses."""
    expected = outputs(op, given)
    for changed, value in enumerate(given):
        for layout in (misaligned, strided) if isinstance(value, Tensor) else ():
            moved = given._replace(**{given._fields[changed]: layout(value.detach())})
            assert all(map(torch.equal, outputs(op, moved), expected)), f"argument {changed}, {layout.__name__}"
    with pytest.MonkeyPatch.context() as patch:
        empty = _outputs.empty
        patch.setattr(_outputs, "empty", lambda *asked: misaligned(empty(*asked)))
        assert all(map(torch.equal, outputs(op, given), expected))


def a_row_without_a_value_stays_alone(op: str, value: float, device: torch.device) -> None:
    """NaN or an infinity in row 40 of the first argument changes no other row."""
    given = examples.arguments(op, device)._replace(reduction="none")
    expected = outputs(op, given)
    first = given[0].detach().clone()
    rows = first.view(-1, first.shape[-1])
    rows[40, 0] = value
    found = outputs(op, given._replace(**{given._fields[0]: first}))
    assert not bool(found[0].reshape(len(rows), -1)[40].isfinite().all())
    others = torch.arange(len(rows), device=device) != 40
    for one, other in zip(found, expected, strict=True):
        if one.numel():  # else it is not needed
            assert torch.equal(one.reshape(len(rows), -1)[others], other.reshape(len(rows), -1)[others])


def autograd_takes_the_derivatives(op: str, device: torch.device) -> None:
    """Compare the op under a factor with the reference."""

    def gradients(name: str) -> list[Tensor]:
        given = examples.arguments(op, device)
        with backend(name):
            loss = getattr(torch.ops.asl_fast, op).default(*given)[0]
        return list(torch.autograd.grad(3 * loss, [x for x in given if isinstance(x, Tensor) and x.requires_grad]))

    for one, other in zip(gradients("cuda"), gradients("reference"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def tensors_on_the_cpu_take_another_implementation(op: str) -> None:
    """Assert that the CUDA implementation is there, and never chosen for these operands."""
    assert "cuda" in _dispatch.implementations(op)
    assert _dispatch.choose(op, "cpu").implementation in ("cpu", "reference")
    assert _dispatch.choose(op, "cpu", "cuda").implementation is None


def diou_follows_the_reference_beyond_numbers(run: Callable[[DIoU], DIoUOutputs]) -> None:
    """Compare, in float32, what overflows, what is no number, and what is next to nothing, with the reference."""
    odd = [-1e38, 3e38, math.inf, -math.inf, math.nan, 1e-40, 0.0, 2.0]
    pred = torch.tensor([(a, b) for a in odd for b in odd if (a, b) != (-math.inf, -math.inf)])
    for length in (0.0, 2.0, 1e38):
        operands = diou_operands(pred, torch.full_like(pred, length))
        for one, other in zip(run(operands), diou_loss(operands), strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=1e-5, atol=1e-6, equal_nan=True)
