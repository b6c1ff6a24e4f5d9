# SPDX-License-Identifier: Apache-2.0
"""Backward pass of ``detection_loss`` in one launch.

Programs of one kind own a class each: they read the classes of all points and add up, in order, what reaches its
Gaussians; a block of points without the class is passed over. They take longest and come first. The gradients of
quality, offsets and logits wait for one factor each; programs of another kind multiply them. Tested under Triton's
interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from . import _launch
from ._detection_loss_sensitivity import gaussian_at

if TYPE_CHECKING:
    from asl_fast.reference.detection_loss_backward import BackwardOperands, BackwardOutputs

BLOCK = 1024
LOGITS = 2  # so many times as many of the logits, of which a program does nothing but wait for memory


@triton.jit
def incoming(total_ptr, own_ptr, factor, zero):
    """Return the gradient that reaches one loss: its own, and that of the total times its factor there."""
    if total_ptr is not None:
        zero += tl.load(total_ptr) * factor
    if own_ptr is not None:
        zero += tl.load(own_ptr)
    return zero


@triton.jit
def to_raw(sum_mu, sum_sigma, grad_mu_ptr, grad_sigma_ptr, out_mu_ptr, out_sigma_ptr, at, slope_mu, slope_sigma):
    """Add what comes from other users of mu and sigma, and go on to the raw parameters."""
    if grad_mu_ptr is not None:
        sum_mu += tl.load(grad_mu_ptr + at)
    if grad_sigma_ptr is not None:
        sum_sigma += tl.load(grad_sigma_ptr + at)
    tl.store(out_mu_ptr + at, sum_mu * slope_mu)
    tl.store(out_sigma_ptr + at, sum_sigma * slope_sigma)


@triton.jit
def one_column(excess, distance, mu, narrow):
    """Return the gradients in mu and sigma of ``excess`` times the profile, per point, but for a factor of ``narrow``.

    That is 1 / sigma, with which the sums are multiplied. Points of other classes have an excess of 0.
    """
    away = (distance - mu) * narrow
    by_mu = excess * tl.exp(-0.5 * away * away) * away
    return by_mu, by_mu * away


@triton.jit
def of_one_class(
    own, grad_total_ptr, grad_cls_ptr, grad_loc_ptr, grad_mu_ptr, grad_sigma_ptr, label_ptr, of_points_ptr, factors_ptr,
    raw_mu_ptr, raw_sigma_ptr, out_mu_ptr, out_sigma_ptr, num_rows, FORM: tl.constexpr, CLS_LEARNS: tl.constexpr,
    LOC_LEARNS: tl.constexpr, COMPUTE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write the gradients of the raw parameters of the Gaussians of class ``own``."""
    lane = tl.arange(0, BLOCK)
    zero = tl.load(factors_ptr) * 0.0
    mu_0, sigma_0, slope_mu_0, slope_sigma_0 = gaussian_at(raw_mu_ptr, raw_sigma_ptr, own, True, 0, FORM, COMPUTE)
    mu_1, sigma_1, slope_mu_1, slope_sigma_1 = gaussian_at(raw_mu_ptr, raw_sigma_ptr, own, True, 1, FORM, COMPUTE)
    mu_2, sigma_2, slope_mu_2, slope_sigma_2 = gaussian_at(raw_mu_ptr, raw_sigma_ptr, own, True, 2, FORM, COMPUTE)
    narrow_0, narrow_1, narrow_2 = 1.0 / sigma_0, 1.0 / sigma_1, 1.0 / sigma_2
    mean_cls, mean_loc = tl.load(factors_ptr + 5), tl.load(factors_ptr + 6)
    cls_mu = tl.zeros((BLOCK,), COMPUTE)
    cls_sigma, start_mu, start_sigma, end_mu, end_sigma = cls_mu, cls_mu, cls_mu, cls_mu, cls_mu
    stop = num_rows if CLS_LEARNS or LOC_LEARNS else 0
    coming = tl.load(label_ptr + lane, mask=lane < stop, other=-1)
    for at in range(0, stop, BLOCK):
        row = at + lane
        mine = coming == own
        coming = tl.load(label_ptr + row + BLOCK, mask=row + BLOCK < stop, other=-1)  # on its way meanwhile
        if tl.max(mine.to(tl.int32), 0) > 0:
            distance = tl.load(of_points_ptr + 2 * num_rows + row, mask=mine, other=0.0)
            if CLS_LEARNS:
                excess = tl.where(mine, tl.load(of_points_ptr + row, mask=mine, other=0.0) - mean_cls, 0.0)
                by_mu, by_sigma = one_column(excess, distance, mu_0, narrow_0)
                cls_mu += by_mu
                cls_sigma += by_sigma
            if LOC_LEARNS:
                excess = tl.load(of_points_ptr + num_rows + row, mask=mine, other=0.0) - mean_loc
                excess = tl.where(mine, excess, 0.0)
                by_mu, by_sigma = one_column(excess, distance, mu_1, narrow_1)
                start_mu += by_mu
                start_sigma += by_sigma
                by_mu, by_sigma = one_column(excess, distance, mu_2, narrow_2)
                end_mu += by_mu
                end_sigma += by_sigma
    f_cls = incoming(grad_total_ptr, grad_cls_ptr, 1.0, zero) * tl.load(factors_ptr)
    f_loc = incoming(grad_total_ptr, grad_loc_ptr, tl.load(factors_ptr + 4), zero) * tl.load(factors_ptr + 2)
    factor = f_cls * narrow_0
    to_raw(tl.sum(cls_mu, 0) * factor, tl.sum(cls_sigma, 0) * factor, grad_mu_ptr, grad_sigma_ptr, out_mu_ptr,
           out_sigma_ptr, own * 3, slope_mu_0, slope_sigma_0)  # fmt: skip
    factor = f_loc * narrow_1
    to_raw(tl.sum(start_mu, 0) * factor, tl.sum(start_sigma, 0) * factor, grad_mu_ptr, grad_sigma_ptr, out_mu_ptr,
           out_sigma_ptr, own * 3 + 1, slope_mu_1, slope_sigma_1)  # fmt: skip
    factor = f_loc * narrow_2
    to_raw(tl.sum(end_mu, 0) * factor, tl.sum(end_sigma, 0) * factor, grad_mu_ptr, grad_sigma_ptr, out_mu_ptr,
           out_sigma_ptr, own * 3 + 2, slope_mu_2, slope_sigma_2)  # fmt: skip


