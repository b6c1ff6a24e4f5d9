# SPDX-License-Identifier: Apache-2.0
"""One small call of every launcher in every floating type, for ahead-of-time compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from asl_fast.kernels import assign_points, diou_loss, local_attention, segment_iou, sensitivity_focal_loss

Call = tuple[str, Callable[..., Any], tuple[Any, ...]]

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
ROWS, CLASSES = 1024, 20


def _of(dtype: torch.dtype, rows: int = ROWS, classes: int = CLASSES) -> list[Call]:
    name = str(dtype).removeprefix("torch.") if rows > 1 else "one-" + str(dtype).removeprefix("torch.")
    logits, ids = torch.zeros(rows, classes, dtype=dtype), torch.zeros(rows, dtype=torch.int64)
    weights, mask = torch.ones(rows, dtype=dtype), torch.ones(rows, dtype=torch.bool)
    focal = sensitivity_focal_loss.sensitivity_focal_loss
    pairs, points = torch.ones(rows, 2, dtype=dtype), torch.ones(rows, 4, dtype=dtype)
    square = torch.ones(rows, rows, dtype=dtype)
    window = 19
    bounds = torch.tensor([0, rows])
    iou, iou_backward = segment_iou.segment_iou, segment_iou.segment_iou_backward
    calls: list[Call] = [
        (f"focal-mean-sparse-{name}", focal, (logits, ids, weights, mask, 0.25, 2.0, 0.1, "mean", True, True)),
        (f"focal-none-dense-{name}", focal, (logits, logits, logits, None, 0.25, 1.5, 0.0, "none", True, True)),
        (f"diou-mean-{name}", diou_loss.diou_loss, (pairs, pairs, weights, "mean", 1e-8, True, True, True)),
        (f"iou-pairs-{name}", iou, (pairs, pairs, False, True)),
        (f"iou-aligned-{name}", iou, (pairs, pairs, True, True)),
        (f"iou-pairs-backward-{name}", iou_backward, (square, pairs, pairs, False, True)),
        (f"iou-aligned-backward-{name}", iou_backward, (weights, pairs, pairs, True, True)),
        (f"assign-{name}", assign_points.assign_points, (points, pairs, ids, bounds, classes, 1.5, 1e-3)),
    ]
    if dtype == torch.float64:
        return calls  # attention is computed in float32
    attention, attention_backward = local_attention.local_attention, local_attention.local_attention_backward
    for channels in (64, 128):
        q, lse = torch.zeros(1, 4, rows, channels, dtype=dtype), torch.zeros(1, 4, rows)
        valid, bias = mask[None], torch.zeros(4, window, dtype=dtype) if channels == 64 else None
        calls.append((f"attention-{channels}-{name}", attention, (q, q, q, valid, bias, window)))
        arguments = (q, q, q, q, valid, bias, q, lse, window)
        calls.append((f"attention-{channels}-backward-{name}", attention_backward, arguments))
    return calls


# Triton compiles a size of 1 as a constant, which its interpreter does not show.
CALLS: list[Call] = [call for dtype in FLOATS for call in _of(dtype)] + _of(torch.float32, 1, 1)
