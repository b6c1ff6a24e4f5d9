# SPDX-License-Identifier: Apache-2.0
"""Run asl_fast::diou_loss by the compiled modules."""

from __future__ import annotations

from typing import Any

import torch

from asl_fast.kernels.launch_counter import counter
from asl_fast.ops import _buffers
from asl_fast.ops._buffers import REDUCTIONS, address, view
from asl_fast.reference import _outputs
from asl_fast.reference.diou_loss import Operands, Outputs

THREADS, BLOCKS = 256, 2048  # rows of a block at a time; enough blocks to fill a device a few times


def _common(given: Operands, found: Outputs) -> dict[str, Any]:
    """Return what both modules take; ``given`` is contiguous."""
    return {
        "pred": view(given.pred),
        "target": view(given.target),
        "weights": view(given.weights),
        "rows": given.pred.shape[0],
        "reduction": REDUCTIONS[given.reduction],
        "eps": given.eps,
        "out_loss": view(found.loss),
        "out_grad_pred": view(found.grad_pred),
        "out_grad_target": view(found.grad_target),
        "out_grad_weights": view(found.grad_weights),
    }


def cpu(given: Operands) -> Outputs:
    """Pass once over the rows, with as many threads as ``torch.get_num_threads()``."""
    found, given = given.outputs(), _buffers.contiguous_operands(given)
    if not given.pred.shape[0]:
        found.loss.zero_()
        return found
    _buffers.cpu_module().diou_loss(**_common(given, found), threads=torch.get_num_threads())
    return found


def cuda(given: Operands) -> Outputs:
    """Compute in one launch."""
    found, given = given.outputs(), _buffers.contiguous_operands(given)
    rows, loss = given.pred.shape[0], found.loss
    if not rows:
        loss.zero_()
        return found
    blocks = min(BLOCKS, -(-rows // THREADS))
    parts = _outputs.empty((blocks if given.reduction != "none" else 0,), loss.dtype, loss.device)
    with _buffers.on_device_of(loss):
        _buffers.cuda_module().diou_loss(
            **_common(given, found),
            blocks=blocks,
            parts=address(parts),
            counter=address(counter(given.pred)),
            stream=_buffers.stream(given.pred),
        )
    return found
