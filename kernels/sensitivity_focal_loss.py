# SPDX-License-Identifier: Apache-2.0
"""Sensitivity-weighted sigmoid focal loss: loss and derivatives in one pass over the logits.

Reads each logit once and writes each gradient once, so the pass is bound by memory: 8 bytes an element in float32. The
elements are taken as one flat run of packs of neighbours in a row, whatever row they belong to, so that no lane is idle
beside a row of few classes and a row's label and weight are loaded once a pack. Gradients of weights that are one a row
need whole rows in a program: those are taken in tiles of rows. Tested under Triton's interpreter and compiled for
sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from . import _launch, _reduction
from ._maths import can_approximate, exp_of_minus, inverse_of_sum, log1p_unit
from ._reduction import sum_of_programs
from .launch_counter import counter

if TYPE_CHECKING:
    from asl_fast.reference.sensitivity_focal_loss import Operands, Outputs

BLOCK = 1024  # elements of a tile; half in double precision
MOST_PACKS = 1 << 15  # in a row, for the division by a product


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
def focal(x, t, ALPHA: tl.constexpr, GAMMA: tl.constexpr, WIDE: tl.constexpr, APPROXIMATE: tl.constexpr):
    """Return alpha_t (1 - p_t)^gamma CE and its slope in x; one exponential serves both, 1 - p_t keeps its digits."""
    e = exp_of_minus(tl.abs(x), WIDE)
    larger = inverse_of_sum(e, APPROXIMATE)
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
def focal_of_class(x, hot, ALPHA: tl.constexpr, GAMMA: tl.constexpr, WIDE: tl.constexpr, APPROXIMATE: tl.constexpr):
    """Return what :func:`focal` does for a target of 1 where ``hot`` and 0 elsewhere, in half of the work.

    The loss of a logit at a target of 1 is that of the opposite logit at 0. As there, an infinite logit gives NaN.
    """
    towards = tl.where(hot, -x, x)  # away from the target
    e = exp_of_minus(tl.abs(x), WIDE)
    larger = inverse_of_sum(e, APPROXIMATE)
    smaller = e * larger
    miss = tl.where(towards >= 0, larger, smaller)
    hit = tl.where(towards >= 0, smaller, larger)
    cross_entropy = (log1p_unit(e, WIDE) + x * 0.0) + tl.maximum(towards, 0.0)
    power = power_of(miss, GAMMA)
    if ALPHA >= 0:
        power *= tl.where(hot, ALPHA, 1.0 - ALPHA)
    slope = power * (miss + GAMMA * hit * cross_entropy)
    return cross_entropy * power, tl.where(hot, -slope, slope)


@triton.jit(do_not_specialize=["rows", "packs", "magic", "tiles"])
def sensitivity_focal_loss_fwd_kernel(
    logits_ptr,
    targets_ptr,
    weights_ptr,
    mask_ptr,
    kept_ptr,
    loss_ptr,
    parts_ptr,
    counter_ptr,
    grad_logits_ptr,
    grad_weights_ptr,
    rows,
    packs,
    magic,
    tiles,
    ALPHA: tl.constexpr,
    GAMMA: tl.constexpr,
    SMOOTHING: tl.constexpr,
    SPARSE: tl.constexpr,
    DENSE_WEIGHTS: tl.constexpr,
    ELEMENTWISE: tl.constexpr,
    MEAN: tl.constexpr,
    COMPUTE: tl.constexpr,
    APPROXIMATE: tl.constexpr,
    BY_ROWS: tl.constexpr,
    PACK: tl.constexpr,
    TALL: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
):
    """Take every so-many-th tile: TALL packs of WIDE elements, wherever rows end; BY_ROWS, TALL rows WIDE at a time."""
    classes = packs * PACK  # so the compiler knows that rows begin where packs do
    factor = tl.full((), 1.0, COMPUTE)
    if MEAN:
        count = rows.to(tl.int64) * classes
        if kept_ptr is not None:
            count = tl.maximum(tl.load(kept_ptr) * classes, 1)
        factor = factor / count
    here = tl.arange(0, TALL)
    lane = tl.arange(0, WIDE)[None, :]
    # Of a tile: its first element, the row of that and its pack in the row. From tile to tile they grow by fixed steps.
    program, programs = tl.program_id(0).to(tl.int64), tl.num_programs(0).to(tl.int64)
    if BY_ROWS:
        first_row, row_step = program * TALL, programs * TALL
        first_pack, pack_step = 0, 0
    else:
        first_row, row_step = program * TALL // packs, programs * TALL // packs
        first_pack = (program * TALL - first_row * packs).to(tl.int32)
        pack_step = (programs * TALL - row_step * packs).to(tl.int32)
    loss_sum = tl.zeros((TALL, WIDE), COMPUTE)
    for _ in range(tl.program_id(0), tiles, tl.num_programs(0)):
        begin = first_row * classes + first_pack * PACK
        left = tl.minimum(rows - first_row, TALL if BY_ROWS else TALL * PACK + 1).to(tl.int32)  # rows to come
        if BY_ROWS:
            row = here
        else:
            pack = first_pack + here
            row = tl.umulhi(pack * 4, magic)  # pack // packs
        inside = row < left
        keep = inside
        if mask_ptr is not None:
            keep = keep & (tl.load(mask_ptr + first_row + row, mask=inside, other=0) != 0)
        if SPARSE:
            stated = tl.load(targets_ptr + first_row + row, mask=keep, other=0).to(tl.int64)
            label = tl.where((stated >= 0) & (stated < classes), stated, -1).to(tl.int32)[:, None]
        weight = tl.where(keep, 1.0, 0.0).to(COMPUTE)[:, None]
        if weights_ptr is not None and not DENSE_WEIGHTS:
            weight = tl.load(weights_ptr + first_row + row, mask=keep, other=0.0).to(COMPUTE)[:, None]

        row_sum = tl.zeros((TALL,), COMPUTE)
        for first in range(0, classes if BY_ROWS else WIDE, WIDE):
            if BY_ROWS:
                column = first + lane
                at = row[:, None] * classes + column
                within = inside[:, None] & (column < classes)
                counts = keep[:, None] & (column < classes)
            else:
                column = (pack - row * packs)[:, None] * PACK + lane
                at = here[:, None] * PACK + lane
                within, counts = inside[:, None], keep[:, None]
            x = tl.load(logits_ptr + begin + at, mask=counts, other=0.0).to(COMPUTE)
            if SPARSE and SMOOTHING == 0:
                value, slope = focal_of_class(x, label == column, ALPHA, GAMMA, tl.float64 == COMPUTE, APPROXIMATE)
            else:
                if SPARSE:
                    t = tl.where(label == column, 1.0, 0.0).to(COMPUTE)
                else:
                    t = tl.load(targets_ptr + begin + at, mask=counts, other=0.0).to(COMPUTE)
                if SMOOTHING != 0:
                    t = t * (1.0 - SMOOTHING) + tl.full((), SMOOTHING, COMPUTE) / (classes + 1)
                value, slope = focal(x, t, ALPHA, GAMMA, tl.float64 == COMPUTE, APPROXIMATE)
            if DENSE_WEIGHTS:
                own_weight = tl.load(weights_ptr + begin + at, mask=counts, other=0.0).to(COMPUTE)
            else:
                own_weight = weight
            weighted = value * own_weight
            if ELEMENTWISE:
                tl.store(loss_ptr + begin + at, weighted, mask=within)
            elif BY_ROWS:
                loss_sum += tl.where(counts, weighted, 0.0)
            else:
                loss_sum += weighted
            if grad_logits_ptr is not None:
                tl.store(grad_logits_ptr + begin + at, slope * (own_weight * factor), mask=within)
            if grad_weights_ptr is not None:
                value = tl.where(counts, value, 0.0)
                if BY_ROWS and not (ELEMENTWISE or DENSE_WEIGHTS):
                    row_sum += tl.sum(value, 1)
                else:
                    tl.store(grad_weights_ptr + begin + at, value * factor, mask=within)
        if grad_weights_ptr is not None and not (ELEMENTWISE or DENSE_WEIGHTS):
            tl.store(grad_weights_ptr + first_row + row, row_sum * factor, mask=inside)
        first_row += row_step
        if not BY_ROWS:
            first_pack += pack_step
            over = first_pack >= packs
            first_row += over.to(tl.int64)
            first_pack = tl.where(over, first_pack - packs, first_pack)
    if not ELEMENTWISE:
        sum_of_programs(tl.sum(tl.sum(loss_sum, 1), 0) * factor, parts_ptr, counter_ptr, loss_ptr, BLOCK_PARTS)


def sensitivity_focal_loss(given: Operands) -> Outputs:
    """Compute in one launch; the mean under a mask first counts the mask."""
    found = given.outputs()
    dtype, device = found.loss.dtype, found.loss.device
    rows, classes, elementwise = given.rows, given.classes, given.reduction == "none"
    if rows == 0:
        found.loss.zero_()
        found.grad_weights.zero_()
        return found
    block = BLOCK // 2 if dtype == torch.float64 else BLOCK  # registers
    pack = math.gcd(classes, 4)  # elements of a row that lie side by side: 16 bytes of float32 move as one
    packs = classes // pack
    by_rows = packs > MOST_PACKS or (found.grad_weights.numel() > 0 and given.row_weights and not elementwise)
    tall, wide = _launch.row_tile(classes, block) if by_rows else (block // pack, pack)
    tiles = _launch.cdiv(rows, tall) if by_rows else _launch.cdiv(rows * packs, tall)
    programs = min(tiles, _reduction.PROGRAMS)
    mean = given.reduction == "mean"
    with _launch.on_device_of(given.logits):
        _launch.launch(
            sensitivity_focal_loss_fwd_kernel,
            (programs,),
            logits_ptr=given.logits.contiguous(),
            targets_ptr=given.targets.contiguous(),
            weights_ptr=_launch.contiguous(given.weights),
            mask_ptr=None if given.mask is None else given.mask.contiguous().view(torch.uint8),
            kept_ptr=given.mask.sum() if mean and given.mask is not None else None,
            loss_ptr=found.loss,
            parts_ptr=None if elementwise else _launch.empty((programs,), dtype, device),
            counter_ptr=None if elementwise else counter(given.logits),
            grad_logits_ptr=_launch.or_none(found.grad_logits),
            grad_weights_ptr=_launch.or_none(found.grad_weights),
            rows=rows,
            packs=packs,
            magic=_launch.cdiv(1 << 30, packs),
            tiles=tiles,
            ALPHA=float(given.alpha),
            GAMMA=float(given.gamma),
            SMOOTHING=float(given.label_smoothing),
            SPARSE=given.sparse,
            DENSE_WEIGHTS=given.weights is not None and not given.row_weights,
            ELEMENTWISE=elementwise,
            MEAN=mean,
            COMPUTE=_launch.triton_type(dtype),
            APPROXIMATE=can_approximate(dtype),
            BY_ROWS=by_rows,
            PACK=pack,
            TALL=tall,
            WIDE=wide,
            BLOCK_PARTS=_reduction.BLOCK,
            **_launch.FUSED,
        )
    return found
