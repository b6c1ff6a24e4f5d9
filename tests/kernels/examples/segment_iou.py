# SPDX-License-Identifier: Apache-2.0
"""Operands of the IoU of segments: one realistic call, and those that are compiled ahead of time."""

from __future__ import annotations

import torch

from asl_fast.reference.segment_iou import BackwardOperands, Operands
from tests.kernels.examples._scene import Call, Size, segments


def iou(generator: torch.Generator) -> Operands:
    """All pairs, with the distance term."""
    a, b = segments(generator, 33).requires_grad_(), segments(generator, 17).requires_grad_()
    return Operands(a=a, b=b, aligned=False, distance=True)


def iou_backward(generator: torch.Generator) -> BackwardOperands:
    """Of the same."""
    grad = torch.randn(33, 17, generator=generator)
    a, b = segments(generator, 33), segments(generator, 17)
    return BackwardOperands(grad=grad, a=a, b=b, aligned=False, distance=True)


EXAMPLES = {"segment_iou": iou, "segment_iou_backward": iou_backward}


def calls(size: Size) -> list[Call]:
    """All pairs and row by row."""
    rows, dtype = size.rows, size.dtype
    sides, others = torch.ones(rows, 2, dtype=dtype), torch.ones(size.instances, 2, dtype=dtype)
    pairs = Operands(a=sides, b=others, aligned=False, distance=True)
    aligned = Operands(a=sides, b=sides, aligned=True, distance=True)
    line, square = torch.ones(rows, dtype=dtype), torch.ones(rows, size.instances, dtype=dtype)
    back = "segment_iou_backward"
    return [
        Call(f"iou-pairs-{size.name}", "segment_iou", pairs),
        Call(f"iou-aligned-{size.name}", "segment_iou", aligned),
        Call(f"iou-pairs-backward-{size.name}", back, BackwardOperands(grad=square, **pairs._asdict())),
        Call(f"iou-aligned-backward-{size.name}", back, BackwardOperands(grad=line, **aligned._asdict())),
    ]
