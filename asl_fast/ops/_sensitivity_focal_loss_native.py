# SPDX-License-Identifier: Apache-2.0
"""Run asl_fast::sensitivity_focal_loss by the compiled modules."""

from __future__ import annotations

from typing import Any

import torch

from asl_fast.kernels.launch_counter import counter
from asl_fast.ops import _buffers
from asl_fast.ops._buffers import REDUCTIONS, address, view
from asl_fast.reference import _outputs
from asl_fast.reference._precision import unit_gradient_dtype
from asl_fast.reference.sensitivity_focal_loss import Operands, Outputs

WIDEST_ROW = 4096  # most classes of a row whose losses a block can sum in shared memory
BLOCKS = 2048  # enough to fill a device a few times; each walks over its share
COUNTED_ROWS = 1 << 15  # a mask of at most so many is counted by every block: reading 32 KiB takes less than a launch


def _compact(given: Operands) -> Operands:
    """Make the operands contiguous, and class ids int64."""
    if given.sparse and given.targets.dtype != torch.int64:
        given = given._replace(targets=given.targets.long())
    return _buffers.contiguous_operands(given)


def _common(given: Operands, found: Outputs) -> dict[str, Any]:
    """Return what both modules take; ``given`` is compact."""
    sparse = given.sparse
    return {
        "logits": view(given.logits),
        "targets": view(None if sparse else given.targets),
        "ids": address(given.targets if sparse else None),
        "weights": view(given.weights),
        "row_weights": given.row_weights,
        "mask": address(given.mask),
        "rows": given.rows,
        "classes": given.classes,
        "alpha": given.alpha,
        "gamma": given.gamma,
        "label_smoothing": given.label_smoothing,
        "reduction": REDUCTIONS[given.reduction],
        "out_loss": view(found.loss),
        "out_grad_logits": view(found.grad_logits),
        "out_grad_weights": view(found.grad_weights),
    }


def _of_nothing(found: Outputs) -> Outputs:
    """Set every result to 0 where no element counts."""
    return Outputs(*(output.zero_() for output in found))


def cpu(given: Operands) -> Outputs:
    """Pass once over the rows, with as many threads as ``torch.get_num_threads()``."""
    found = given.outputs()
    if not given.logits.numel():
        return _of_nothing(found)
    given = _compact(given)
    _buffers.cpu_module().sensitivity_focal_loss(**_common(given, found), threads=torch.get_num_threads())
    return found


def cuda(given: Operands) -> Outputs:
    """Compute in one launch; the mean under the mask of many rows first counts the mask in another."""
    logits, weights, elementwise = given.logits, given.weights, given.reduction == "none"
    sums_rows = given.need_weights and given.row_weights and not elementwise
    if weights is not None and sums_rows and given.classes > WIDEST_ROW:
        found = cuda(given._replace(weights=weights[..., None].expand(logits.shape)))
        return found._replace(grad_weights=found.grad_weights.sum(-1))
    if weights is not None and weights.dtype == torch.float64 and logits.dtype != torch.float64:
        # Rare, and not worth kernels of their own.
        found = cuda(given._replace(logits=logits.double()))
        return found._replace(grad_logits=found.grad_logits.to(unit_gradient_dtype(logits)))
    found = given.outputs()
    if not given.logits.numel():
        return _of_nothing(found)
    given = _compact(given)
    rows, loss, module = given.rows, found.loss, _buffers.cuda_module()
    mask = given.mask if given.reduction == "mean" and rows > COUNTED_ROWS else None
    kept = None if mask is None else mask.sum()
    blocks = min(BLOCKS, module.sensitivity_focal_loss_tiles(rows=rows, classes=given.classes))
    parts = _outputs.empty((0 if elementwise else blocks,), loss.dtype, loss.device)
    with _buffers.on_device_of(given.logits):
        module.sensitivity_focal_loss(
            **_common(given, found),
            kept=address(kept),
            blocks=blocks,
            parts=address(parts),
            counter=address(counter(given.logits)),
            stream=_buffers.stream(given.logits),
        )
    return found
