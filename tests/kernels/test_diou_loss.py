# SPDX-License-Identifier: Apache-2.0
"""The Triton DIoU loss equals the float64 reference and stays within its buffers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

pytest.importorskip("triton", minversion="3.5")

from asl_fast.kernels import diou_loss as kernels

from asl_fast.reference.diou_loss import diou_loss as reference
from tests.kernels.fences import fenced
from tests.kernels.loss_checks import diou_follows_the_reference_beyond_numbers, diou_operands, noted_launches, widened


def compare(pred: Tensor, target: Tensor, weights: Tensor | None, reduction: str) -> None:
    operands = diou_operands(pred, target, weights, reduction=reduction)
    with fenced():
        found = kernels.diou_loss(operands)
    expected = reference(widened(operands))
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        assert one.shape == other.shape and one.is_contiguous()
        eps = torch.finfo(one.dtype).eps if index else 0.0  # gradients round to bfloat16, never below float32
        # Slopes are about one over the length; what cancels in them is relative to the largest.
        size = max(1.0, float(other.abs().max())) if other.numel() else 1.0
        torch.testing.assert_close(one.double(), other, rtol=1e-5 + eps, atol=1e-6 * size)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_equals_the_reference(dtype: torch.dtype, reduction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    pred, target = (torch.rand(1100, 2, generator=generator).mul(20).to(dtype) for _ in range(2))
    pred[:20], target[10:30], target[30:60] = 0, 0, pred[30:60]
    compare(pred, target, torch.rand(1100, generator=generator).to(dtype), reduction)


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 513])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_tails(rows: int, reduction: str) -> None:
    generator = torch.Generator().manual_seed(rows)
    pred, target = (torch.rand(rows, 2, generator=generator) for _ in range(2))
    compare(pred, target, None, reduction)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_programs_that_take_many_tiles_in_one_launch(reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BLOCK", 64)
    monkeypatch.setattr(kernels._reduction, "PROGRAMS", 3)
    launches = noted_launches(monkeypatch)
    generator = torch.Generator().manual_seed(1)
    pred, target = torch.rand(2, 700, 2, generator=generator)
    compare(pred, target, torch.rand(700, generator=generator), reduction)
    compare(pred, target, None, reduction)
    assert len(launches) == 2


def test_the_same_bits_in_every_run() -> None:
    pred, target = torch.rand(2, 3000, 2, generator=torch.Generator().manual_seed(2))
    runs = [kernels.diou_loss(diou_operands(pred, target, reduction="sum")) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_beyond_numbers() -> None:
    diou_follows_the_reference_beyond_numbers(kernels.diou_loss)


lengths = st.sampled_from([0.0, 1e-6, 1.0, 3.5, 1e4]) | st.floats(0, 1000, width=32)


@given(st.lists(st.tuples(lengths, lengths, lengths, lengths), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_drawn_offsets(rows: list[tuple[float, float, float, float]]) -> None:
    both = torch.tensor(rows, dtype=torch.float32)
    # Below a length of 1e-4 the slopes, one over the length, are compared in the random test only as zeros.
    both = torch.where(both < 1e-4, 0.0, both)
    compare(both[:, :2], both[:, 2:], None, "none")
