# SPDX-License-Identifier: Apache-2.0
"""Operands of the focal loss: one realistic call, and those that are compiled ahead of time."""

from __future__ import annotations

import torch

from asl_fast.reference.sensitivity_focal_loss import Operands
from tests.kernels.examples._scene import CLASSES, POINTS, VIDEOS, Call, Size


def focal(generator: torch.Generator) -> Operands:
    """Sparse targets, weights and a mask."""
    logits = torch.randn(VIDEOS, POINTS, CLASSES, generator=generator).requires_grad_()
    ids = torch.randint(-1, CLASSES, (VIDEOS, POINTS), generator=generator)
    weights = torch.rand(VIDEOS, POINTS, generator=generator).requires_grad_()
    mask = torch.rand(VIDEOS, POINTS, generator=generator) < 0.8
    return Operands(
        logits=logits,
        targets=ids,
        weights=weights,
        mask=mask,
        alpha=0.25,
        gamma=2.0,
        label_smoothing=0.0,
        reduction="sum",
        need_logits=True,
        need_weights=True,
    )


EXAMPLES = {"sensitivity_focal_loss": focal}


def calls(size: Size) -> list[Call]:
    """Class numbers as targets, with all that is optional, and targets for every class."""
    dtype, rows = size.dtype, size.rows
    logits, ids = torch.zeros(rows, size.classes, dtype=dtype), torch.zeros(rows, dtype=torch.int64)
    weights, mask = torch.ones(rows, dtype=dtype), torch.ones(rows, dtype=torch.bool)
    sparse = Operands(
        logits=logits,
        targets=ids,
        weights=weights,
        mask=mask,
        alpha=0.25,
        gamma=2.0,
        label_smoothing=0.1,
        reduction="mean",
        need_logits=True,
        need_weights=True,
    )
    dense = sparse._replace(targets=logits, weights=logits, mask=None, gamma=1.5, label_smoothing=0.0, reduction="none")
    return [
        Call(f"focal-mean-sparse-{size.name}", "sensitivity_focal_loss", sparse),
        Call(f"focal-none-dense-{size.name}", "sensitivity_focal_loss", dense),
    ]
