# SPDX-License-Identifier: Apache-2.0
"""asl_fast::diou_loss by the CUDA module."""

from __future__ import annotations

from torch import Tensor

from asl_fast.kernels.launch_counter import counter
from asl_fast.ops import _buffers
from asl_fast.ops._buffers import REDUCTIONS, address, view
from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype

THREADS, BLOCKS = 256, 2048  # rows of a block at a time; enough blocks to fill a device a few times


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
    """The op's schema, in one launch."""
    rows, device = pred.shape[0], pred.device
    elementwise = reduction == "none"
    like = pred if weights is None else weights
    need_weights = need_weights and weights is not None
    dtype = compute_dtype(pred, target, weights)
    loss = _buffers.empty((rows,) if elementwise else (), dtype, device)
    grad_pred = _buffers.empty((rows, 2) if need_pred else (0,), unit_gradient_dtype(pred), device)
    grad_target = _buffers.empty((rows, 2) if need_target else (0,), unit_gradient_dtype(target), device)
    grad_weights = _buffers.empty((rows,) if need_weights else (0,), unit_gradient_dtype(like), device)
    if not rows:
        return loss.zero_(), grad_pred, grad_target, grad_weights
    pred, target = pred.contiguous(), target.contiguous()
    weights = None if weights is None else weights.contiguous()
    blocks = min(BLOCKS, -(-rows // THREADS))
    parts = _buffers.empty((0 if elementwise else blocks,), dtype, device)
    with _buffers.on_device_of(pred):
        _buffers.cuda_module().diou_loss(
            pred=view(pred),
            target=view(target),
            weights=view(weights),
            rows=rows,
            reduction=REDUCTIONS[reduction],
            eps=eps,
            blocks=blocks,
            out_loss=view(loss),
            parts=address(parts),
            counter=address(counter(pred)),
            out_grad_pred=view(grad_pred) if need_pred else (0, 0),
            out_grad_target=view(grad_target) if need_target else (0, 0),
            out_grad_weights=view(grad_weights) if need_weights else (0, 0),
            stream=_buffers.stream(pred),
        )
    return loss, grad_pred, grad_target, grad_weights
