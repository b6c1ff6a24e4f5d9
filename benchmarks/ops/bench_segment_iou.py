# SPDX-License-Identifier: Apache-2.0
"""IoU and DIoU of all pairs and of rows, forward, and forward with backward, against the reference."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from asl_fast import backend, segment_diou, segment_iou
from benchmarks.registry import Case, Scale, close

# (shape of a, shape of b, aligned): candidates against annotations of a batch of videos, many pairs, many rows.
SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...], bool, Scale], ...] = (
    ((2, 30), (2, 7), False, "small"),
    ((50,), (50,), True, "small"),
    ((2, 2_000), (2, 200), False, "real"),
    ((4_000,), (4_000,), False, "real"),
    ((1_000_000,), (1_000_000,), True, "large"),
    ((16_000,), (8_000,), False, "large"),
)


def cases(device: str) -> list[Case]:
    """Declare both measures, with and without gradients of both sides."""
    return [
        _case(device, op, a, b, aligned, scale, backward)
        for a, b, aligned, scale in SHAPES
        for op in (segment_iou, segment_diou)
        for backward in (False, True)
    ]


def _case(
    device: str,
    op: Callable[..., Tensor],
    shape_a: tuple[int, ...],
    shape_b: tuple[int, ...],
    aligned: bool,
    scale: Scale,
    backward: bool,
) -> Case:
    def make_inputs() -> tuple[Tensor, Tensor]:
        a, b = _segments(shape_a, 0).to(device), _segments(shape_b, 1).to(device)
        return a.requires_grad_(backward), b.requires_grad_(backward)

    def run(a: Tensor, b: Tensor) -> tuple[Tensor | None, ...]:
        a.grad = b.grad = None
        value = op(a, b, aligned=aligned)
        if backward:
            value.backward(torch.ones_like(value))
        return value.detach(), a.grad, b.grad

    def reference(a: Tensor, b: Tensor) -> tuple[Tensor | None, ...]:
        with backend("reference"):
            return run(a, b)

    sides = torch.Size(shape_a).numel() + torch.Size(shape_b).numel()
    pairs = torch.Size(shape_a).numel() * (1 if aligned else shape_b[-1])
    moved = 4 * pairs * (2 if backward else 1) + 8 * sides * (3 if backward else 1)
    sizes = " and ".join(" x ".join(f"{n:,}" for n in shape) for shape in (shape_a, shape_b))
    name = f"{op.__name__} {sizes}{' aligned' if aligned else ''}{', backward' if backward else ''}"
    return Case(name, make_inputs, run, {"reference": reference}, moved, scale=scale, agree=close(1e-3, 1e-4))


def _segments(shape: tuple[int, ...], seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    start = 2_000 * torch.rand(shape, generator=generator)
    return torch.stack((start, start + 0.5 + 60 * torch.rand(shape, generator=generator)), dim=-1)
