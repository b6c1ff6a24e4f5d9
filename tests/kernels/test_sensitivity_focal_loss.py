# SPDX-License-Identifier: Apache-2.0
"""The Triton focal loss equals the float64 reference and stays within its buffers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("triton", minversion="3.5")

from asl_fast.kernels import sensitivity_focal_loss as kernels

from asl_fast.reference.sensitivity_focal_loss import Operands
from asl_fast.reference.sensitivity_focal_loss import sensitivity_focal_loss as reference
from tests.kernels.fences import fenced
from tests.kernels.loss_checks import focal_operands, noted_launches, widened

# The derivative adds two terms that may cancel to a tenth; each is 20 operations and two exponentials of float32.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}


def compare(operands: Operands) -> None:
    """Loss and both derivatives against float64; sums are relative to the sum of magnitudes, which loss terms are."""
    with fenced():
        found = kernels.sensitivity_focal_loss(operands)
    expected = reference(widened(operands))
    eps = 0.0
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        if index:
            eps = torch.finfo(one.dtype).eps  # gradients round to bfloat16, never below float32
        assert one.shape == other.shape and one.is_contiguous()
        torch.testing.assert_close(one.double(), other, rtol=FLOAT32["rtol"] + eps, atol=FLOAT32["atol"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("sparse", [False, True])
def test_equals_the_reference(dtype: torch.dtype, reduction: str, sparse: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(150, 21, generator=generator)).to(dtype)
    ids = torch.randint(-1, 21, (150,), generator=generator)
    dense = torch.rand(150, 21, generator=generator).to(dtype)
    mask = torch.rand(150, generator=generator) > 0.3
    weights = torch.rand(*((150,) if sparse else (150, 21)), generator=generator).to(dtype)
    logits[~mask], weights[~mask] = math.nan, math.inf
    targets = ids if sparse else dense
    compare(focal_operands(logits, targets, weights, mask, label_smoothing=0.1, reduction=reduction))


@pytest.mark.parametrize("classes", [1, 16, 17, 97, 300])
@pytest.mark.parametrize("rows", [1, 64, 65])
def test_tails_of_rows_and_classes(rows: int, classes: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    logits, ids = torch.randn(rows, classes, generator=generator), torch.arange(rows) % (classes + 1) - 1
    compare(focal_operands(logits, ids, torch.rand(rows, generator=generator), gamma=1.0, reduction="sum"))


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 20, 65])
@pytest.mark.parametrize("row_gradients", [False, True])
def test_programs_that_take_many_tiles(classes: int, row_gradients: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "BLOCK", 64)
    monkeypatch.setattr(kernels._reduction, "PROGRAMS", 3)
    generator = torch.Generator().manual_seed(classes)
    logits, mask = torch.randn(131, classes, generator=generator), torch.rand(131, generator=generator) > 0.2
    ids, weights = torch.arange(131) % (classes + 1) - 1, torch.rand(131, generator=generator)
    sparse = focal_operands(logits, ids, weights, mask, reduction="mean")._replace(need_weights=row_gradients)
    compare(sparse)
    compare(sparse._replace(targets=torch.rand(131, classes, generator=generator), reduction="sum"))
    compare(sparse._replace(weights=logits.exp(), label_smoothing=0.1, reduction="none"))


def test_rows_too_wide_for_a_division_by_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, ids = torch.randn(9, 36, generator=torch.Generator().manual_seed(4)), torch.arange(9) * 4 - 1
    operands = focal_operands(logits, ids, reduction="sum")
    flat = kernels.sensitivity_focal_loss(operands)
    monkeypatch.setattr(kernels, "MOST_PACKS", 8)
    compare(operands)
    assert torch.equal(kernels.sensitivity_focal_loss(operands).grad_logits, flat.grad_logits)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_one_launch(reduction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = noted_launches(monkeypatch)
    kernels.sensitivity_focal_loss(focal_operands(torch.randn(3000, 4), torch.zeros(3000).long(), reduction=reduction))
    assert len(launches) == 1


@given(
    rows=st.lists(st.tuples(st.floats(-110, 110, width=32), st.sampled_from([0.0, 1.0, 0.3])), min_size=1, max_size=12),
    alpha=st.sampled_from([-1.0, 0.0, 0.25, 1.0]),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]),
)
@settings(max_examples=30, deadline=None)
def test_drawn_logits(rows: list[tuple[float, float]], alpha: float, gamma: float) -> None:
    logits, targets = (torch.tensor(column, dtype=torch.float32)[None] for column in zip(*rows, strict=True))
    compare(focal_operands(logits, targets, alpha=alpha, gamma=gamma))


def test_keeps_its_digits_where_the_sigmoid_saturates() -> None:
    logits, ones = torch.tensor([[20.0, 30.0]]), torch.ones(1, 2)
    found = kernels.sensitivity_focal_loss(focal_operands(logits, ones, alpha=-1.0))
    torch.testing.assert_close(found.loss.double(), torch.exp(-3 * logits.double()), rtol=2e-5, atol=0)
    torch.testing.assert_close(found.grad_logits.double(), -3 * torch.exp(-3 * logits.double()), rtol=2e-5, atol=0)


def test_class_ids_out_of_range_count_as_background() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    found = kernels.sensitivity_focal_loss(focal_operands(logits, torch.tensor([-1, 3, -9, 2**32 + 1])))
    expected = kernels.sensitivity_focal_loss(focal_operands(logits, torch.full((4,), -1)))
    assert torch.equal(found.loss, expected.loss) and torch.equal(found.grad_logits, expected.grad_logits)


def test_the_same_bits_in_every_run() -> None:
    logits, ids = torch.randn(1000, 20, generator=torch.Generator().manual_seed(2)), torch.arange(1000) % 21 - 1
    runs = [kernels.sensitivity_focal_loss(focal_operands(logits, ids, reduction="sum")) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))
