# SPDX-License-Identifier: Apache-2.0
"""The CUDA DIoU loss equals the float64 reference, in one launch, whatever the order of threads."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast.ops._diou_loss_native import cuda as diou_loss
from asl_fast.reference.diou_loss import Operands
from asl_fast.reference.diou_loss import diou_loss as reference
from tests.kernels import cuda_on_host
from tests.kernels.loss_checks import (
    a_row_without_a_value_stays_alone,
    autograd_takes_the_derivatives,
    diou_follows_the_reference_beyond_numbers,
    diou_operands,
    layouts_give_the_same_bits,
    tensors_on_the_cpu_take_another_implementation,
    widened,
)

OP = "diou_loss"
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
# About 20 operations of float32, relative to terms of size 1.
FLOAT32 = {"rtol": 1e-5, "atol": 2e-6}


def compare(device: torch.device, operands: Operands) -> None:
    """Compare the loss and three derivatives with float64."""
    found = diou_loss(Operands(*(x.to(device) if isinstance(x, Tensor) else x for x in operands)))
    expected = reference(widened(operands))
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        eps = torch.finfo(one.dtype).eps if index else 0.0
        assert one.shape == other.shape and one.is_contiguous()
        torch.testing.assert_close(one.cpu().double(), other, rtol=FLOAT32["rtol"] + eps, atol=FLOAT32["atol"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_equals_the_reference(cuda_device: torch.device, dtype: torch.dtype, reduction: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for rows, weighted in itertools.product((1, 255, 700), (False, True)):
        pred, target = (1 + 4 * torch.rand(rows, 2, generator=generator).to(dtype) for _ in range(2))
        weights = torch.rand(rows, generator=generator).to(dtype) if weighted else None
        compare(cuda_device, diou_operands(pred, target, weights, reduction=reduction))


def test_beyond_numbers(cuda_device: torch.device) -> None:
    diou_follows_the_reference_beyond_numbers(
        lambda given: diou_loss(given._replace(pred=given.pred.to(cuda_device), target=given.target.to(cuda_device)))
    )


@given(
    rows=st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 1.0, 3.0]) | st.floats(0, 100, width=32)] * 4), max_size=9),
    reduction=st.sampled_from(["none", "sum", "mean"]),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_drawn_offsets(cuda_device: torch.device, rows: list[tuple[float, ...]], reduction: str) -> None:
    values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    # Slopes are one over a length: what is shorter than a ten-thousandth of a step says nothing about precision.
    values = torch.where(values < 1e-4, 0.0, values)
    compare(cuda_device, diou_operands(values[:, :2], values[:, 2:], reduction=reduction))


def test_mixed_types_and_parts_that_are_not_needed(cuda_device: torch.device) -> None:
    generator = torch.Generator().manual_seed(1)
    pred = torch.rand(40, 2, generator=generator)
    target, weights = torch.rand(40, 2, generator=generator, dtype=torch.float64), torch.rand(40).half()
    compare(cuda_device, diou_operands(pred, target, weights, reduction="sum"))
    whole = diou_operands(pred, target.float(), weights, reduction="mean")
    for need_pred, need_target, need_weights in itertools.product((False, True), repeat=3):
        needed = whole._replace(need_pred=need_pred, need_target=need_target, need_weights=need_weights)
        compare(cuda_device, needed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_layouts_give_the_same_bits(cuda_device: torch.device, dtype: torch.dtype, reduction: str) -> None:
    generator = torch.Generator().manual_seed(3)
    pred, target = (torch.rand(40, 2, generator=generator).to(cuda_device, dtype) for _ in range(2))
    weights = torch.rand(40, generator=generator).to(cuda_device, dtype)
    layouts_give_the_same_bits(OP, diou_operands(pred, target, weights, reduction=reduction))


def test_one_launch_and_the_same_bits_in_any_order_of_threads(cuda_device: torch.device) -> None:
    if cuda_device.type == "cuda":
        pytest.skip("the order of threads is the device's")
    library = cuda_on_host.library()
    pred, target = torch.rand(2, 1000, 2, generator=torch.Generator().manual_seed(2)).unbind()
    runs = []
    for seed in (1, 2):
        library.cuda_on_host_set_order(seed)
        before = library.cuda_on_host_launches()
        runs.append(diou_loss(diou_operands(pred, target, reduction="sum")))
        assert library.cuda_on_host_launches() == before + 1
    library.cuda_on_host_set_order(1)
    assert all(map(torch.equal, *runs))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_row_without_a_value_stays_alone(cuda_device: torch.device, value: float) -> None:
    a_row_without_a_value_stays_alone(OP, value, cuda_device)


def test_autograd_takes_the_derivatives(cuda_device: torch.device) -> None:
    autograd_takes_the_derivatives(OP, cuda_device)


def test_tensors_on_the_cpu_take_another_implementation() -> None:
    tensors_on_the_cpu_take_another_implementation(OP)
