# SPDX-License-Identifier: Apache-2.0
"""DIoU loss on offsets: ActionFormer's outputs, gradients, properties, edges, registration."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast import diou_loss, native, segment_diou
from asl_fast.ops import _diou_loss_native
from asl_fast.reference import diou_loss as reference
from tests.drawing import draws
from tests.kernels.loss_checks import diou_follows_the_reference_beyond_numbers
from tests.ops import checks
from tests.shared import golden_arrays

OP = "diou_loss"


def random_offsets(rows: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Offsets in [0.1, 4.1], no two equal."""
    return 0.1 + 4 * torch.rand(rows, 2, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def golden() -> dict[str, Any]:
    return golden_arrays("losses_iou")


@pytest.mark.parametrize(
    ("dtype", "suffix", "rtol"), [(torch.float64, "f64", 1e-12), (torch.float32, "f32", 1e-5)], ids=["f64", "f32"]
)
def test_equals_actionformer(dtype: torch.dtype, suffix: str, rtol: float) -> None:
    data = golden()
    pred = torch.tensor(data["pred_offsets"], dtype=dtype, requires_grad=True)
    target = torch.tensor(data["gt_offsets"], dtype=dtype, requires_grad=True)
    rows = diou_loss(pred, target)
    rows.sum().backward()
    expected = torch.tensor(data[f"ctr_diou_loss_1d__loss_{suffix}"])
    torch.testing.assert_close(rows.detach(), expected, rtol=rtol, atol=rtol)
    for reduction in ("sum", "mean"):
        expected = torch.tensor(data[f"ctr_diou_loss_1d__{reduction}_{suffix}"])
        torch.testing.assert_close(diou_loss(pred, target, reduction=reduction).detach(), expected, rtol=rtol, atol=0)

    union = torch.maximum(pred, target).detach().sum(-1, keepdim=True).clamp(min=1e-8)
    both_zero = data["family"] == "both_zero"
    assert both_zero.sum() > 0
    for tensor, key in ((pred, "pred"), (target, "gt")):
        expected = torch.tensor(data[f"ctr_diou_loss_1d__grad_{key}_{suffix}"])
        # Terms of the size of 1 / union cancel, so that is what the error is relative to.
        error = (tensor.grad - expected).abs() * union
        assert error[~both_zero].max().item() < rtol
        # Two segments of length zero: the formula's slope is -0.5 / eps; ours is 0.
        assert expected[both_zero].min().item() < -1e7
        assert torch.equal(tensor.grad[both_zero], torch.zeros_like(tensor[both_zero]))


def test_a_perfect_match_has_loss_and_gradient_zero() -> None:
    pred = random_offsets(50, dtype=torch.float32).requires_grad_()
    loss = diou_loss(pred, pred.detach().clone(), reduction="sum")
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(pred.grad, torch.zeros(50, 2))


@given(rows=st.lists(st.tuples(*[st.integers(0, 64)] * 4), min_size=1, max_size=8))
@settings(max_examples=draws(100), deadline=None)
def test_is_one_minus_the_diou_of_the_segments_and_stays_in_range(rows: list[tuple[int, ...]]) -> None:
    pred, target = torch.tensor(rows, dtype=torch.float64).split(2, dim=-1)
    loss = diou_loss(pred, target)
    sign = torch.tensor([-1.0, 1.0])
    torch.testing.assert_close(loss, 1 - segment_diou(pred * sign, target * sign, aligned=True), **checks.FLOAT64)
    assert bool((loss >= 0).all()) and bool((loss <= 2).all())
    assert torch.equal(loss, diou_loss(target, pred))
    assert torch.equal(loss, diou_loss(pred * 2, target * 2))
    assert torch.equal(loss, diou_loss(pred.flip(-1), target.flip(-1)))


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_equal_numerical_ones(reduction: str, weighted: bool) -> None:
    pred, target = random_offsets(6, 1).requires_grad_(), random_offsets(6, 2).requires_grad_()
    weights = torch.rand(6, dtype=torch.float64, generator=torch.Generator().manual_seed(3)).requires_grad_()
    if weighted:
        checks.gradcheck(lambda p, t, w: diou_loss(p, t, w, reduction=reduction), pred, target, weights)
    else:
        checks.gradcheck(lambda p, t: diou_loss(p, t, reduction=reduction), pred, target)


def test_gradients_equal_autograd_of_the_plain_formula_also_at_ties_and_below_eps() -> None:
    generator = torch.Generator().manual_seed(4)
    offsets = torch.randint(0, 3, (300, 4), generator=generator).double()
    offsets[200:] *= 4e-9  # union and hull on both sides of eps
    offsets = offsets[offsets.sum(-1) > 0]
    found, expected = [], []
    for function, grads in ((diou_loss, found), (lambda p, t: reference.diou(p, t, 1e-8), expected)):
        pred, target = (half.clone().requires_grad_() for half in offsets.split(2, dim=-1))
        grads.extend(torch.autograd.grad(function(pred, target).sum(), (pred, target)))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12 * other.abs().max().item())


