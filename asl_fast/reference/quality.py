# SPDX-License-Identifier: Apache-2.0
"""How good a prediction at a point is: what the instance-level evaluator and the likelihood signal learn from."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.reference._precision import compute_dtype


def class_probability(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the probability of one class per point.

    Args:
        logits: (..., C) floating point.
        labels: (...) int64 in [0, C).

    Returns:
        (...) in (0, 1), float32, or float64 where the logits are.
    """
    return torch.sigmoid(logits.gather(-1, labels.unsqueeze(-1)).squeeze(-1).to(compute_dtype(logits)))


def offset_iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Return the temporal IoU of two segments that share a point.

    Args:
        predicted: (..., 2) non-negative distances from the point to start and end.
        target: (..., 2) likewise.

    Returns:
        (...), 0 where both segments have length zero.
    """
    intersection = torch.minimum(predicted, target).sum(-1).clamp(min=0)
    union = torch.maximum(predicted, target).sum(-1)
    return intersection / union.clamp(min=torch.finfo(union.dtype).eps)
