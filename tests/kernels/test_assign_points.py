# SPDX-License-Identifier: Apache-2.0
"""Triton point assignment equals the reference bit for bit in its decisions and stays within its buffers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton", minversion="3.5")

from asl_fast.kernels import assign_points as kernels

from asl_fast.reference import assign_points as reference
from tests.kernels.assign_points_cases import drawn, drawn_pairs, problem, pyramid
from tests.kernels.fences import fenced


def compare(points: Tensor, segments: Tensor, counts: list[int], classes: int, radius: float | None) -> None:
    operands = problem(points, segments, counts, classes, radius)
    with fenced():
        found = kernels.assign_points(operands)
    expected = reference.assign_points(operands)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
    assert torch.equal(found.instance, expected.instance) and torch.equal(found.class_targets, expected.class_targets)
    torch.testing.assert_close(found.offsets, expected.offsets, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.distance, expected.distance, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("radius", [1.5, None])
@pytest.mark.parametrize("counts", [[0], [1], [70, 0, 17, 32, 33]], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_equals_the_reference(radius: float | None, counts: list[int], dtype: torch.dtype) -> None:
    compare(pyramid(100).to(dtype), drawn(sum(counts)).to(dtype), counts, 7, radius)


@pytest.mark.parametrize("classes", [1, 16, 65])
@pytest.mark.parametrize("length", [0, 1, 36, 37])
def test_tails(length: int, classes: int) -> None:
    segments = torch.tensor([[0.0, 3.0], [2.0, 30.0], [2.0, 30.0]])
    compare(pyramid(length), segments, [3, 0], classes, 1.5)


def test_segments_without_length_or_with_nan_claim_nothing() -> None:
    segments = torch.tensor([[5.0, 5.0], [9.0, 3.0], [math.nan, 9.0], [2.0, math.nan], [0.0, math.inf]])
    for radius in (1.5, None):
        found = kernels.assign_points(problem(pyramid(16), segments, [5], 1, radius))
        assert bool((found.instance == -1).all()) and not bool(found.class_targets.any())
        assert not bool(found.offsets.any()) and not bool(found.distance.any())


def test_unknown_labels_are_not_written() -> None:
    operands = problem(pyramid(8), torch.tensor([[0.0, 6.0]] * 3), [3], 4, None)
    with fenced():
        found = kernels.assign_points(operands._replace(labels=torch.tensor([-1, 4, 2])))
    assert found.class_targets.sum(1).sum(0).nonzero().flatten().tolist() == [2]


@given(drawn_pairs, st.sampled_from([None, 0.5, 1.0, 1.5]))
@settings(max_examples=25, deadline=None)
def test_drawn_segments(pairs: list[tuple[float, float]], radius: float | None) -> None:
    compare(pyramid(12), torch.tensor(pairs, dtype=torch.float32).view(-1, 2), [len(pairs)], 3, radius)
