# SPDX-License-Identifier: Apache-2.0
"""The CUDA focal loss equals the float64 reference, in one launch, whatever the order of threads."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast.ops import _dispatch, _sensitivity_focal_loss_native
from asl_fast.ops._sensitivity_focal_loss_native import cuda as sensitivity_focal_loss
from asl_fast.reference.sensitivity_focal_loss import Operands
from asl_fast.reference.sensitivity_focal_loss import sensitivity_focal_loss as reference
from tests.kernels import cuda_on_host
from tests.kernels.loss_checks import (
    a_row_without_a_value_stays_alone,
    autograd_takes_the_derivatives,
    focal_operands,
    layouts_give_the_same_bits,
    misaligned,
    outputs,
    tensors_on_the_cpu_take_another_implementation,
    widened,
)

OP = "sensitivity_focal_loss"
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
# The derivative adds two terms that may cancel to a tenth; each is 20 operations and two exponentials of float32.
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}


def compare(device: torch.device, operands: Operands) -> None:
    """Loss and both derivatives against float64."""
    found = sensitivity_focal_loss(Operands(*(x.to(device) if isinstance(x, Tensor) else x for x in operands)))
    expected = reference(widened(operands))
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        eps = torch.finfo(one.dtype).eps if index else 0.0  # gradients round to bfloat16, never below float32
        assert one.shape == other.shape and one.is_contiguous()
        torch.testing.assert_close(one.cpu().double(), other, rtol=FLOAT32["rtol"] + eps, atol=FLOAT32["atol"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("sparse", [False, True])
def test_equals_the_reference(cuda_device: torch.device, dtype: torch.dtype, reduction: str, sparse: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = (4 * torch.randn(150, 21, generator=generator)).to(dtype)
    ids = torch.randint(-1, 21, (150,), generator=generator)
    dense = torch.rand(150, 21, generator=generator).to(dtype)
    mask = torch.rand(150, generator=generator) > 0.3
    weights = torch.rand(*((150,) if sparse else (150, 21)), generator=generator).to(dtype)
    logits[~mask], weights[~mask] = math.nan, math.inf
    targets = ids if sparse else dense
    compare(cuda_device, focal_operands(logits, targets, weights, mask, label_smoothing=0.1, reduction=reduction))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("classes", [1, 3, 7, 8, 9, 20])
def test_packs_that_end_anywhere(cuda_device: torch.device, dtype: torch.dtype, classes: int) -> None:
    generator = torch.Generator().manual_seed(classes)
    for rows, sparse, row_weights in itertools.product((1, 2, 5, 16, 17), (False, True), (False, True)):
        logits = (3 * torch.randn(rows, classes, generator=generator)).to(dtype)
        ids, dense = torch.arange(rows) % (classes + 1) - 1, torch.rand(rows, classes, generator=generator).to(dtype)
        weights = torch.rand(rows, *(() if row_weights else (classes,)), generator=generator)
        mask = torch.arange(rows) % 3 != 1
        logits[~mask], dense[~mask], weights[~mask] = math.nan, math.nan, math.inf
        operands = focal_operands(logits, ids if sparse else dense, weights, mask, label_smoothing=0.1)
        for reduction in ("none", "mean"):
            compare(cuda_device, operands._replace(reduction=reduction))


# Of the wide ones, tiles begin within a pack.
@pytest.mark.parametrize("rows_classes", [(1, 1), (3, 300), (64, 65), (205, 20), (7, 1365), (2, 4096), (2, 4097)])
@pytest.mark.parametrize("gamma", [2.0, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_tails_of_tiles(
    cuda_device: torch.device, rows_classes: tuple[int, int], gamma: float, dtype: torch.dtype
) -> None:
    rows, classes = rows_classes
    generator = torch.Generator().manual_seed(rows)
    logits, ids = torch.randn(rows, classes, generator=generator).to(dtype), torch.arange(rows) % (classes + 1) - 1
    for reduction in ("none", "sum"):
        weights = torch.rand(rows, generator=generator)
        compare(cuda_device, focal_operands(logits, ids, weights, gamma=gamma, reduction=reduction))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_layouts_give_the_same_bits(
    cuda_device: torch.device, dtype: torch.dtype, sparse: bool, reduction: str
) -> None:
    generator = torch.Generator().manual_seed(4)
    logits = torch.randn(2, 13, 11, generator=generator).to(dtype)
    targets = (
        torch.randint(-1, 11, (2, 13), generator=generator)
        if sparse
        else torch.rand(2, 13, 11, generator=generator).to(dtype)
    )
    weights = torch.rand(*((2, 13) if sparse else (2, 13, 11)), generator=generator).to(dtype)
    tensors = (logits, targets, weights, torch.rand(2, 13, generator=generator) > 0.3)
    placed = [x.to(cuda_device) for x in tensors]
    layouts_give_the_same_bits(OP, focal_operands(*placed, reduction=reduction))


def test_every_mix_of_types(cuda_device: torch.device) -> None:
    generator = torch.Generator().manual_seed(3)
    for logits_dtype, targets_dtype, weights_dtype in itertools.product(DTYPES, repeat=3):
        logits, targets, weights = torch.rand(3, 9, 5, generator=generator).unbind()
        typed = logits.to(logits_dtype), targets.to(targets_dtype), weights.to(weights_dtype)
        operands = focal_operands(*typed, alpha=-1.0, reduction="sum")
        compare(cuda_device, operands)
        compare(cuda_device, operands._replace(weights=typed[2][:, 0]))


@given(
    rows=st.lists(st.tuples(st.floats(-110, 110, width=32), st.sampled_from([0.0, 1.0, 0.3])), min_size=1, max_size=12),
    alpha=st.sampled_from([-1.0, 0.0, 0.25, 1.0]),
    gamma=st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5]),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_drawn_logits(cuda_device: torch.device, rows: list[tuple[float, float]], alpha: float, gamma: float) -> None:
    logits, targets = (torch.tensor(column, dtype=torch.float32)[None] for column in zip(*rows, strict=True))
    compare(cuda_device, focal_operands(logits, targets, alpha=alpha, gamma=gamma))


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 5), (3, 0)])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_nothing_to_do(cuda_device: torch.device, shape: tuple[int, ...], reduction: str) -> None:
    logits = torch.zeros(shape, device=cuda_device)
    found = sensitivity_focal_loss(focal_operands(logits, logits, logits, reduction=reduction))
    assert found.loss.shape == (shape if reduction == "none" else ()) and not found.loss.any()
    assert found.grad_logits.shape == found.grad_weights.shape == shape


def test_a_mask_that_keeps_nothing_and_ids_out_of_range(cuda_device: torch.device) -> None:
    logits = torch.full((4, 3), math.nan, device=cuda_device)
    nothing = torch.zeros(4, dtype=torch.bool, device=cuda_device)
    ids = torch.tensor([-1, 3, -(2**63), 2**32 + 1], device=cuda_device)
    found = sensitivity_focal_loss(focal_operands(logits, ids, mask=nothing, reduction="mean"))
    assert found.loss == 0 and not found.grad_logits.any()
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).to(cuda_device)
    background = sensitivity_focal_loss(focal_operands(logits, torch.full_like(ids, -1)))
    assert all(map(torch.equal, sensitivity_focal_loss(focal_operands(logits, ids)), background))


def test_one_launch_and_the_same_bits_in_any_order_of_threads(cuda_device: torch.device) -> None:
    if cuda_device.type == "cuda":
        pytest.skip("the order of threads is the device's")
    library = cuda_on_host.library()
    logits, ids = torch.randn(900, 20, generator=torch.Generator().manual_seed(2)), torch.arange(900) % 21 - 1
    runs = []
    for seed in (1, 2):
        library.cuda_on_host_set_order(seed)
        before = library.cuda_on_host_launches()
        runs.append(sensitivity_focal_loss(focal_operands(logits, ids, torch.ones(900), reduction="sum")))
        assert library.cuda_on_host_launches() == before + 1
    library.cuda_on_host_set_order(1)
    assert all(map(torch.equal, *runs))


@pytest.mark.parametrize("rows", [15, 4100])
def test_the_mean_counts_a_small_mask_itself(
    cuda_device: torch.device, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(5)
    logits, mask = torch.randn(rows, 3, generator=generator), torch.rand(rows, generator=generator) > 0.5
    operands = focal_operands(logits, torch.arange(rows) % 3, mask=mask, reduction="mean")
    placed = Operands(*(x.to(cuda_device) if isinstance(x, Tensor) else x for x in operands))
    counts = [outputs(OP, placed._replace(mask=place(mask.to(cuda_device)))) for place in (torch.clone, misaligned)]
    monkeypatch.setattr(_sensitivity_focal_loss_native, "COUNTED_ROWS", 0)
    counted_before = outputs(OP, placed)
    assert all(all(map(torch.equal, found, counted_before)) for found in counts)
    compare(cuda_device, operands)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_row_without_a_value_stays_alone(cuda_device: torch.device, value: float) -> None:
    a_row_without_a_value_stays_alone(OP, value, cuda_device)


def test_autograd_takes_the_derivatives(cuda_device: torch.device) -> None:
    autograd_takes_the_derivatives(OP, cuda_device)


def test_is_what_the_op_runs_when_asked_for(cuda_device: torch.device) -> None:
    assert _dispatch.load(OP, "cuda") is sensitivity_focal_loss


def test_tensors_on_the_cpu_take_another_implementation() -> None:
    tensors_on_the_cpu_take_another_implementation(OP)
