# SPDX-License-Identifier: Apache-2.0
"""Focal loss forward and backward, against PyTorch's own autograd on the usual formula and against the reference."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from asl_fast import backend, sensitivity_focal_loss
from benchmarks.registry import Case, Scale, close
from benchmarks.shapes import shapes

Result = tuple[Tensor, Tensor]
MANY_POINTS = 1_000_000


def eager(logits: Tensor, targets: Tensor, weights: Tensor) -> Result:
    """Compute as detection code writes it: elementwise operations and their automatic derivatives."""
    if not targets.is_floating_point():
        targets = F.one_hot(targets + 1, logits.shape[-1] + 1)[..., 1:].to(logits.dtype)
    p = torch.sigmoid(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    alpha_t = 0.25 * targets + 0.75 * (1 - targets)
    return _backward(logits, (alpha_t * cross_entropy * (1 - p_t) ** 2 * weights.unsqueeze(-1)).sum())


def fused(logits: Tensor, targets: Tensor, weights: Tensor) -> Result:
    """Run the op, whichever implementation is in force."""
    return _backward(logits, sensitivity_focal_loss(logits, targets, weights, reduction="sum"))


def reference(logits: Tensor, targets: Tensor, weights: Tensor) -> Result:
    """Run the op's plain PyTorch implementation."""
    with backend("reference"):
        return fused(logits, targets, weights)


def cases(device: str) -> list[Case]:
    """Declare all points of a batch of each benchmark, and many; dense and sparse targets; weights per point."""
    sizes: list[tuple[str, int, int, Scale]] = [("small", 300, 7, "small")]
    sizes += [(each.name, each.batch * each.num_points, each.classes, "real") for each in shapes()]
    sizes += [("large", MANY_POINTS, 20, "large")]
    return [_case(device, *size, dense) for size in sizes for dense in (True, False)]


def _case(device: str, name: str, rows: int, classes: int, scale: Scale, dense: bool) -> Case:
    def make_inputs() -> tuple[Tensor, Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        logits = 3 * torch.randn(rows, classes, generator=generator) - 3
        ids = torch.randint(-3 * classes, classes, (rows,), generator=generator).clamp(min=-1)  # 3 of 4 background
        targets = F.one_hot(ids + 1, classes + 1)[..., 1:].float() if dense else ids
        weights = torch.rand(rows, generator=generator)
        return logits.to(device).requires_grad_(), targets.to(device), weights.to(device)

    # Forward reads logits, targets, weights and writes the derivative; backward reads and writes it scaled.
    per_row = classes * 4 * (5 if dense else 4) + (4 if dense else 12)
    return Case(
        f"{name}: {rows:,} x {classes}, {'dense' if dense else 'sparse'} targets",
        make_inputs,
        fused,
        {"eager": eager, "reference": reference},
        rows * per_row,
        scale=scale,
        agree=close(1e-3, 1e-5),  # sums of millions of float32
    )


def _backward(logits: Tensor, loss: Tensor) -> Result:
    logits.grad = None
    loss.backward()
    assert logits.grad is not None
    return loss.detach(), logits.grad
