# SPDX-License-Identifier: Apache-2.0
"""DIoU loss forward and backward, against PyTorch's automatic derivatives of the formula and against the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast import backend, diou_loss
from asl_fast.reference import diou_loss as formula
from benchmarks.registry import Case, Scale, close
from benchmarks.shapes import shapes

Result = tuple[Tensor, Tensor]
MANY_POINTS = 1_000_000


def eager(pred: Tensor, target: Tensor, weights: Tensor) -> Result:
    """Compute by elementwise operations and their automatic derivatives."""
    return _backward(pred, (formula.diou(pred, target, 1e-8) * weights).sum())


def fused(pred: Tensor, target: Tensor, weights: Tensor) -> Result:
    """Run the op, whichever implementation is in force."""
    return _backward(pred, diou_loss(pred, target, weights, reduction="sum"))


def reference(pred: Tensor, target: Tensor, weights: Tensor) -> Result:
    """Run the op's plain PyTorch implementation."""
    with backend("reference"):
        return fused(pred, target, weights)


def cases(device: str) -> list[Case]:
    """Declare all points of a batch of each benchmark, and many; the target needs no gradient."""
    sizes: list[tuple[str, int, Scale]] = [("small", 300, "small")]
    sizes += [(each.name, each.batch * each.num_points, "real") for each in shapes()]
    return [_case(device, *size) for size in (*sizes, ("large", MANY_POINTS, "large"))]


def _case(device: str, name: str, rows: int, scale: Scale) -> Case:
    def make_inputs() -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        pred, target = (4 * torch.rand(rows, 2, generator=generator) for _ in range(2))
        weights = torch.rand(rows, generator=generator)
        return pred.to(device).requires_grad_(), target.to(device), weights.to(device)

    # Forward reads both sides and the weights and writes the derivative; backward reads and writes it scaled.
    moved = rows * (5 * 8 + 4)
    return Case(
        f"{name}: {rows:,} rows",
        make_inputs,
        fused,
        {"eager": eager, "reference": reference},
        moved,
        scale=scale,
        agree=close(1e-3, 1e-4),
    )


def _backward(pred: Tensor, loss: Tensor) -> Result:
    pred.grad = None
    loss.backward()
    assert pred.grad is not None
    return loss.detach(), pred.grad