@pytest.mark.skipif(native.cpu_module() is None, reason=f"C++ module: {native.why_missing()}")
def test_beyond_numbers() -> None:
    diou_follows_the_reference_beyond_numbers(_diou_loss_native.cpu)


def test_weights_multiply_rows() -> None:
    pred, target, weights = random_offsets(9, 5), random_offsets(9, 6), torch.linspace(0, 2, 9).double()
    rows = diou_loss(pred, target)
    torch.testing.assert_close(diou_loss(pred, target, weights), rows * weights, **checks.FLOAT64)
    torch.testing.assert_close(
        diou_loss(pred, target, weights, reduction="mean"), (rows * weights).sum() / 9, **checks.FLOAT64
    )


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_no_rows_give_zero_with_a_graph(reduction: str) -> None:
    pred, weights = torch.zeros(0, 2, requires_grad=True), torch.zeros(0, requires_grad=True)
    loss = diou_loss(pred, torch.zeros(0, 2), weights, reduction=reduction)
    assert loss.shape == ((0,) if reduction == "none" else ())
    assert loss.sum().item() == 0
    loss.sum().backward()
    assert pred.grad.shape == (0, 2) and weights.grad.shape == (0,)


def test_half_precision_and_layouts() -> None:
    arguments = [random_offsets(7, seed, torch.float32).requires_grad_() for seed in (7, 8)]
    arguments.append(torch.rand(7, generator=torch.Generator().manual_seed(9)).requires_grad_())
    for reduction in ("none", "sum"):
        checks.half_precision(lambda *a, r=reduction: diou_loss(*a, reduction=r), *arguments)
        checks.any_layout(lambda *a, r=reduction: diou_loss(*a, reduction=r), *arguments)
    assert diou_loss(arguments[0], arguments[1].double()).dtype == torch.float64


def test_float16_gradients_survive_a_loss_scale() -> None:
    # 1 / (number of rows) is below float16's range; the scale of mixed-precision training brings it back.
    rows = 1 << 17
    pred = torch.full((rows, 2), 2.0, dtype=torch.float16, requires_grad=True)
    loss = diou_loss(pred, torch.full((rows, 2), 1.0, dtype=torch.float16), reduction="mean") * 2.0**16
    loss.backward()
    torch.testing.assert_close(pred.grad.float(), torch.full((rows, 2), 0.0625), rtol=1e-3, atol=0)


def test_nan_stays_in_its_row() -> None:
    pred = torch.tensor([[1.0, math.nan], [1.0, 2.0]], requires_grad=True)
    loss = diou_loss(pred, torch.ones(2, 2))
    loss.sum().backward()
    assert loss.isnan().tolist() == [True, False]
    assert bool(pred.grad[1].isfinite().all())


