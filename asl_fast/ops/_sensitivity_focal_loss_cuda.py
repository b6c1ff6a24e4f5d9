# SPDX-License-Identifier: Apache-2.0
"""asl_fast::sensitivity_focal_loss by the CUDA module."""

from __future__ import annotations

import torch
from torch import Tensor

from asl_fast.kernels.launch_counter import counter
from asl_fast.ops import _buffers
from asl_fast.ops._buffers import REDUCTIONS, address, view
from asl_fast.reference._precision import compute_dtype, unit_gradient_dtype

WIDEST_ROW = 4096  # classes whose losses a block keeps in shared memory to sum them
BLOCKS = 2048  # enough to fill a device a few times; each walks over its share
COUNTED_ROWS = 1 << 15  # of a mask that each block counts for itself: 32 KiB from the cache take less than a launch


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
    """The op's schema, in one launch; the mean under the mask of many rows first counts the mask in another."""
    dtype = compute_dtype(logits, weights)
    elementwise = reduction == "none"
    need_weights = need_weights and weights is not None
    like = logits if weights is None else weights
    row_weights = weights is not None and weights.dim() < logits.dim()
    if need_weights and row_weights and not elementwise and logits.shape[-1] > WIDEST_ROW:
        assert weights is not None
        wide = weights[..., None].expand(logits.shape)
        rest = (mask, alpha, gamma, label_smoothing, reduction, need_logits, need_weights)
        loss, grad_logits, grad_weights = sensitivity_focal_loss(logits, targets, wide, *rest)
        return loss, grad_logits, grad_weights.sum(-1)
    grad_dtypes = unit_gradient_dtype(logits), unit_gradient_dtype(like)
    if dtype == torch.float64:
        logits = logits.double()  # float64 weights of other logits: rare, and not worth kernels of their own

    def output(shape: tuple[int, ...], of: torch.dtype) -> Tensor:
        return _buffers.empty(shape, of, logits.device)

    loss = output(tuple(logits.shape) if elementwise else (), dtype)
    grad_logits = output(tuple(logits.shape) if need_logits else (0,), unit_gradient_dtype(logits))
    weight_shape = tuple(logits.shape if elementwise else like.shape)
    grad_weights = output(weight_shape if need_weights else (0,), grad_dtypes[1])
    if not logits.numel():
        return loss.zero_(), grad_logits.to(grad_dtypes[0]), grad_weights.zero_()

    dense = targets.is_floating_point()
    targets = targets.contiguous() if dense else targets.long().contiguous()
    logits = logits.contiguous()
    weights = None if weights is None else weights.contiguous()
    mask = None if mask is None else mask.contiguous()
    rows, classes = logits.numel() // logits.shape[-1], logits.shape[-1]
    kept = mask.sum() if mask is not None and reduction == "mean" and rows > COUNTED_ROWS else None
    module = _buffers.cuda_module()
    blocks = min(BLOCKS, module.sensitivity_focal_loss_tiles(rows, classes))
    parts = output((0 if elementwise else blocks,), dtype)
    with _buffers.on_device_of(logits):
        module.sensitivity_focal_loss(
            logits=view(logits),
            targets=view(targets if dense else None),
            ids=0 if dense else address(targets),
            weights=view(weights),
            row_weights=row_weights,
            mask=address(mask),
            kept=address(kept),
            rows=rows,
            classes=classes,
            alpha=alpha,
            gamma=gamma,
            label_smoothing=label_smoothing,
            reduction=REDUCTIONS[reduction],
            blocks=blocks,
            out_loss=view(loss),
            parts=address(parts),
            counter=address(counter(logits)),
            out_grad_logits=view(grad_logits) if need_logits else (0, 0),
            out_grad_weights=view(grad_weights) if need_weights else (0, 0),
            stream=_buffers.stream(logits),
        )
    return loss, grad_logits.to(grad_dtypes[0]), grad_weights
