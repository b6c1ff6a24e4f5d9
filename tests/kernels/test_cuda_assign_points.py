# SPDX-License-Identifier: Apache-2.0
"""CUDA point assignment gives the reference's bits, in one launch, within its buffers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast.ops import _assign_points_native
from asl_fast.reference.assign_points import Operands, Outputs
from asl_fast.reference.assign_points import assign_points as reference
from tests.kernels import cuda_on_host
from tests.kernels.assign_points_cases import drawn, drawn_pairs, problem, pyramid


def assign(device: torch.device, operands: Operands) -> Outputs:
    """Return what the CUDA implementation makes of CPU tensors, on the CPU again."""
    placed = Operands(*(x.to(device) if isinstance(x, Tensor) else x for x in operands))
    return Outputs(*(x.cpu() for x in _assign_points_native.cuda(placed)))


def compare(
    device: torch.device, points: Tensor, segments: Tensor, counts: list[int], classes: int, radius: float | None
) -> None:
    operands = problem(points, segments, counts, classes, radius)
    for one, other in zip(assign(device, operands), reference(operands), strict=True):
        assert one.dtype == other.dtype and one.is_contiguous() and torch.equal(one, other)


@pytest.mark.parametrize("radius", [1.5, None])
@pytest.mark.parametrize("counts", [[0], [1], [70, 0, 17, 32], [0, 128, 129, 0], [300]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_equals_the_reference(
    cuda_device: torch.device, radius: float | None, counts: list[int], dtype: torch.dtype
) -> None:
    compare(cuda_device, pyramid(100).to(dtype), drawn(sum(counts)).to(dtype), counts, 7, radius)


@pytest.mark.parametrize("classes", [1, 16, 65])
@pytest.mark.parametrize("length", [0, 1, 72, 73, 74])  # 73 of one level are 128 of three
def test_tails(cuda_device: torch.device, length: int, classes: int) -> None:
    segments = torch.tensor([[0.0, 3.0], [2.0, 30.0], [2.0, 30.0]])
    compare(cuda_device, pyramid(length), segments, [3, 0], classes, 1.5)


def test_no_video_and_any_layout(cuda_device: torch.device) -> None:
    compare(cuda_device, pyramid(9), torch.empty(0, 2), [], 3, 1.5)
    segments = drawn(40).t().contiguous().t()
    assert not segments.is_contiguous()
    compare(cuda_device, pyramid(90).t().contiguous().t(), segments, [11, 29], 3, 1.5)
    compare(cuda_device, pyramid(90).double(), segments, [11, 29], 3, 1.5)


def test_padded_segments_take_no_part(cuda_device: torch.device) -> None:
    whole = problem(pyramid(100), drawn(40), [11, 29], 7, 1.5)
    padding = torch.tensor([[0.0, 90.0], [math.nan, 2.0]])
    padded = whole._replace(
        segments=torch.cat([whole.segments, padding]), labels=torch.cat([whole.labels, torch.tensor([3, -5])])
    )
    for one, other in zip(assign(cuda_device, padded), assign(cuda_device, whole), strict=True):
        assert torch.equal(one, other)


def test_segments_without_length_or_with_nan_claim_nothing(cuda_device: torch.device) -> None:
    segments = torch.tensor([[5.0, 5.0], [9.0, 3.0], [math.nan, 9.0], [2.0, math.nan], [0.0, math.inf]])
    for radius in (1.5, None):
        found = assign(cuda_device, problem(pyramid(16), segments, [5], 1, radius))
        assert bool((found.instance == -1).all())
        assert not any(bool(values.any()) for values in (found.class_targets, found.offsets, found.distance))


def test_unknown_labels_are_not_written(cuda_device: torch.device) -> None:
    operands = problem(pyramid(8), torch.tensor([[0.0, 6.0]] * 3), [3], 4, None)
    found = assign(cuda_device, operands._replace(labels=torch.tensor([-1, 4, 2])))
    assert found.class_targets.sum(1).sum(0).nonzero().flatten().tolist() == [2]


def test_one_launch_for_the_batch_in_any_order_of_threads() -> None:
    # Launches can be counted, and the order of threads drawn, only where the CPU runs the kernel.
    device, library = torch.device("cpu"), cuda_on_host.library()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("asl_fast.native.cuda_module", cuda_on_host.module)
        for seed in range(3):
            library.cuda_on_host_set_order(seed)
            before = library.cuda_on_host_launches()
            compare(device, pyramid(150), drawn(200), [60, 0, 140], 20, 1.5)
            assert library.cuda_on_host_launches() - before == 1
    library.cuda_on_host_set_order(1)


@given(drawn_pairs, st.sampled_from([None, 0.5, 1.0, 1.5]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_drawn_segments(cuda_device: torch.device, pairs: list[tuple[float, float]], radius: float | None) -> None:
    segments = torch.tensor(pairs, dtype=torch.float32).view(-1, 2)
    compare(cuda_device, pyramid(12), segments, [len(pairs)], 3, radius)
