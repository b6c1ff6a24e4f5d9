# SPDX-License-Identifier: Apache-2.0
"""Operands of the IoU of the segments of many videos: one realistic call, and those that are compiled ahead of time."""

from __future__ import annotations

import torch

from asl_fast.reference.segment_iou_ragged import BackwardOperands, Operands
from tests.kernels.examples._scene import Call, Size, segments


def ragged(generator: torch.Generator) -> Operands:
    """Four videos, two of them without a pair, and room for more; with the distance term."""
    return Operands(
        a=segments(generator, 33).requires_grad_(),
        b=segments(generator, 17).requires_grad_(),
        a_video_offsets=torch.tensor([0, 20, 20, 29, 33]),
        b_video_offsets=torch.tensor([0, 6, 13, 17, 17]),
        max_pairs=200,
        distance=True,
    )


def ragged_backward(generator: torch.Generator) -> BackwardOperands:
    """Of the same."""
    given = ragged(generator)
    return BackwardOperands(
        grad=torch.randn(given.max_pairs, generator=generator),
        a=given.a.detach(),
        b=given.b.detach(),
        a_video_offsets=given.a_video_offsets,
        b_video_offsets=given.b_video_offsets,
        pair_offsets=torch.tensor([0, 120, 120, 156, 156]),
        distance=given.distance,
    )


EXAMPLES = {"segment_iou_ragged": ragged, "segment_iou_ragged_backward": ragged_backward}


def calls(size: Size) -> list[Call]:
    """Everything in the first video."""
    rows, sides = size.instances, torch.ones(size.instances, 2, dtype=size.dtype)
    bounds = size.video_offsets
    offsets = {"a_video_offsets": bounds, "b_video_offsets": bounds}
    given = Operands(a=sides, b=sides, **offsets, max_pairs=rows, distance=True)
    grad = torch.ones(rows, dtype=size.dtype)
    back = BackwardOperands(grad=grad, a=sides, b=sides, **offsets, pair_offsets=bounds, distance=True)
    return [
        Call(f"iou-ragged-{size.name}", "segment_iou_ragged", given),
        Call(f"iou-ragged-backward-{size.name}", "segment_iou_ragged_backward", back),
    ]
