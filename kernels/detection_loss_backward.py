# SPDX-License-Identifier: Apache-2.0
"""Backward pass of ``detection_loss`` in one launch.

The gradients of logits, offsets and quality wait for one factor each; programs of one kind multiply them. Programs of
another kind own a class each: they read the classes of all points and add up, in order, what reaches its Gaussians.
Tested under Triton's interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
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
def one_column(
    excess, distance, mine, raw_mu_ptr, raw_sigma_ptr, label, COLUMN: tl.constexpr, FORM: tl.constexpr,
    COMPUTE: tl.constexpr,
):  # fmt: skip
    """Return the gradients in mu and sigma of ``excess`` times the profile, per point."""
    mu, sigma, _, _ = gaussian_at(raw_mu_ptr, raw_sigma_ptr, label, True, COLUMN, FORM, COMPUTE)
    away = (distance - mu) / sigma
    by_mu = tl.where(mine, excess * tl.exp(-0.5 * away * away) * away / sigma, 0.0)
    return by_mu, by_mu * away


@triton.jit(do_not_specialize=["num_rows", "num_logits", "num_offsets", "num_predicted_quality"])
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
    num_logits,
    num_offsets,
    num_predicted_quality,
    FORM: tl.constexpr,
    CLS_LEARNS: tl.constexpr,
    LOC_LEARNS: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Divide programs into blocks of the gradients of logits, then of offsets, of quality, and one per class."""
    program = tl.program_id(0)
    lane = tl.arange(0, BLOCK).to(tl.int64)
    zero = tl.load(factors_ptr) * 0.0
    for_logits = tl.cdiv(num_logits, BLOCK)
    for_offsets = for_logits + tl.cdiv(num_offsets, BLOCK)
    for_quality = for_offsets + tl.cdiv(num_predicted_quality, BLOCK)
    if program < for_logits:
        element = program.to(tl.int64) * BLOCK + lane
        inside = element < num_logits
        grad = incoming(grad_total_ptr, grad_cls_ptr, 1.0, zero)
        label = tl.load(label_ptr + element // num_classes, mask=inside, other=-1)
        factor = tl.where(label >= 0, tl.load(factors_ptr), tl.load(factors_ptr + 1)) * grad
        unit = tl.load(unit_logits_ptr + element, mask=inside, other=0.0).to(COMPUTE)
        tl.store(out_logits_ptr + element, unit * factor, mask=inside)
    elif program < for_offsets:
        element = (program - for_logits).to(tl.int64) * BLOCK + lane
        inside = element < num_offsets
        factor = incoming(grad_total_ptr, grad_loc_ptr, tl.load(factors_ptr + 4), zero) * tl.load(factors_ptr + 2)
        unit = tl.load(unit_offsets_ptr + element, mask=inside, other=0.0).to(COMPUTE)
        tl.store(out_offsets_ptr + element, unit * factor, mask=inside)
    elif program < for_quality:
        element = (program - for_offsets).to(tl.int64) * BLOCK + lane
        inside = element < num_predicted_quality
        factor = incoming(grad_total_ptr, grad_sensitivity_ptr, 1.0, zero) * tl.load(factors_ptr + 3)
        unit = tl.load(unit_predicted_quality_ptr + element, mask=inside, other=0.0).to(COMPUTE)
        tl.store(out_predicted_quality_ptr + element, unit * factor, mask=inside)
    elif out_mu_ptr is not None:
        own = program - for_quality
        mean_cls, mean_loc = tl.load(factors_ptr + 5), tl.load(factors_ptr + 6)
        cls_mu = tl.zeros((BLOCK,), COMPUTE)
        cls_sigma, start_mu, start_sigma, end_mu, end_sigma = cls_mu, cls_mu, cls_mu, cls_mu, cls_mu
        stop = num_rows if CLS_LEARNS or LOC_LEARNS else 0
        for at in range(0, stop, BLOCK):
            row = at + lane
            mine = tl.load(label_ptr + row, mask=row < num_rows, other=-1) == own
            distance = tl.load(of_points_ptr + 2 * num_rows + row, mask=mine, other=0.0)
            if CLS_LEARNS:
                excess = tl.load(of_points_ptr + row, mask=mine, other=0.0) - mean_cls
                by_mu, by_sigma = one_column(excess, distance, mine, raw_mu_ptr, raw_sigma_ptr, own, 0, FORM, COMPUTE)
                cls_mu += by_mu
                cls_sigma += by_sigma
            if LOC_LEARNS:
                excess = tl.load(of_points_ptr + num_rows + row, mask=mine, other=0.0) - mean_loc
                by_mu, by_sigma = one_column(excess, distance, mine, raw_mu_ptr, raw_sigma_ptr, own, 1, FORM, COMPUTE)
                start_mu += by_mu
                start_sigma += by_sigma
                by_mu, by_sigma = one_column(excess, distance, mine, raw_mu_ptr, raw_sigma_ptr, own, 2, FORM, COMPUTE)
                end_mu += by_mu
                end_sigma += by_sigma
        f_cls = incoming(grad_total_ptr, grad_cls_ptr, 1.0, zero) * tl.load(factors_ptr)
        f_loc = incoming(grad_total_ptr, grad_loc_ptr, tl.load(factors_ptr + 4), zero) * tl.load(factors_ptr + 2)
        _, _, slope_mu, slope_sigma = gaussian_at(raw_mu_ptr, raw_sigma_ptr, own, True, 0, FORM, COMPUTE)
        to_raw(tl.sum(cls_mu, 0) * f_cls, tl.sum(cls_sigma, 0) * f_cls, grad_mu_ptr, grad_sigma_ptr, out_mu_ptr,
               out_sigma_ptr, own * 3, slope_mu, slope_sigma)  # fmt: skip
        _, _, slope_mu, slope_sigma = gaussian_at(raw_mu_ptr, raw_sigma_ptr, own, True, 1, FORM, COMPUTE)
        to_raw(tl.sum(start_mu, 0) * f_loc, tl.sum(start_sigma, 0) * f_loc, grad_mu_ptr, grad_sigma_ptr, out_mu_ptr,
               out_sigma_ptr, own * 3 + 1, slope_mu, slope_sigma)  # fmt: skip
        _, _, slope_mu, slope_sigma = gaussian_at(raw_mu_ptr, raw_sigma_ptr, own, True, 2, FORM, COMPUTE)
        to_raw(tl.sum(end_mu, 0) * f_loc, tl.sum(end_sigma, 0) * f_loc, grad_mu_ptr, grad_sigma_ptr, out_mu_ptr,
               out_sigma_ptr, own * 3 + 2, slope_mu, slope_sigma)  # fmt: skip


def detection_loss_backward(given: BackwardOperands) -> BackwardOutputs:
    """Compute in one launch."""
    found = given.outputs()
    dtype, compute = _launch.compute_type(given.factors)
    block = BLOCK // 4 if dtype == torch.float64 else BLOCK  # registers
    learns = given.raw_mu is not None
    classes = given.unit_logits.shape[-1] if given.raw_mu is None else given.raw_mu.shape[0]
    units = (given.unit_logits, given.unit_offsets, given.unit_predicted_quality)
    programs = sum(triton.cdiv(unit.numel(), block) for unit in units) + (classes if learns else 0)
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
                num_logits=given.unit_logits.numel(),
                num_offsets=given.unit_offsets.numel(),
                num_predicted_quality=given.unit_predicted_quality.numel(),
                FORM=tuple(float(value) for value in given.gaussian_form),
                CLS_LEARNS=given.cls_learns,
                LOC_LEARNS=given.loc_learns,
                COMPUTE=compute,
                BLOCK=block,
                **_launch.FUSED,
            )
    return found