@triton.jit
def scaled(unit_ptr, out_ptr, block, size, factor, COMPUTE: tl.constexpr, BLOCK: tl.constexpr):
    """Multiply one block of a flat array by one factor."""
    first = block.to(tl.int64) * BLOCK
    lane = tl.arange(0, BLOCK)
    inside = lane < size - first
    unit = tl.load(unit_ptr + first + lane, mask=inside, other=0.0).to(COMPUTE)
    tl.store(out_ptr + first + lane, unit * factor, mask=inside)


SIZES = ["num_rows", "num_classes", "num_gaussians", "num_logits", "num_offsets", "num_predicted_quality", "magic"]


@triton.jit(do_not_specialize=SIZES)
def detection_loss_bwd_kernel(
    grad_total_ptr,
    grad_cls_ptr,
    grad_loc_ptr,
    grad_sensitivity_ptr,
    grad_mu_ptr,
    grad_sigma_ptr,
    unit_logits_ptr,
    unit_offsets_ptr,
    unit_predicted_quality_ptr,
    label_ptr,
    of_points_ptr,
    factors_ptr,
    raw_mu_ptr,
    raw_sigma_ptr,
    out_logits_ptr,
    out_offsets_ptr,
    out_predicted_quality_ptr,
    out_mu_ptr,
    out_sigma_ptr,
    num_rows,
    num_classes,
    num_gaussians,
    num_logits,
    num_offsets,
    num_predicted_quality,
    magic,
    FORM: tl.constexpr,
    CLS_LEARNS: tl.constexpr,
    LOC_LEARNS: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
    BLOCK_LOGITS: tl.constexpr,
):
    """Divide programs into one per class with Gaussians, then blocks of the gradients of quality, offsets, logits.

    ``magic`` is 2^62 / ``num_classes``, rounded up: with it a product divides, exactly for any number of logits that
    fits a memory. Its upper half divides within a program by a product half as wide, as long as there are fewer
    classes than logits in a program; where there are more, a program holds parts of two rows at most.
    """
    program = tl.program_id(0)
    zero = tl.load(factors_ptr) * 0.0
    to_quality = num_gaussians + tl.cdiv(num_predicted_quality, BLOCK)
    to_offsets = to_quality + tl.cdiv(num_offsets, BLOCK)
    if program < num_gaussians:
        if out_mu_ptr is not None:
            of_one_class(
                program, grad_total_ptr, grad_cls_ptr, grad_loc_ptr, grad_mu_ptr, grad_sigma_ptr, label_ptr,
                of_points_ptr, factors_ptr, raw_mu_ptr, raw_sigma_ptr, out_mu_ptr, out_sigma_ptr, num_rows, FORM,
                CLS_LEARNS, LOC_LEARNS, COMPUTE, BLOCK,
            )  # fmt: skip
    elif program < to_quality:
        of_quality = incoming(grad_total_ptr, grad_sensitivity_ptr, 1.0, zero) * tl.load(factors_ptr + 3)
        scaled(unit_predicted_quality_ptr, out_predicted_quality_ptr, program - num_gaussians, num_predicted_quality,
               of_quality, COMPUTE, BLOCK)  # fmt: skip
    elif program < to_offsets:
        of_offsets = incoming(grad_total_ptr, grad_loc_ptr, tl.load(factors_ptr + 4), zero) * tl.load(factors_ptr + 2)
        scaled(unit_offsets_ptr, out_offsets_ptr, program - to_quality, num_offsets, of_offsets, COMPUTE, BLOCK)
    else:
        first = (program - to_offsets).to(tl.int64) * BLOCK_LOGITS
        lane = tl.arange(0, BLOCK_LOGITS)
        inside = lane < num_logits - first
        first_row = tl.umulhi(first * 4, magic)  # first // num_classes
        element = (first - first_row * num_classes).to(tl.int32) + lane
        several = tl.umulhi(element * 4, (magic >> 32).to(tl.int32) + 1)  # element // num_classes, if those are few
        row = tl.where(num_classes < BLOCK_LOGITS, several, (element >= num_classes).to(tl.int32))
        label = tl.load(label_ptr + first_row + row, mask=inside, other=-1)
        grad = incoming(grad_total_ptr, grad_cls_ptr, 1.0, zero)
        factor = tl.where(label >= 0, tl.load(factors_ptr) * grad, tl.load(factors_ptr + 1) * grad)
        unit = tl.load(unit_logits_ptr + first + lane, mask=inside, other=0.0).to(COMPUTE)
        tl.store(out_logits_ptr + first + lane, unit * factor, mask=inside)


