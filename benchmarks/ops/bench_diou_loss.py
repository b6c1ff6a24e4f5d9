# SPDX-License-Identifier: Apache-2.0
"""DIoU loss forward and backward, against PyTorch's automatic derivatives of the formula and against the reference."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast import backend, diou_loss
from asl_fast.reference import diou_loss as formula
from benchmarks.registry import Case, report

SIZES = (1_000_000, 9_072, 1_500)


def eager(pred: Tensor, target: Tensor, weights: Tensor) -> None:
    """Elementwise operations and their automatic derivatives."""
    _backward(pred, (formula.diou(pred, target, 1e-8) * weights).sum())


def fused(pred: Tensor, target: Tensor, weights: Tensor) -> None:
    """The op, whichever implementation is in force."""
    _backward(pred, diou_loss(pred, target, weights, reduction="sum"))


def reference(pred: Tensor, target: Tensor, weights: Tensor) -> None:
    """The op's plain PyTorch implementation."""
    with backend("reference"):
        fused(pred, target, weights)


def cases(device: str) -> list[Case]:
    """Weighted rows; the target needs no gradient."""
    return [_case(device, rows) for rows in SIZES]


def _case(device: str, rows: int) -> Case:
    def make_inputs() -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        pred, target = (4 * torch.rand(rows, 2, generator=generator) for _ in range(2))
        weights = torch.rand(rows, generator=generator)
        return pred.to(device).requires_grad_(), target.to(device), weights.to(device)

    # Forward reads both sides and the weights and writes the derivative; backward reads and writes it scaled.
    moved = rows * (5 * 8 + 4)
    return Case(f"{rows:,} rows", make_inputs, fused, {"eager": eager, "reference": reference}, moved)


def _backward(pred: Tensor, loss: Tensor) -> None:
    pred.grad = None
    loss.backward()


if __name__ == "__main__":
    report(cases("cpu"))
