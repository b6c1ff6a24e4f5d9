# SPDX-License-Identifier: Apache-2.0
"""Sensitivity-weighted sigmoid focal loss: loss and derivatives in one pass over the logits.

Reads each logit once and writes each gradient once, so the pass is bound by memory: 8 bytes an element in float32. A
program owns whole rows, which makes the gradient of per-point weights a sum within the program, without atomics. Tested
under Triton's interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from . import _launch, _reduction
from ._maths import exp_of_minus, log1p_unit

if TYPE_CHECKING:
    from asl_fast.reference.sensitivity_focal_loss import Operands, Outputs


@triton.jit
def power_of(miss, GAMMA: tl.constexpr):
    """Return miss^gamma, with a gradient that is 0 where miss is; NaN gives NaN."""
    if GAMMA == 0:
        power = miss * 0.0 + 1.0
    elif GAMMA == 1:
        power = miss
    elif GAMMA == 2:
        power = miss * miss
    else:
        some = miss > 0
        power = tl.where(some, tl.exp(GAMMA * tl.log(tl.where(some, miss, 1.0))), miss)  # miss: 0, or NaN
    return power


@triton.jit
def focal(x, t, ALPHA: tl.constexpr, GAMMA: tl.constexpr, WIDE: tl.constexpr):
    """Return alpha_t (1 - p_t)^gamma CE and its slope in x; one exponential serves both, 1 - p_t keeps its digits."""
    e = exp_of_minus(tl.abs(x), WIDE)
    larger = 1.0 / (1.0 + e)
    smaller = e * larger
    p = tl.where(x >= 0, larger, smaller)
    q = tl.where(x >= 0, smaller, larger)
    cross_entropy = log1p_unit(e, WIDE) + tl.maximum(x, 0.0) * (1.0 - t) + tl.maximum(-x, 0.0) * t
    miss = p * (1.0 - t) + q * t
    power = power_of(miss, GAMMA)
    # Power * p q / miss, which is finite for every gamma because p q / miss lies in [0, 1].
    if GAMMA == 1:
        bend = p * q
    elif GAMMA == 2:
        bend = p * q * miss
    else:
        some = miss > 0
        bend = power * tl.where(some, p * q / tl.where(some, miss, 1.0), 0.0)
    value = cross_entropy * power
    slope = power * (p * (1.0 - t) - q * t) + GAMMA * (1.0 - 2.0 * t) * bend * cross_entropy
    if ALPHA >= 0:
        alpha_t = ALPHA * t + (1.0 - ALPHA) * (1.0 - t)
        value *= alpha_t
        slope *= alpha_t
    return value, slope


@triton.jit
def focal_of_class(x, hot, ALPHA: tl.constexpr, GAMMA: tl.constexpr, WIDE: tl.constexpr):
    """Return what :func:`focal` does for a target of 1 where ``hot`` and 0 elsewhere, in two thirds of the work.

    As there, an infinite logit gives NaN.
    """
    e = exp_of_minus(tl.abs(x), WIDE)
    larger = 1.0 / (1.0 + e)
    smaller = e * larger
    wrong = (x >= 0) != hot
    miss = tl.where(wrong, larger, smaller)
    hit = tl.where(wrong, smaller, larger)
    cross_entropy = log1p_unit(e, WIDE) + (tl.maximum(x, 0.0) - x * tl.where(hot, 1.0, 0.0))
    power = power_of(miss, GAMMA)
    if ALPHA >= 0:
        power *= tl.where(hot, ALPHA, 1.0 - ALPHA)
    slope = power * (miss + GAMMA * hit * cross_entropy)
    return cross_entropy * power, tl.where(hot, -slope, slope)


@triton.jit(do_not_specialize=["rows", "elements"])
def sensitivity_focal_loss_fwd_kernel(
    logits_ptr,
    targets_ptr,
    weights_ptr,
    mask_ptr,
    kept_ptr,
    loss_ptr,
    grad_logits_ptr,
    grad_weights_ptr,
    rows,
    classes,
    elements,
    ALPHA: tl.constexpr,
    GAMMA: tl.constexpr,
    KEEP: tl.constexpr,
    SPREAD: tl.constexpr,
    SPARSE: tl.constexpr,
    DENSE_WEIGHTS: tl.constexpr,
    ELEMENTWISE: tl.constexpr,
    MEAN: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_CLASSES: tl.constexpr,
):
    """Take rows (rows, classes) in tiles; ``loss`` is elementwise, or one partial sum per program."""
    row = tl.program_id(0).to(tl.int64) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)
    in_rows = row < rows
    keep = in_rows
    if mask_ptr is not None:
        keep = keep & (tl.load(mask_ptr + row, mask=in_rows, other=0) != 0)
    factor = tl.full((), 1.0, COMPUTE)
    if MEAN:
        count = elements
        if kept_ptr is not None:
            count = tl.maximum(tl.load(kept_ptr) * classes, 1)
        factor = factor / count
    if SPARSE:
        label = tl.load(targets_ptr + row, mask=keep, other=0)
    if weights_ptr is not None and not DENSE_WEIGHTS:
        weight = tl.load(weights_ptr + row, mask=keep, other=0.0).to(COMPUTE)[:, None]

    loss_sum = tl.zeros((BLOCK_ROWS, BLOCK_CLASSES), COMPUTE)
    row_sum = tl.zeros((BLOCK_ROWS,), COMPUTE)
    for first in range(0, classes, BLOCK_CLASSES):
        column = first + tl.arange(0, BLOCK_CLASSES)
        within = in_rows[:, None] & (column < classes)[None, :]
        counts = keep[:, None] & (column < classes)[None, :]
        at = row[:, None] * classes + column[None, :]
        x = tl.load(logits_ptr + at, mask=counts, other=0.0).to(COMPUTE)
        if SPARSE:
            t = tl.where(label[:, None] == column[None, :], 1.0, 0.0).to(COMPUTE)
        else:
            t = tl.load(targets_ptr + at, mask=counts, other=0.0).to(COMPUTE)
        if SPREAD != 0:
            t = t * KEEP + SPREAD
        value, slope = focal(x, t, ALPHA, GAMMA, tl.float64 == COMPUTE)
        weighted = value
        if weights_ptr is not None:
            if DENSE_WEIGHTS:
                weight = tl.load(weights_ptr + at, mask=counts, other=0.0).to(COMPUTE)
            weighted = value * weight
            slope = slope * weight
        if ELEMENTWISE:
            tl.store(loss_ptr + at, tl.where(counts, weighted, 0.0), mask=within)
        else:
            loss_sum += tl.where(counts, weighted, 0.0)
        if grad_logits_ptr is not None:
            tl.store(grad_logits_ptr + at, tl.where(counts, slope * factor, 0.0), mask=within)
        if grad_weights_ptr is not None:
            value = tl.where(counts, value, 0.0)
            if ELEMENTWISE or DENSE_WEIGHTS:
                tl.store(grad_weights_ptr + at, value * factor, mask=within)
            else:
                row_sum += tl.sum(value, 1)
    if not ELEMENTWISE:
        tl.store(loss_ptr + tl.program_id(0), tl.sum(tl.sum(loss_sum, 1), 0) * factor)
        if grad_weights_ptr is not None and not DENSE_WEIGHTS:
            tl.store(grad_weights_ptr + row, row_sum * factor, mask=in_rows)


def sensitivity_focal_loss(given: Operands) -> Outputs:
    """Launch twice with a reduction, once without; the mean under a mask first counts the mask."""
    found = given.outputs()
    dtype, device = found.loss.dtype, found.loss.device
    rows, classes, elementwise = given.rows, given.classes, given.reduction == "none"
    if rows == 0:
        found.loss.zero_()
        found.grad_weights.zero_()
        return found
    block_rows, block_classes = _launch.row_tile(classes, 512)  # registers: 2,048 would spill
    programs = triton.cdiv(rows, block_rows)
    # A single program writes the loss itself.
    direct = elementwise or programs == 1
    parts = found.loss if direct else _launch.empty((programs,), dtype, device)
    mean = given.reduction == "mean"
    with _launch.on_device_of(given.logits):
        _launch.launch(
            sensitivity_focal_loss_fwd_kernel,
            (programs,),
            given.logits.contiguous(),
            given.targets.contiguous(),
            None if given.weights is None else given.weights.contiguous(),
            None if given.mask is None else given.mask.contiguous().view(torch.uint8),
            given.mask.sum() if mean and given.mask is not None else None,
            parts,
            _launch.or_none(found.grad_logits),
            _launch.or_none(found.grad_weights),
            rows,
            classes,
            given.logits.numel(),
            ALPHA=float(given.alpha),
            GAMMA=float(given.gamma),
            KEEP=1.0 - given.label_smoothing,
            SPREAD=given.label_smoothing / (classes + 1),
            SPARSE=given.sparse,
            DENSE_WEIGHTS=given.weights is not None and not given.row_weights,
            ELEMENTWISE=elementwise,
            MEAN=mean,
            COMPUTE=_launch.triton_type(dtype),
            BLOCK_ROWS=block_rows,
            BLOCK_CLASSES=block_classes,
            **_launch.FUSED,
        )
        if not direct:
            _reduction.total(parts, found.loss)
    return found