def test_bad_arguments_are_named() -> None:
    good = random_offsets(3)
    with pytest.raises(ValueError, match=r"pred_offsets must not be negative, row 1 is \[-1.0, 2.0\]"):
        diou_loss(torch.tensor([[0.0, 0.0], [-1.0, 2.0]]), good[:2])
    with pytest.raises(ValueError, match="target_offsets must not be negative"):
        diou_loss(good, -good)
    with pytest.raises(TypeError, match="pred_offsets must be floating point"):
        diou_loss(good.long(), good)
    with pytest.raises(ValueError, match=r"pred_offsets must be \(N, 2\), got \(3, 1, 2\)"):
        diou_loss(good[:, None], good)
    with pytest.raises(ValueError, match=r"target_offsets must be \(3, 2\)"):
        diou_loss(good, good[:2])
    with pytest.raises(ValueError, match=r"weights must be \(3,\), got \(3, 1\)"):
        diou_loss(good, good, torch.ones(3, 1))
    with pytest.raises(ValueError, match="reduction must be one of none, sum, mean, got 'avg'"):
        diou_loss(good, good, reduction="avg")
    with pytest.raises(ValueError, match="pred_offsets is on cpu but weights on meta"):
        diou_loss(good, good, torch.ones(3, device="meta"))


def test_second_derivatives_are_refused() -> None:
    pred = random_offsets(2).requires_grad_()
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(diou_loss(pred, random_offsets(2, 1)).sum(), pred, create_graph=True)


def test_asking_for_an_uncomputed_gradient_is_an_error() -> None:
    pred = random_offsets(2).requires_grad_()
    loss = torch.ops.asl_fast.diou_loss(pred, random_offsets(2, 1), None, "sum", 1e-8, False, False, False)[0]
    with pytest.raises(RuntimeError, match="need_"):
        loss.backward()


@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("weighted", [False, True])
def test_registration(reduction: str, weighted: bool) -> None:
    pred, target = random_offsets(4, 10).requires_grad_(), random_offsets(4, 11).requires_grad_()
    weights = torch.ones(4, dtype=torch.float64, requires_grad=True) if weighted else None
    op = torch.ops.asl_fast.diou_loss.default
    checks.opcheck(op, pred, target, weights, reduction, 1e-8, True, True, weighted)
    checks.opcheck(op, pred, target.detach(), weights, reduction, 1e-8, True, False, weighted)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_compiles_without_a_graph_break(reduction: str) -> None:
    weights = torch.ones(5, dtype=torch.float64, requires_grad=True)
    checks.compiles(
        lambda p, t, w: diou_loss(p, t, w, reduction=reduction), random_offsets(5, 12).requires_grad_(),
        random_offsets(5, 13), weights,
    )  # fmt: skip


@pytest.mark.parametrize("name", checks.implementations("diou_loss"))
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_implementation_equals_the_reference(name: str, reduction: str, dtype: torch.dtype) -> None:
    rows = 1003
    pred, target = random_offsets(rows, 14, dtype), random_offsets(rows, 15, dtype)
    pred[:20], target[10:30] = 0, 0
    target[30:60] = pred[30:60]
    weights = torch.rand(rows, dtype=dtype, generator=torch.Generator().manual_seed(16))
    arguments = [t.requires_grad_() for t in (pred, target, weights)]
    with checks.every_call_on(name):
        value, grads = checks.value_and_grads(lambda *a: diou_loss(*a, reduction=reduction), *arguments)
    double = [t.detach().double().requires_grad_() for t in arguments]
    with checks.every_call_on("reference"):
        expected, expected_grads = checks.value_and_grads(lambda *a: diou_loss(*a, reduction=reduction), *double)
    tolerance = checks.FLOAT64 if dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-5}
    torch.testing.assert_close(value.double(), expected, **tolerance)
    for grad, other in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad.double(), other, **tolerance)
