# SPDX-License-Identifier: Apache-2.0
"""Triton IoU and DIoU, forward and backward, equal the float64 reference and stay within their buffers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton", minversion="3.5")

from asl_fast.kernels import segment_iou as kernels

from asl_fast.reference import segment_iou as reference
from asl_fast.reference.segment_iou import BackwardOperands, Operands
from tests.kernels.fences import fenced


def random_segments(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    start, length = torch.rand(2, *shape, generator=generator).mul(10)
    return torch.stack((start, start + length), -1).to(dtype)


def compare(a: Tensor, b: Tensor, aligned: bool, distance: bool) -> None:
    given = Operands(a=a, b=b, aligned=aligned, distance=distance)
    wide = given._replace(a=a.double(), b=b.double())
    with fenced():
        found = kernels.segment_iou(given).iou
    expected = reference.segment_iou(wide).iou
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6, equal_nan=True)
    assert found.shape == expected.shape and found.is_contiguous()
    grad = torch.linspace(0.5, 1.5, found.numel()).view(found.shape)
    with fenced():
        grads = kernels.segment_iou_backward(BackwardOperands(grad=grad, **given._asdict()))
    others = reference.segment_iou_backward(BackwardOperands(grad=grad.double(), **wide._asdict()))
    for one, other, of in zip(grads, others, (a, b), strict=True):
        assert one.shape == of.shape and one.dtype == of.dtype
        scale = float(other.abs().nan_to_num().max()) if other.numel() else 0.0
        eps = torch.finfo(of.dtype).eps  # a sum of slopes that may cancel, rounded once to the dtype of the input
        torch.testing.assert_close(one.double(), other, rtol=1e-5 + eps, atol=1e-6 + 1e-6 * scale, equal_nan=True)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("distance", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_equals_the_reference(aligned: bool, distance: bool, dtype: torch.dtype) -> None:
    a = random_segments(2, 37, dtype=dtype)
    b = random_segments(2, 37 if aligned else 140, seed=1, dtype=dtype)
    a[0, :4] = torch.tensor([[3.0, 3.0], [5.0, 2.0], [1.0, 4.0], [0.0, 9.0]])
    b[0, :4] = torch.tensor([[3.0, 3.0], [2.0, 5.0], [1.0, 4.0], [1.0, 9.0]])
    compare(a, b, aligned, distance)


@pytest.mark.parametrize(
    "shapes", [((3, 1, 5), (2, 4)), ((5,), (3, 4)), ((1, 5), (2, 4)), ((0,), (4,)), ((2, 3), (0,))]
)
def test_leading_dimensions_broadcast(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    compare(random_segments(*shapes[0]), random_segments(*shapes[1], seed=1), False, True)


@pytest.mark.parametrize("n", [1, 31, 32, 33, 70])
@pytest.mark.parametrize("m", [1, 3, 4, 256, 257, 516])
def test_tails(n: int, m: int) -> None:
    compare(random_segments(n), random_segments(m, seed=1), False, True)


@pytest.mark.parametrize("m", [1024, 1028, 1030])
def test_many_columns_and_a_batch(m: int) -> None:
    compare(random_segments(2, 34), random_segments(m, seed=1), False, False)


def test_no_length_and_no_hull_give_0() -> None:
    points = torch.tensor([[2.0, 2.0], [2.0, 2.0], [3.0, 1.0], [5.0, 5.0]])
    for distance in (False, True):
        found = kernels.segment_iou(Operands(a=points, b=points, aligned=True, distance=distance)).iou
        assert torch.equal(found, torch.zeros(4))


def test_aligned_rows_broadcast() -> None:
    compare(random_segments(3, 1, 5), random_segments(5, seed=1), True, True)


def test_nan_gives_nan() -> None:
    a = torch.tensor([[1.0, math.nan], [math.nan, 2.0], [0.0, 3.0]])
    found = kernels.segment_iou(Operands(a=a, b=random_segments(5), aligned=False, distance=False)).iou
    assert bool(found[:2].isnan().all()) and bool(found[2].isfinite().all())


times = st.sampled_from([-3.0, 0.0, 0.5, 1.0, 2.0, 1000.0]) | st.floats(-100, 100, width=16)


@given(st.lists(st.tuples(times, times, times, times), min_size=1, max_size=6), st.booleans())
@settings(max_examples=25, deadline=None)
def test_drawn_segments(rows: list[tuple[float, float, float, float]], distance: bool) -> None:
    both = torch.tensor(rows).mul(8).round().div(8)  # lengths of at least 1/8, or none: slopes are one over a length
    compare(both[:, :2], both[:, 2:], True, distance)
    compare(both[:, :2], both[:, 2:], False, distance)
