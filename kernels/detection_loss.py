# SPDX-License-Identifier: Apache-2.0
"""Label assignment, sensitivities and every loss of a detector's outputs in one launch.

A program owns some points of one video. It finds their instances as ``assign_points`` does, weighs them, reads each
logit once and writes each unscaled gradient once; dense targets exist only where instances tie, as a product of two
small matrices of ones. What the losses are divided by is known when all points are: the last program to finish adds up
the programs' sums, in their order, and writes losses and factors. Contraction to fused multiply-adds is off, so that
points that lie on a boundary are decided as in the reference. Tested under Triton's interpreter and compiled for sm_80,
sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl

from . import _launch
from ._detection_loss_results import finalise, write_tables
from ._detection_loss_sensitivity import profile
from ._maths import load_pairs, store_pairs
from .assign_points import claimed_lengths, shortest_claim
from .diou_loss import diou, one_side
from .launch_counter import counter
from .sensitivity_focal_loss import focal

if TYPE_CHECKING:
    from asl_fast.reference.detection_loss import Operands, Outputs

BLOCK_SEGMENTS, BLOCK_TABLE, BLOCK_PROGRAMS = 32, 128, 256
SUMS = 7  # sums that each program hands on
EPS = 1e-8  # lower bound of the union in the DIoU loss


@triton.jit(do_not_specialize=["num_rows", "num_points", "num_segments"])
def detection_loss_fwd_kernel(
    logits_ptr,
    offsets_ptr,
    predicted_quality_ptr,
    mask_ptr,
    points_ptr,
    segments_ptr,
    labels_ptr,
    video_offsets_ptr,
    raw_mu_ptr,
    raw_sigma_ptr,
    normalizer_ptr,
    counter_ptr,
    parts_ptr,
    total_ptr,
    cls_ptr,
    loc_ptr,
    sensitivity_ptr,
    num_positives_ptr,
    updated_ptr,
    mu_ptr,
    sigma_ptr,
    segments_finest_ptr,
    unit_logits_ptr,
    unit_offsets_ptr,
    unit_predicted_quality_ptr,
    label_ptr,
    of_points_ptr,
    factors_ptr,
    num_rows,
    num_points,
    num_classes,
    num_segments,
    FORM: tl.constexpr,
    CLASS_LEVEL: tl.constexpr,
    CLS_SENSITIVE: tl.constexpr,
    LOC_SENSITIVE: tl.constexpr,
    CLS_COLUMN: tl.constexpr,
    LOC_COLUMN: tl.constexpr,
    CLS_CONSTANT: tl.constexpr,
    LOC_CONSTANT: tl.constexpr,
    NORMALIZE: tl.constexpr,
    RADIUS: tl.constexpr,
    TOLERANCE: tl.constexpr,
    ALPHA: tl.constexpr,
    GAMMA: tl.constexpr,
    KEEP: tl.constexpr,
    SPREAD: tl.constexpr,
    MOMENTUM: tl.constexpr,
    LOCATION_WEIGHT: tl.constexpr,
    EPS: tl.constexpr,
    LEAST_UNION: tl.constexpr,
    TINY: tl.constexpr,
    ASSIGN: tl.constexpr,
    COMPUTE: tl.constexpr,
    BLOCK_POINTS: tl.constexpr,
    BLOCK_CLASSES: tl.constexpr,
    BLOCK_SEGMENTS: tl.constexpr,
    BLOCK_TABLE: tl.constexpr,
    BLOCK_PROGRAMS: tl.constexpr,
):
    """Compute BLOCK_POINTS points of one video in each program."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    blocks = tl.maximum(tl.cdiv(num_points, BLOCK_POINTS), 1)
    video = (program // blocks).to(tl.int64)
    point = (program % blocks) * BLOCK_POINTS + tl.arange(0, BLOCK_POINTS).to(tl.int64)
    inside = (point < num_points) & (num_rows > 0)
    row = video * num_points + point
    valid = inside & (tl.load(mask_ptr + row, mask=inside, other=0) != 0)
    if mu_ptr is not None:
        write_tables(
            raw_mu_ptr, raw_sigma_ptr, mu_ptr, sigma_ptr, segments_ptr, points_ptr, segments_finest_ptr, num_classes,
            num_segments, FORM, ASSIGN, COMPUTE, BLOCK_TABLE,
        )  # fmt: skip

    time = tl.load(points_ptr + point * 4, mask=inside, other=0.0).to(ASSIGN)
    low = tl.load(points_ptr + point * 4 + 1, mask=inside, other=1.0).to(ASSIGN)
    high = tl.load(points_ptr + point * 4 + 2, mask=inside, other=0.0).to(ASSIGN)
    stride = tl.load(points_ptr + point * 4 + 3, mask=inside, other=1.0).to(ASSIGN)
    first = tl.load(video_offsets_ptr + video, mask=num_rows > 0, other=0)
    last = tl.load(video_offsets_ptr + video + 1, mask=num_rows > 0, other=0)
    shortest, chosen = shortest_claim(
        time, low, high, stride, segments_ptr, first, last, RADIUS, ASSIGN, BLOCK_POINTS, BLOCK_SEGMENTS
    )
    positive = (chosen >= 0) & valid
    own = tl.where(positive, chosen, 0)
    start = tl.load(segments_ptr + own * 2, mask=positive, other=0.0).to(ASSIGN)
    end = tl.load(segments_ptr + own * 2 + 1, mask=positive, other=1.0).to(ASSIGN)
    label = tl.load(labels_ptr + own, mask=positive, other=-1)
    known = (label >= 0) & (label < num_classes)  # labels are not checked on a GPU
    distance = tl.where(positive, (time - 0.5 * (start + end)) / (end - start), 0.0).to(COMPUTE)
    # Background has offsets (1, 1) on both sides, whatever is predicted there.
    t_0 = tl.where(positive, (time - start) / stride, 1.0).to(COMPUTE)
    t_1 = tl.where(positive, (end - time) / stride, 1.0).to(COMPUTE)
    o_0, o_1 = load_pairs(offsets_ptr, row, positive, COMPUTE)
    o_0, o_1 = tl.where(positive, o_0, 1.0), tl.where(positive, o_1, 1.0)

    h_cls = tl.full((BLOCK_POINTS,), 0.0 if CLS_SENSITIVE else CLS_CONSTANT, COMPUTE)
    h_loc = tl.full((BLOCK_POINTS,), 0.0 if LOC_SENSITIVE else LOC_CONSTANT, COMPUTE)
    if CLASS_LEVEL and CLS_SENSITIVE:
        h_cls += profile(distance, raw_mu_ptr, raw_sigma_ptr, label, known, 0, FORM, COMPUTE)
    if CLASS_LEVEL and LOC_SENSITIVE:
        h_loc += profile(distance, raw_mu_ptr, raw_sigma_ptr, label, known, 1, FORM, COMPUTE)
        h_loc += profile(distance, raw_mu_ptr, raw_sigma_ptr, label, known, 2, FORM, COMPUTE)
    error = tl.zeros((BLOCK_POINTS,), COMPUTE)
    if predicted_quality_ptr is not None:
        COLUMNS: tl.constexpr = (1 if CLS_COLUMN >= 0 else 0) + (1 if LOC_COLUMN >= 0 else 0)
        if CLS_COLUMN >= 0:
            predicted = tl.load(predicted_quality_ptr + row * COLUMNS + CLS_COLUMN, mask=positive, other=0.0).to(
                COMPUTE
            )
            h_cls += predicted
            logit = tl.load(logits_ptr + row * num_classes + label, mask=known, other=0.0).to(COMPUTE)
            missed = tl.where(positive, predicted - 1.0 / (1.0 + tl.exp(-logit)), 0.0)
            error += missed * missed
            if unit_predicted_quality_ptr is not None:
                tl.store(unit_predicted_quality_ptr + row * COLUMNS + CLS_COLUMN, 2.0 * missed, mask=inside)
        if LOC_COLUMN >= 0:
            predicted = tl.load(predicted_quality_ptr + row * COLUMNS + LOC_COLUMN, mask=positive, other=0.0).to(
                COMPUTE
            )
            h_loc += predicted
            common = tl.maximum(tl.minimum(o_0, t_0) + tl.minimum(o_1, t_1), 0.0)
            union = tl.maximum(tl.maximum(o_0, t_0) + tl.maximum(o_1, t_1), LEAST_UNION)
            missed = tl.where(positive, predicted - common / union, 0.0)
            error += missed * missed
            if unit_predicted_quality_ptr is not None:
                tl.store(unit_predicted_quality_ptr + row * COLUMNS + LOC_COLUMN, 2.0 * missed, mask=inside)
    h_cls, h_loc = tl.where(positive, h_cls, 0.0), tl.where(positive, h_loc, 0.0)

    away, intersection, raw = diou(o_0, o_1, t_0, t_1, EPS)
    away = tl.where(positive, away, 0.0)
    if unit_offsets_ptr is not None:
        slope_0, slope_1 = one_side(o_0, o_1, t_0, t_1, intersection, raw, EPS)
        slope_0, slope_1 = tl.where(positive, slope_0 * h_loc, 0.0), tl.where(positive, slope_1 * h_loc, 0.0)
        store_pairs(unit_offsets_ptr, row, slope_0, slope_1, inside)

    # Instances of other classes that tie with the chosen one; mostly there are none, and no walk over them.
    limit = tl.where(positive, shortest + TOLERANCE, -float("inf"))
    others = tl.zeros((BLOCK_POINTS,), tl.int32)
    stop = tl.where(tl.max(positive.to(tl.int32), 0) > 0, last, first)
    for g in range(first, stop, BLOCK_SEGMENTS):
        index = g + tl.arange(0, BLOCK_SEGMENTS)
        length = claimed_lengths(time, low, high, stride, segments_ptr, index, last, RADIUS, ASSIGN)
        theirs = tl.load(labels_ptr + index, mask=index < last, other=0)
        tied = (length <= limit[:, None]) & (length < float("inf")) & (theirs[None, :] != label[:, None])
        others = tl.maximum(others, tl.max(tied.to(tl.int32), 1))
    stop = tl.where(tl.max(others, 0) > 0, last, first)

    weight = tl.where(positive, h_cls, 1.0)[:, None]
    row_sum = tl.zeros((BLOCK_POINTS,), COMPUTE)
    for at in range(0, num_classes, BLOCK_CLASSES):
        column = at + tl.arange(0, BLOCK_CLASSES)
        within = inside[:, None] & (column < num_classes)[None, :]
        counts = valid[:, None] & (column < num_classes)[None, :]
        element = row[:, None] * num_classes + column[None, :]
        x = tl.load(logits_ptr + element, mask=counts, other=0.0).to(COMPUTE)
        ones = tl.where(label[:, None] == column[None, :], 1.0, 0.0)
        for g in range(first, stop, BLOCK_SEGMENTS):
            index = g + tl.arange(0, BLOCK_SEGMENTS)
            length = claimed_lengths(time, low, high, stride, segments_ptr, index, last, RADIUS, ASSIGN)
            tied = (length <= limit[:, None]) & (length < float("inf"))
            theirs = tl.load(labels_ptr + index, mask=index < last, other=-1)
            ones = tl.dot(tied.to(tl.float16), (theirs[:, None] == column[None, :]).to(tl.float16), ones)
        t = tl.where(ones > 0, 1.0, 0.0).to(COMPUTE)
        if SPREAD != 0:
            t = t * KEEP + SPREAD
        value, slope = focal(x, t, ALPHA, GAMMA, tl.float64 == COMPUTE)
        row_sum += tl.sum(tl.where(counts, value, 0.0), 1)
        if unit_logits_ptr is not None:
            tl.store(unit_logits_ptr + element, tl.where(counts, slope * weight, 0.0), mask=within)
    tl.store(label_ptr + row, tl.where(positive, label, -1).to(tl.int32), mask=inside)
    tl.store(of_points_ptr + row, row_sum, mask=inside)
    tl.store(of_points_ptr + num_rows + row, away, mask=inside)
    tl.store(of_points_ptr + 2 * num_rows + row, distance, mask=inside)

    here = parts_ptr + program
    tl.store(here, tl.sum(positive.to(COMPUTE), 0))
    tl.store(here + programs, tl.sum(h_cls, 0))
    tl.store(here + 2 * programs, tl.sum(h_loc, 0))
    tl.store(here + 3 * programs, tl.sum(h_cls * row_sum, 0))
    tl.store(here + 4 * programs, tl.sum(h_loc * away, 0))
    tl.store(here + 5 * programs, tl.sum(tl.where(positive, 0.0, row_sum), 0))
    tl.store(here + 6 * programs, tl.sum(error, 0))
    tl.debug_barrier()  # the sums of the whole program are written before it counts as finished
    if tl.atomic_add(counter_ptr, 1) == programs - 1:
        finalise(
            parts_ptr, programs, normalizer_ptr, total_ptr, cls_ptr, loc_ptr, sensitivity_ptr, num_positives_ptr,
            updated_ptr, factors_ptr, NORMALIZE and CLS_SENSITIVE, NORMALIZE and LOC_SENSITIVE, MOMENTUM,
            LOCATION_WEIGHT, TINY, COMPUTE, BLOCK_PROGRAMS,
        )  # fmt: skip
        tl.store(counter_ptr, 0)


def detection_loss(given: Operands) -> Outputs:
    """Compute in one launch."""
    found = given.outputs()
    dtype, device = found.total.dtype, found.total.device
    compute = _launch.triton_type(dtype)
    assign_dtype, assign = _launch.compute_type(given.points, given.segments)
    videos, num_points, classes = given.logits.shape
    # A tile of logits in registers: 32 points, or 16 in double precision, the fewest that a product of matrices takes.
    block_points = 16 if torch.float64 in (dtype, assign_dtype) else 32
    block_classes = min(_launch.row_tile(classes, 2048)[1], 64 if dtype == torch.float32 else 32)
    programs = max(videos * triton.cdiv(num_points, block_points), 1)
    parts = _launch.empty((SUMS, programs), dtype, device)
    radius = given.center_sampling_radius
    with _launch.on_device_of(given.logits):
        _launch.launch(
            detection_loss_fwd_kernel,
            (programs,),
            logits_ptr=given.logits.contiguous(),
            offsets_ptr=given.offsets.contiguous(),
            predicted_quality_ptr=_launch.contiguous(given.predicted_quality),
            mask_ptr=given.mask.contiguous().view(torch.uint8),
            points_ptr=given.points.contiguous(),
            segments_ptr=given.segments.contiguous(),
            labels_ptr=given.labels.contiguous(),
            video_offsets_ptr=given.video_offsets.contiguous(),
            raw_mu_ptr=_launch.contiguous(given.raw_mu),
            raw_sigma_ptr=_launch.contiguous(given.raw_sigma),
            normalizer_ptr=given.normalizer,
            counter_ptr=counter(given.logits),
            parts_ptr=parts,
            total_ptr=found.total,
            cls_ptr=found.cls,
            loc_ptr=found.loc,
            sensitivity_ptr=found.sensitivity,
            num_positives_ptr=found.num_positives,
            updated_ptr=found.normalizer,
            mu_ptr=_launch.or_none(found.mu),
            sigma_ptr=_launch.or_none(found.sigma),
            segments_finest_ptr=None if given.raw_mu is None else found.segments_finest,
            unit_logits_ptr=_launch.or_none(found.unit_logits),
            unit_offsets_ptr=_launch.or_none(found.unit_offsets),
            unit_predicted_quality_ptr=_launch.or_none(found.unit_predicted_quality),
            label_ptr=found.label,
            of_points_ptr=found.of_points,
            factors_ptr=found.factors,
            num_rows=videos * num_points,
            num_points=num_points,
            num_classes=classes,
            num_segments=given.segments.shape[0],
            FORM=tuple(float(value) for value in given.gaussian_form),
            CLASS_LEVEL=given.class_level,
            CLS_SENSITIVE=given.cls_sensitive,
            LOC_SENSITIVE=given.loc_sensitive,
            CLS_COLUMN=given.cls_column,
            LOC_COLUMN=given.loc_column,
            CLS_CONSTANT=float(given.cls_constant),
            LOC_CONSTANT=float(given.loc_constant),
            NORMALIZE=given.normalize,
            RADIUS=None if radius is None else float(radius),
            TOLERANCE=float(given.tie_tolerance),
            ALPHA=float(given.alpha),
            GAMMA=float(given.gamma),
            KEEP=1.0 - given.label_smoothing,
            SPREAD=given.label_smoothing / (classes + 1),
            MOMENTUM=float(given.momentum),
            LOCATION_WEIGHT=float(given.location_weight),
            EPS=EPS,
            LEAST_UNION=torch.finfo(dtype).eps,
            TINY=torch.finfo(dtype).tiny,
            ASSIGN=assign,
            COMPUTE=compute,
            BLOCK_POINTS=block_points,
            BLOCK_CLASSES=block_classes,
            BLOCK_SEGMENTS=BLOCK_SEGMENTS,
            BLOCK_TABLE=BLOCK_TABLE,
            BLOCK_PROGRAMS=BLOCK_PROGRAMS,
            num_warps=8 if block_points == 16 else 4,  # 4 would spill in double precision
            enable_fp_fusion=False,
        )
    return found
