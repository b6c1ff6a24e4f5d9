# SPDX-License-Identifier: Apache-2.0
"""Temporal IoU and distance IoU: values against a scalar transcription, gradients, properties, edges, registration."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast import segment_diou, segment_iou
from asl_fast.reference import segment_iou as reference
from asl_fast.reference.segment_iou import BackwardOperands, Operands
from tests.drawing import draws
from tests.ops import checks

OP = "segment_iou"
OPS = pytest.mark.parametrize("op", [segment_iou, segment_diou])

# Quarters up to 1000: every sum and difference is exact in float32, so the properties hold without a tolerance.
times = st.integers(-4000, 4000).map(lambda quarter: quarter / 4)
segments = st.lists(st.tuples(times, times), min_size=1, max_size=5).map(lambda rows: torch.tensor(rows))


def random_segments(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Proper segments of length 0.5 to 4.5 within [0, 12]."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(*shape, generator=generator, dtype=dtype) * 8
    return torch.stack((start, start + 0.5 + 4 * torch.rand(*shape, generator=generator, dtype=dtype)), dim=-1)


def scalar(a: tuple[float, float], b: tuple[float, float], distance: bool) -> float:
    """Apply the definition in Python numbers."""
    length_a, length_b = max(a[1] - a[0], 0.0), max(b[1] - b[0], 0.0)
    intersection = max(min(a[1], b[1]) - max(a[0], b[0]), 0.0)
    union = length_a + length_b - intersection
    iou = intersection / union if union > 0 else 0.0
    hull = max(*a, *b) - min(*a, *b)
    if not distance or hull == 0:
        return iou
    return iou - ((sum(a) - sum(b)) / 2 / hull) ** 2


@OPS
@given(a=segments, b=segments)
@settings(max_examples=draws(60), deadline=None)
def test_equals_the_definition_on_any_pair(op, a: Tensor, b: Tensor) -> None:
    found = op(a, b)
    expected = torch.tensor([[scalar(tuple(x), tuple(y), op is segment_diou) for y in b.tolist()] for x in a.tolist()])
    torch.testing.assert_close(found, expected, **checks.FLOAT32)


@given(a=segments, b=segments, shift=st.integers(-1000, 1000), power=st.integers(-3, 3))
@settings(max_examples=draws(60), deadline=None)
def test_symmetric_bounded_and_independent_of_origin_and_unit(a: Tensor, b: Tensor, shift: int, power: int) -> None:
    iou, diou = segment_iou(a, b), segment_diou(a, b)
    assert torch.equal(iou, segment_iou(b, a).T)
    assert torch.equal(diou, segment_diou(b, a).T)
    assert bool((iou >= 0).all()) and bool((iou <= 1).all())
    assert bool((diou <= iou).all()) and bool((diou >= -1).all())
    assert torch.equal(iou, segment_iou(a + shift, b + shift))
    assert torch.equal(diou, segment_diou(a + shift, b + shift))
    assert torch.equal(iou, segment_iou(a * 2.0**power, b * 2.0**power))
    assert torch.equal(diou, segment_diou(a * 2.0**power, b * 2.0**power))


def test_known_values() -> None:
    a = torch.tensor([[0.0, 10.0]])
    b = torch.tensor([[0.0, 10.0], [5.0, 15.0], [10.0, 20.0], [20.0, 30.0], [2.0, 4.0]])
    torch.testing.assert_close(segment_iou(a, b)[0], torch.tensor([1.0, 1 / 3, 0.0, 0.0, 0.2]), **checks.FLOAT32)
    expected = torch.tensor([1.0, 1 / 3 - 1 / 9, -0.25, -((20 / 30) ** 2), 0.2 - 0.04])
    torch.testing.assert_close(segment_diou(a, b)[0], expected, **checks.FLOAT32)


@OPS
@pytest.mark.parametrize(
    ("a", "b", "iou", "diou"),
    [
        ((5.0, 5.0), (5.0, 5.0), 0.0, 0.0),
        ((5.0, 5.0), (0.0, 10.0), 0.0, 0.0),
        ((5.0, 5.0), (6.0, 6.0), 0.0, -1.0),
        ((7.0, 3.0), (0.0, 10.0), 0.0, 0.0),
        ((7.0, 3.0), (7.0, 3.0), 0.0, 0.0),
        ((7.0, 3.0), (3.0, 7.0), 0.0, 0.0),
    ],
)
def test_segments_without_length_are_defined_and_have_finite_gradients(op, a, b, iou: float, diou: float) -> None:
    x, y = torch.tensor([a], requires_grad=True), torch.tensor([b], requires_grad=True)
    value = op(x, y)
    value.sum().backward()
    assert value.item() == (iou if op is segment_iou else diou)
    assert bool(x.grad.isfinite().all()) and bool(y.grad.isfinite().all())


@OPS
def test_nan_gives_nan_only_in_its_own_pairs(op) -> None:
    a = torch.tensor([[0.0, math.nan], [0.0, 1.0]])
    assert op(a, torch.tensor([[0.0, 1.0], [2.0, 3.0]])).isnan().tolist() == [[True, True], [False, False]]


@OPS
def test_aligned_is_the_diagonal_and_leading_dimensions_are_batches(op) -> None:
    a, b = random_segments(3, 4, seed=1), random_segments(3, 4, seed=2)
    pairs = op(a, b)
    assert pairs.shape == (3, 4, 4)
    torch.testing.assert_close(op(a, b, aligned=True), pairs.diagonal(dim1=-2, dim2=-1), **checks.FLOAT64)
    for i in range(3):
        torch.testing.assert_close(pairs[i], op(a[i], b[i]), **checks.FLOAT64)
    torch.testing.assert_close(op(a, b[0]), torch.stack([op(x, b[0]) for x in a]), **checks.FLOAT64)
    assert op(a[:, None], b[None]).shape == (3, 3, 4, 4)


@OPS
@pytest.mark.parametrize("aligned", [False, True])
def test_gradients_equal_numerical_ones(op, aligned: bool) -> None:
    a, b = random_segments(2, 5, seed=3).requires_grad_(), random_segments(5, seed=4).requires_grad_()
    checks.gradcheck(lambda x, y: op(x, y, aligned=aligned), a, b)
    reverse = random_segments(2, 5, seed=5).flip(-1).requires_grad_()
    checks.gradcheck(lambda x, y: op(x, y, aligned=aligned), reverse, b)


@OPS
def test_gradients_equal_autograd_of_the_plain_formula_also_at_ties(op) -> None:
    # Integers make ties of boundaries frequent; plain autograd differs from ours only where a segment has no length or
    # two segments merely touch, so those are left out.
    generator = torch.Generator().manual_seed(6)
    start = torch.randint(0, 5, (40,), generator=generator)
    proper = torch.stack((start, start + torch.randint(1, 5, (40,), generator=generator)), dim=-1).double()
    a, b = proper[:20], proper[20:]
    keep = torch.minimum(a[:, 1:], b[:, 1]) != torch.maximum(a[:, :1], b[:, 0])
    assert int((a[:, :1] == b[:, 0]).sum()) > 50

    def weighted(function) -> list[Tensor]:
        x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
        return list(torch.autograd.grad((function(x, y) * keep).sum(), (x, y)))

    ours = weighted(op)

    def formula(x: Tensor, y: Tensor) -> Tensor:
        return reference.segment_iou(Operands(a=x, b=y, aligned=False, distance=op is segment_diou)).iou

    plain = weighted(formula)
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, **checks.FLOAT64)


@OPS
def test_half_precision_layouts_and_mixed_dtypes(op) -> None:
    a, b = random_segments(4, seed=7).float().requires_grad_(), random_segments(3, seed=8).float().requires_grad_()
    checks.half_precision(op, a, b)
    checks.any_layout(op, a, b)
    assert op(a, b.double()).dtype == torch.float64
    assert op(a, b.half()).dtype == torch.float32


@OPS
@pytest.mark.parametrize(("n", "m"), [(0, 3), (3, 0), (0, 0), (1, 1)])
def test_empty_and_single(op, n: int, m: int) -> None:
    a, b = random_segments(n).requires_grad_(), random_segments(m).requires_grad_()
    value = op(a, b)
    assert value.shape == (n, m)
    value.sum().backward()
    assert a.grad.shape == (n, 2) and b.grad.shape == (m, 2)
    assert op(random_segments(n), random_segments(n), aligned=True).shape == (n,)


@OPS
def test_bad_arguments_are_named(op) -> None:
    good = random_segments(3)
    with pytest.raises(TypeError, match=r"a must be floating point, got torch.int64"):
        op(torch.zeros(3, 2, dtype=torch.int64), good)
    with pytest.raises(TypeError, match="b must be a tensor, got list"):
        op(good, [[0.0, 1.0]])
    with pytest.raises(ValueError, match=r"b must be \(..., N, 2\), got \(3, 3\)"):
        op(good, torch.zeros(3, 3))
    with pytest.raises(ValueError, match="as many rows"):
        op(good, random_segments(4), aligned=True)
    with pytest.raises(ValueError, match="do not broadcast"):
        op(random_segments(2, 3), random_segments(3, 3))
    with pytest.raises(ValueError, match="a is on cpu but b on meta"):
        op(good, good.to("meta"))


def test_second_derivatives_are_refused() -> None:
    a = random_segments(2).requires_grad_()
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(segment_iou(a, random_segments(2, seed=1)).sum(), a, create_graph=True)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("distance", [False, True])
def test_registration(aligned: bool, distance: bool) -> None:
    a, b = random_segments(2, 3, seed=9).requires_grad_(), random_segments(3, seed=10).requires_grad_()
    given = Operands(a=a, b=b, aligned=aligned, distance=distance)
    checks.opcheck(torch.ops.asl_fast.segment_iou.default, *given)
    grad = torch.ones(2, 3) if aligned else torch.ones(2, 3, 3)
    back = BackwardOperands(grad=grad.double(), a=a.detach(), b=b.detach(), aligned=aligned, distance=distance)
    checks.opcheck(torch.ops.asl_fast.segment_iou_backward.default, *back)


@OPS
def test_compiles_without_a_graph_break(op) -> None:
    checks.compiles(op, random_segments(3, seed=11).requires_grad_(), random_segments(2, seed=12).requires_grad_())


@OPS
@pytest.mark.parametrize("name", checks.implementations("segment_iou"))
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_implementation_equals_the_reference(op, name: str, aligned: bool, dtype: torch.dtype) -> None:
    a = random_segments(2, 70, seed=13, dtype=dtype)
    a[0, :4] = torch.tensor([[3.0, 3.0], [5.0, 2.0], [1.0, 4.0], [0.0, 9.0]])
    b = random_segments(2, 70 if aligned else 33, seed=14, dtype=dtype)
    b[0, :4] = torch.tensor([[3.0, 3.0], [2.0, 5.0], [1.0, 4.0], [1.0, 9.0]])
    a.requires_grad_(), b.requires_grad_()
    with checks.every_call_on(name):
        value, grads = checks.value_and_grads(lambda x, y: op(x, y, aligned=aligned), a, b)
    double = [t.detach().double().requires_grad_() for t in (a, b)]
    with checks.every_call_on("reference"):
        expected, expected_grads = checks.value_and_grads(lambda x, y: op(x, y, aligned=aligned), *double)
    tolerance = checks.FLOAT64 if dtype == torch.float64 else {"rtol": 2e-5, "atol": 2e-5}
    torch.testing.assert_close(value.double(), expected, **tolerance)
    for grad, other in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(grad.double(), other, **tolerance)
