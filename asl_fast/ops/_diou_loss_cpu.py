# SPDX-License-Identifier: Apache-2.0
"""asl_fast::diou_loss by the C++ module."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.ops._buffers import REDUCTIONS, cpu_module, view
from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype


def diou_loss(
    pred: Tensor,
    target: Tensor,
    weights: Tensor | None,
    reduction: str,
    eps: float,
    need_pred: bool,
    need_target: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The op's schema; threads as many as ``torch.get_num_threads()``, over the rows."""
    rows = pred.shape[0]
    like = pred if weights is None else weights
    need_weights = need_weights and weights is not None
    loss = torch.empty((rows,) if reduction == "none" else (), dtype=compute_dtype(pred, target, weights))
    grad_pred = torch.empty((rows, 2) if need_pred else (0,), dtype=unit_gradient_dtype(pred))
    grad_target = torch.empty((rows, 2) if need_target else (0,), dtype=unit_gradient_dtype(target))
    grad_weights = torch.empty((rows,) if need_weights else (0,), dtype=unit_gradient_dtype(like))
    if not rows:
        return loss.zero_(), grad_pred, grad_target, grad_weights
    pred, target = pred.contiguous(), target.contiguous()
    weights = None if weights is None else weights.contiguous()
    cpu_module().diou_loss(
        pred=view(pred),
        target=view(target),
        weights=view(weights),
        rows=rows,
        reduction=REDUCTIONS[reduction],
        eps=eps,
        out_loss=view(loss),
        out_grad_pred=view(grad_pred),
        out_grad_target=view(grad_target),
        out_grad_weights=view(grad_weights),
        threads=torch.get_num_threads(),
    )
    return loss, grad_pred, grad_target, grad_weights