def detection_loss_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute in one launch."""
    found = given.outputs()
    dtype, compute = _launch.compute_type(given.factors)
    block = BLOCK // 4 if dtype == torch.float64 else BLOCK  # registers
    learns = given.raw_mu is not None
    classes = given.unit_logits.shape[-1] if given.raw_mu is None else given.raw_mu.shape[0]
    small = (given.unit_offsets, given.unit_predicted_quality)
    programs = _launch.cdiv(given.unit_logits.numel(), LOGITS * block) + (classes if learns else 0)
    programs += sum(_launch.cdiv(unit.numel(), block) for unit in small)
    if programs:
        with _launch.on_device_of(given.factors):
            _launch.launch(
                detection_loss_bwd_kernel,
                (programs,),
                grad_total_ptr=_launch.contiguous(given.grad_total),
                grad_cls_ptr=_launch.contiguous(given.grad_cls),
                grad_loc_ptr=_launch.contiguous(given.grad_loc),
                grad_sensitivity_ptr=_launch.contiguous(given.grad_sensitivity),
                grad_mu_ptr=_launch.contiguous(given.grad_mu),
                grad_sigma_ptr=_launch.contiguous(given.grad_sigma),
                unit_logits_ptr=given.unit_logits,
                unit_offsets_ptr=given.unit_offsets,
                unit_predicted_quality_ptr=given.unit_predicted_quality,
                label_ptr=given.label,
                of_points_ptr=given.of_points,
                factors_ptr=given.factors,
                raw_mu_ptr=_launch.contiguous(given.raw_mu),
                raw_sigma_ptr=_launch.contiguous(given.raw_sigma),
                out_logits_ptr=found.grad_logits,
                out_offsets_ptr=found.grad_offsets,
                out_predicted_quality_ptr=found.grad_predicted_quality,
                out_mu_ptr=found.grad_raw_mu if learns else None,
                out_sigma_ptr=found.grad_raw_sigma if learns else None,
                num_rows=given.label.numel(),
                num_classes=classes,
                num_gaussians=classes if learns else 0,
                num_logits=given.unit_logits.numel(),
                num_offsets=given.unit_offsets.numel(),
                num_predicted_quality=given.unit_predicted_quality.numel(),
                magic=2**62 // classes + 1,
                FORM=tuple(float(value) for value in given.gaussian_form),
                CLS_LEARNS=given.cls_learns,
                LOC_LEARNS=given.loc_learns,
                COMPUTE=compute,
                BLOCK=block,
                BLOCK_LOGITS=LOGITS * block,
                num_warps=8,
                enable_fp_fusion=True,
                # Four programs on a processor: most only multiply, and wait for memory.
                **(_launch.register_limit(64) if compute == tl.float32 else {}),
            )
    return found
