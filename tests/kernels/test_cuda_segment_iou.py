# SPDX-License-Identifier: Apache-2.0
"""CUDA IoU and DIoU, forward and backward, equal the float64 reference and stay within their buffers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast.ops import _segment_iou_native as native
from asl_fast.reference import segment_iou as reference
from asl_fast.reference.segment_iou import BackwardOperands, Operands
from tests.kernels import cuda_on_host

Shape = tuple[int, ...]


def random_segments(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    start, length = torch.rand(2, *shape, generator=generator).mul(10)
    return torch.stack((start, start + length), -1).to(dtype)


def compare(device: torch.device, a: Tensor, b: Tensor, aligned: bool, distance: bool) -> None:
    placed = Operands(a=a.to(device), b=b.to(device), aligned=aligned, distance=distance)
    wide = placed._replace(a=a.double(), b=b.double())
    found, expected = native.cuda(placed).iou, reference.segment_iou(wide).iou
    assert found.shape == expected.shape and found.is_contiguous()
    narrow = found.dtype == torch.float32
    rtol, atol = (1e-5, 1e-6) if narrow else (1e-12, 1e-12)
    torch.testing.assert_close(found.cpu().double(), expected, rtol=rtol, atol=atol, equal_nan=True)
    grad = torch.linspace(0.5, 1.5, found.numel()).view(found.shape)
    grads = native.cuda_backward(BackwardOperands(grad=grad.to(device), **placed._asdict()))
    others = reference.segment_iou_backward(BackwardOperands(grad=grad.double(), **wide._asdict()))
    for one, other, of in zip(grads, others, (a, b), strict=True):
        assert one.shape == of.shape and one.dtype == of.dtype
        scale = float(other.abs().nan_to_num().max()) if other.numel() else 0.0
        eps = torch.finfo(of.dtype).eps  # a sum of slopes that may cancel, rounded once to the dtype of the input
        torch.testing.assert_close(one.cpu().double(), other, rtol=rtol + eps, atol=atol * (1 + scale), equal_nan=True)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("distance", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_equals_the_reference(cuda_device: torch.device, aligned: bool, distance: bool, dtype: torch.dtype) -> None:
    a = random_segments(2, 37, dtype=dtype)
    b = random_segments(2, 37 if aligned else 140, seed=1, dtype=dtype)
    a[0, :4] = torch.tensor([[3.0, 3.0], [5.0, 2.0], [1.0, 4.0], [0.0, 9.0]])  # no length, reversed, ties
    b[0, :4] = torch.tensor([[3.0, 3.0], [2.0, 5.0], [1.0, 4.0], [1.0, 9.0]])
    compare(cuda_device, a, b, aligned, distance)


@pytest.mark.parametrize("n", [1, 8, 9, 16, 17])
@pytest.mark.parametrize("m", [1, 31, 32, 33, 256, 257])
def test_tails(cuda_device: torch.device, n: int, m: int) -> None:
    compare(cuda_device, random_segments(n), random_segments(m, seed=1), False, True)


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257])
def test_tails_of_rows(cuda_device: torch.device, rows: int) -> None:
    compare(cuda_device, random_segments(rows), random_segments(rows, seed=1), True, True)


@pytest.mark.parametrize(
    "shapes", [((3, 1, 5), (2, 4)), ((5,), (3, 4)), ((1, 5), (2, 4)), ((0,), (4,)), ((2, 3), (0,)), ((0, 3), (2,))]
)
def test_leading_dimensions_broadcast(cuda_device: torch.device, shapes: tuple[Shape, Shape]) -> None:
    compare(cuda_device, random_segments(*shapes[0]), random_segments(*shapes[1], seed=1), False, True)


def test_aligned_rows_broadcast_in_any_layout_and_mixed_types(cuda_device: torch.device) -> None:
    compare(cuda_device, random_segments(3, 1, 5), random_segments(5, seed=1), True, True)
    a, b = random_segments(80)[::2], random_segments(33, seed=1).t().contiguous().t()
    compare(cuda_device, a, b, False, True)
    compare(cuda_device, a, b.half(), False, False)
    compare(cuda_device, a.double(), b, False, False)
    odd = random_segments(41).flatten()[1:-1].view(40, 2)  # not aligned for pairs
    compare(cuda_device, odd, b, False, True)


def test_nan_gives_nan_only_in_its_own_pairs(cuda_device: torch.device) -> None:
    a = torch.tensor([[1.0, math.nan], [math.nan, 2.0], [0.0, 3.0]])
    given = Operands(a=a.to(cuda_device), b=random_segments(5).to(cuda_device), aligned=False, distance=False)
    for distance in (False, True):
        found = native.cuda(given._replace(distance=distance)).iou
        assert bool(found[:2].isnan().all()) and bool(found[2].isfinite().all())


def test_the_same_bits_in_any_order_of_threads_and_one_launch_forward(cuda_device: torch.device) -> None:
    if cuda_device.type == "cuda":
        pytest.skip("the order of threads is the device's")
    library, runs = cuda_on_host.library(), []
    given = Operands(a=random_segments(3, 50), b=random_segments(70, seed=1), aligned=False, distance=True)
    for seed in (1, 2):
        library.cuda_on_host_set_order(seed)
        before = library.cuda_on_host_launches()
        value = native.cuda(given).iou
        assert library.cuda_on_host_launches() == before + 1
        runs.append((value, *native.cuda_backward(BackwardOperands(grad=value, **given._asdict()))))
    library.cuda_on_host_set_order(1)
    assert all(map(torch.equal, *runs))


times = st.sampled_from([-3.0, 0.0, 0.5, 1.0, 2.0, 1000.0]) | st.floats(-100, 100, width=16)


@given(st.lists(st.tuples(times, times, times, times), min_size=1, max_size=6), st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_drawn_segments(
    cuda_device: torch.device, rows: list[tuple[float, float, float, float]], distance: bool
) -> None:
    both = torch.tensor(rows).mul(8).round().div(8)  # lengths of at least 1/8, or none: slopes are one over a length
    compare(cuda_device, both[:, :2], both[:, 2:], True, distance)
    compare(cuda_device, both[:, :2], both[:, 2:], False, distance)
