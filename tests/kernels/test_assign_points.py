# SPDX-License-Identifier: Apache-2.0
"""Triton point assignment equals the reference bit for bit in its decisions and stays within its buffers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton")

from asl_fast.kernels import assign_points as kernels

from asl_fast.reference import assign_points as reference
from tests.kernels.fences import fenced


def pyramid(length: int) -> Tensor:
    """Return (P, 4) points of three levels."""
    levels = []
    for level, (low, high) in enumerate(((0.0, 8.0), (4.0, 16.0), (8.0, 10000.0))):
        time = torch.arange(0, length, 2**level, dtype=torch.float32)
        levels.append(torch.stack((time, *(torch.full_like(time, v) for v in (low, high, 2.0**level))), -1))
    return torch.cat(levels)


def problem(
    points: Tensor, segments: Tensor, counts: list[int], classes: int, radius: float | None
) -> reference.Operands:
    """Videos of ``counts`` segments each, their labels 0, 1, ..., C - 1, 0, ..."""
    return reference.Operands(
        points=points,
        segments=segments,
        labels=torch.arange(len(segments)) % classes,
        video_offsets=torch.tensor([0, *counts]).cumsum(0),
        num_classes=classes,
        center_sampling_radius=radius,
        tie_tolerance=1e-3,
    )


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
    generator = torch.Generator().manual_seed(1)
    start, size = torch.rand(2, sum(counts), generator=generator) * torch.tensor([[90.0], [40.0]])
    segments = torch.stack((start, start + size), -1)
    segments[: len(segments) // 2].round_()  # equal lengths, boundaries on points
    compare(pyramid(100).to(dtype), segments.to(dtype), counts, 7, radius)


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


ticks = st.integers(0, 24).map(lambda n: n / 2)


@given(st.lists(st.tuples(ticks, ticks), max_size=8), st.sampled_from([None, 0.5, 1.0, 1.5]))
@settings(max_examples=25, deadline=None)
def test_drawn_segments(pairs: list[tuple[float, float]], radius: float | None) -> None:
    compare(pyramid(12), torch.tensor(pairs, dtype=torch.float32).view(-1, 2), [len(pairs)], 3, radius)
