# SPDX-License-Identifier: Apache-2.0
"""asl_fast::sensitivity_focal_loss by the C++ module."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.ops._buffers import REDUCTIONS, address, cpu_module, view
from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype


def sensitivity_focal_loss(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    mask: Tensor | None,
    alpha: float,
    gamma: float,
    label_smoothing: float,
    reduction: str,
    need_logits: bool,
    need_weights: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The op's schema; threads as many as ``torch.get_num_threads()``, over the rows."""
    elementwise = reduction == "none"
    like = logits if weights is None else weights
    need_weights = need_weights and weights is not None
    loss = torch.empty(logits.shape if elementwise else (), dtype=compute_dtype(logits, weights))
    grad_logits = torch.empty(logits.shape if need_logits else (0,), dtype=unit_gradient_dtype(logits))
    weight_shape = logits.shape if elementwise else like.shape
    grad_weights = torch.empty(weight_shape if need_weights else (0,), dtype=unit_gradient_dtype(like))
    if not logits.numel():
        return loss.zero_(), grad_logits.zero_(), grad_weights.zero_()

    dense = targets.is_floating_point()
    targets = targets.contiguous() if dense else targets.long().contiguous()
    logits = logits.contiguous()
    weights = None if weights is None else weights.contiguous()
    mask = None if mask is None else mask.contiguous()
    cpu_module().sensitivity_focal_loss(
        logits=view(logits),
        targets=view(targets if dense else None),
        ids=0 if dense else address(targets),
        weights=view(weights),
        row_weights=weights is not None and weights.dim() < logits.dim(),
        mask=address(mask),
        rows=logits.numel() // logits.shape[-1],
        classes=logits.shape[-1],
        alpha=alpha,
        gamma=gamma,
        label_smoothing=label_smoothing,
        reduction=REDUCTIONS[reduction],
        out_loss=view(loss),
        out_grad_logits=view(grad_logits),
        out_grad_weights=view(grad_weights),
        threads=torch.get_num_threads(),
    )
    return loss, grad_logits, grad_weights
