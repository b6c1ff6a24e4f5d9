# SPDX-License-Identifier: Apache-2.0
"""Distance-IoU loss on offsets: loss and derivatives in one pass over the rows.

A row is 8 bytes of each input, so pairs are loaded as one vector; nothing is reused, the pass is bound by memory.
Tested under Triton's interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from . import _launch, _reduction
from ._maths import load_pairs, rows_apart, share, store_pairs
from ._reduction import sum_of_programs
from .launch_counter import counter

if TYPE_CHECKING:
    from asl_fast.reference.diou_loss import Operands, Outputs

BLOCK = 512  # rows of a tile


@triton.jit
def diou(p_0, p_1, t_0, t_1, EPS: tl.constexpr):
    """Return the loss, the intersection, and the union before its lower bound."""
    intersection = tl.minimum(p_0, t_0) + tl.minimum(p_1, t_1)
    raw = tl.maximum(p_0, t_0) + tl.maximum(p_1, t_1)
    union = tl.maximum(raw, EPS)
    ratio = 0.5 * ((p_1 - t_1) - (p_0 - t_0)) / union
    return 1.0 - intersection / union + ratio * ratio, intersection, raw


@triton.jit
def one_side(mine_0, mine_1, other_0, other_1, intersection, raw, EPS: tl.constexpr):
    """Return d diou / d mine; half to each side at a tie, and 0 for two segments of length zero."""
    union = tl.maximum(raw, EPS)
    free = tl.where(raw >= EPS, 1.0, 0.0)
    inside_0 = share(other_0, mine_0)
    inside_1 = share(other_1, mine_1)
    outside_0 = (1.0 - inside_0) * free
    outside_1 = (1.0 - inside_1) * free
    ratio = 0.5 * ((mine_1 - other_1) - (mine_0 - other_0)) / union
    iou = intersection / union
    slope_0 = outside_0 * iou - inside_0 + 2.0 * ratio * (-0.5 - ratio * outside_0)
    slope_1 = outside_1 * iou - inside_1 + 2.0 * ratio * (0.5 - ratio * outside_1)
    empty = (raw == 0) & (ratio == ratio)  # a NaN is in the ratio, and not always in the maxima
    return tl.where(empty, 0.0, slope_0 / union), tl.where(empty, 0.0, slope_1 / union)


@triton.jit(do_not_specialize=["rows"])
def diou_loss_fwd_kernel(
    pred_ptr,
    target_ptr,
    weights_ptr,
    loss_ptr,
    parts_ptr,
    counter_ptr,
    grad_pred_ptr,
    grad_target_ptr,
    grad_weights_ptr,
    rows,
    EPS: tl.constexpr,
    ELEMENTWISE: tl.constexpr,
    MEAN: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
):
    """Take every so-many-th BLOCK of rows; ``loss`` is one value per row, or the sum over all programs."""
    scale = tl.full((), 1.0, COMPUTE)
    if MEAN:
        scale = scale / rows
    total = tl.zeros((BLOCK,), COMPUTE)
    begin = tl.program_id(0).to(tl.int64) * BLOCK
    for _ in range(tl.program_id(0), tl.cdiv(rows, BLOCK), tl.num_programs(0)):
        row = rows_apart(begin, BLOCK)
        inside = row < rows
        p_0, p_1 = load_pairs(pred_ptr, row, inside, COMPUTE)
        t_0, t_1 = load_pairs(target_ptr, row, inside, COMPUTE)
        weight = tl.where(inside, 1.0, 0.0).to(COMPUTE)
        if weights_ptr is not None:
            weight = tl.load(weights_ptr + row, mask=inside, other=0.0).to(COMPUTE)
        loss, intersection, raw = diou(p_0, p_1, t_0, t_1, EPS)
        weighted = loss * weight
        if ELEMENTWISE:
            tl.store(loss_ptr + row, weighted, mask=inside)
        else:
            total += weighted
        factor = weight * scale
        if grad_pred_ptr is not None:
            slope_0, slope_1 = one_side(p_0, p_1, t_0, t_1, intersection, raw, EPS)
            store_pairs(grad_pred_ptr, row, slope_0 * factor, slope_1 * factor, inside)
        if grad_target_ptr is not None:
            slope_0, slope_1 = one_side(t_0, t_1, p_0, p_1, intersection, raw, EPS)
            store_pairs(grad_target_ptr, row, slope_0 * factor, slope_1 * factor, inside)
        if grad_weights_ptr is not None:
            tl.store(grad_weights_ptr + row, loss * scale, mask=inside)
        begin += tl.num_programs(0).to(tl.int64) * BLOCK
    if not ELEMENTWISE:
        sum_of_programs(tl.sum(total, 0) * scale, parts_ptr, counter_ptr, loss_ptr, BLOCK_PARTS)


def diou_loss(given: Operands) -> Outputs:
    """Compute in one launch."""
    found = given.outputs()
    dtype, device = found.loss.dtype, found.loss.device
    rows, elementwise = given.pred.shape[0], given.reduction == "none"
    if rows == 0:
        found.loss.zero_()
        return found
    programs = min(_launch.cdiv(rows, BLOCK), _reduction.PROGRAMS)
    with _launch.on_device_of(given.pred):
        _launch.launch(
            diou_loss_fwd_kernel,
            (programs,),
            pred_ptr=given.pred.contiguous(),
            target_ptr=given.target.contiguous(),
            weights_ptr=_launch.contiguous(given.weights),
            loss_ptr=found.loss,
            parts_ptr=None if elementwise else _launch.empty((programs,), dtype, device),
            counter_ptr=None if elementwise else counter(given.pred),
            grad_pred_ptr=_launch.or_none(found.grad_pred),
            grad_target_ptr=_launch.or_none(found.grad_target),
            grad_weights_ptr=_launch.or_none(found.grad_weights),
            rows=rows,
            EPS=float(given.eps),
            ELEMENTWISE=elementwise,
            MEAN=given.reduction == "mean",
            COMPUTE=_launch.triton_type(dtype),
            BLOCK=BLOCK,
            BLOCK_PARTS=_reduction.BLOCK,
            **_launch.FUSED,
        )
    return found
