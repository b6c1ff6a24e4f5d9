# SPDX-License-Identifier: Apache-2.0
"""Focal loss forward and backward, against PyTorch's own autograd on the usual formula and against the reference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from asl_fast import backend, sensitivity_focal_loss
from benchmarks.registry import Case, report

SIZES = ((1_000_000, 20), (9_072, 65), (9_072, 20), (9_072, 300))  # points of a batch of 2 x 4,536, and many


def eager(logits: Tensor, targets: Tensor, weights: Tensor) -> None:
    """As detection code writes it: elementwise operations and their automatic derivatives."""
    if not targets.is_floating_point():
        targets = F.one_hot(targets + 1, logits.shape[-1] + 1)[..., 1:].to(logits.dtype)
    p = torch.sigmoid(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    alpha_t = 0.25 * targets + 0.75 * (1 - targets)
    _backward(logits, (alpha_t * cross_entropy * (1 - p_t) ** 2 * weights.unsqueeze(-1)).sum())


def fused(logits: Tensor, targets: Tensor, weights: Tensor) -> None:
    """The op, whichever implementation is in force."""
    _backward(logits, sensitivity_focal_loss(logits, targets, weights, reduction="sum"))


def reference(logits: Tensor, targets: Tensor, weights: Tensor) -> None:
    """The op's plain PyTorch implementation."""
    with backend("reference"):
        fused(logits, targets, weights)


def cases(device: str) -> list[Case]:
    """Dense and sparse targets at every size; weights per point."""
    return [_case(device, rows, classes, dense) for rows, classes in SIZES for dense in (True, False)]


def _case(device: str, rows: int, classes: int, dense: bool) -> Case:
    def make_inputs() -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        logits = 3 * torch.randn(rows, classes, generator=generator) - 3
        ids = torch.randint(-3 * classes, classes, (rows,), generator=generator).clamp(min=-1)  # 3 of 4 background
        targets = F.one_hot(ids + 1, classes + 1)[..., 1:].float() if dense else ids
        weights = torch.rand(rows, generator=generator)
        return logits.to(device).requires_grad_(), targets.to(device), weights.to(device)

    # Forward reads logits, targets, weights and writes the derivative; backward reads and writes it scaled.
    per_row = classes * 4 * (5 if dense else 4) + (4 if dense else 12)
    name = f"{rows:,} x {classes}, {'dense' if dense else 'sparse'} targets"
    return Case(name, make_inputs, fused, {"eager": eager, "reference": reference}, rows * per_row)


def _backward(logits: Tensor, loss: Tensor) -> None:
    logits.grad = None
    loss.backward()


if __name__ == "__main__":
    report(cases("cpu"))
