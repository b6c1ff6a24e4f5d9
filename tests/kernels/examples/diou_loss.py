# SPDX-License-Identifier: Apache-2.0
"""Operands of the DIoU loss: one realistic call, and those that are compiled ahead of time."""

from __future__ import annotations

import torch

from asl_fast.reference.diou_loss import Operands
from tests.kernels.examples._scene import POINTS, Call, Size


def diou(generator: torch.Generator) -> Operands:
    """Weighted mean; the target needs no gradient."""
    pred, target = (torch.rand(POINTS, 2, generator=generator) * 9 for _ in range(2))
    return Operands(
        pred=pred.requires_grad_(),
        target=target,
        weights=torch.rand(POINTS, generator=generator).requires_grad_(),
        reduction="mean",
        eps=1e-8,
        need_pred=True,
        need_target=False,
        need_weights=True,
    )


EXAMPLES = {"diou_loss": diou}


def calls(size: Size) -> list[Call]:
    """Give all that is optional."""
    pairs, weights = torch.ones(size.rows, 2, dtype=size.dtype), torch.ones(size.rows, dtype=size.dtype)
    given = Operands(
        pred=pairs,
        target=pairs,
        weights=weights,
        reduction="mean",
        eps=1e-8,
        need_pred=True,
        need_target=True,
        need_weights=True,
    )
    return [Call(f"diou-mean-{size.name}", "diou_loss", given)]
