# SPDX-License-Identifier: Apache-2.0
"""Label assignment, sensitivities and every loss of a detector's outputs in one launch.

A program owns some points of one video. It finds their instances as ``assign_points`` does, weighs them, reads each
logit once, in the type it has, and writes each unscaled gradient once. No target is ever dense: a point has one class,
and bits for those of the instances that tie with its own. What the losses are divided by is known when all points are:
the last program to finish adds up the programs' sums, in their order, and writes losses and factors. Points that lie on
a boundary are decided as in the reference: what fused multiply-adds could round otherwise is kept apart. Tested under
Triton's interpreter and compiled for sm_80, sm_90 and gfx942; no GPU has run it yet.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import triton
import triton.language as tl

from . import _launch
from ._detection_loss_results import finalise, write_tables
from ._detection_loss_sensitivity import profile
from ._maths import can_approximate
from .assign_points import claimed_lengths, load_segments, reach_of, shortest_claim
from .diou_loss import diou, one_side
from .launch_counter import counter
from .sensitivity_focal_loss import focal, focal_of_class

if TYPE_CHECKING:
    from asl_fast.reference.detection_loss import Operands, Outputs

BLOCK_SEGMENTS, BLOCK_TABLE, BLOCK_PROGRAMS = 64, 32, 1024  # as many segments as a word has bits
SUMS = 7  # sums that each program hands on
EPS = 1e-8  # lower bound of the union in the DIoU loss


@triton.jit
def either(a, b):
    """Return the bits of both."""
    return a | b


@triton.jit
def tied_classes(
    time, low, high, reach, tie, limit, segments_ptr, labels_ptr, count, num_classes, RADIUS: tl.constexpr,
    ASSIGN: tl.constexpr, BLOCK_POINTS: tl.constexpr, BLOCK_SEGMENTS: tl.constexpr, WORDS: tl.constexpr,
):  # fmt: skip
    """Return (points, words of 32 bits), a bit for the class of each segment up to ``limit`` that claims the point.

    Which segments of a block tie with a point is one word of 64 bits; what ties with any point, mostly few of them, is
    taken one after the other. A label that is none has no word, or a bit that is cleared.
    """
    words = tl.zeros((BLOCK_POINTS, WORDS), tl.int32)
    word = tl.arange(0, WORDS)[None, :]
    here = tl.arange(0, BLOCK_SEGMENTS)
    bit_of = tl.full((BLOCK_SEGMENTS, 1), 1, tl.int64) << here[:, None]
    coming_start, coming_end = load_segments(segments_ptr, here, count, ASSIGN)
    for g in range(0, count, BLOCK_SEGMENTS):
        start, end = coming_start, coming_end
        # On their way meanwhile.
        coming_start, coming_end = load_segments(segments_ptr, g + BLOCK_SEGMENTS + here, count, ASSIGN)
        length = claimed_lengths(time, low, high, reach, start, end, RADIUS)
        tied = tie[None, :] & (length <= limit[None, :]) & (length < float("inf"))
        which = tl.reduce(tl.where(tied, bit_of, 0), 0, either)
        left = tl.reduce(which, 0, either)
        while left != 0:
            lowest = left & -left
            at = ((lowest.to(tl.float32).to(tl.int32, bitcast=True) >> 23) & 255) - 127  # the bit's number, by exponent
            label = tl.load(labels_ptr + g + at)
            bit = tl.where(word == label >> 5, 1 << (label & 31).to(tl.int32), 0)
            words = tl.where((which & lowest)[:, None] != 0, words | bit, words)
            left &= left - 1
    bits = num_classes - 32 * word
    return tl.where(bits >= 32, words, tl.where(bits > 0, words & ((1 << bits) - 1), 0))


@triton.jit(do_not_specialize=["num_rows", "num_points", "packs", "num_segments"])
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
    packs,
    num_segments,
    PACK: tl.constexpr,
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
    APPROXIMATE: tl.constexpr,
    BLOCK_POINTS: tl.constexpr,
    BLOCK_CLASSES: tl.constexpr,
    WORDS: tl.constexpr,
    BLOCK_SEGMENTS: tl.constexpr,
    BLOCK_TABLE: tl.constexpr,
    BLOCK_PROGRAMS: tl.constexpr,
):
    """Compute BLOCK_POINTS points of one video in each program."""
    program, programs = tl.program_id(0), tl.num_programs(0)
    num_classes = packs * PACK  # so the compiler knows how far rows are aligned
    blocks = tl.maximum(tl.cdiv(num_points, BLOCK_POINTS), 1)
    video = (program // blocks).to(tl.int64)
    first_point = (program % blocks) * BLOCK_POINTS
    here = tl.arange(0, BLOCK_POINTS)
    inside = (first_point + here < num_points) & (num_rows > 0)
    # From here on rows count from the program's first.
    first_row = video * num_points + first_point
    logits_ptr += first_row * num_classes
    offsets_ptr += first_row * 2
    points_ptr += first_point * 4
    valid = inside & (tl.load(mask_ptr + first_row + here, mask=inside, other=0) != 0)
    if mu_ptr is not None:
        write_tables(
            raw_mu_ptr, raw_sigma_ptr, mu_ptr, sigma_ptr, segments_ptr, points_ptr - first_point * 4,
            segments_finest_ptr, num_classes, num_segments, FORM, ASSIGN, COMPUTE, BLOCK_TABLE,
        )  # fmt: skip

    time = tl.load(points_ptr + here * 4, mask=inside, other=0.0).to(ASSIGN)
    low = tl.load(points_ptr + here * 4 + 1, mask=inside, other=1.0).to(ASSIGN)
    high = tl.load(points_ptr + here * 4 + 2, mask=inside, other=0.0).to(ASSIGN)
    stride = tl.load(points_ptr + here * 4 + 3, mask=inside, other=1.0).to(ASSIGN)
    first = tl.load(video_offsets_ptr + video, mask=num_rows > 0, other=0)
    count = (tl.load(video_offsets_ptr + video + 1, mask=num_rows > 0, other=0) - first).to(tl.int32)
    segments_ptr += first * 2
    labels_ptr += first
    reach = reach_of(stride, RADIUS)
    shortest, chosen, second = shortest_claim(
        time, low, high, reach, valid, segments_ptr, count, RADIUS, ASSIGN, BLOCK_POINTS, BLOCK_SEGMENTS
    )
    positive = chosen >= 0
    own = tl.where(positive, chosen, 0)
    start = tl.load(segments_ptr + own * 2, mask=positive, other=0.0).to(ASSIGN)
    end = tl.load(segments_ptr + own * 2 + 1, mask=positive, other=1.0).to(ASSIGN)
    label = tl.load(labels_ptr + own, mask=positive, other=-1)
    known = (label >= 0) & (label < num_classes)  # labels are not checked on a GPU; an unknown one is of no class
    label = tl.where(known, label, tl.where(positive, num_classes, -1)).to(tl.int32)
    distance = tl.where(positive, (time - 0.5 * (start + end)) / (end - start), 0.0).to(COMPUTE)
    # Background has offsets (1, 1) on both sides, whatever is predicted there.
    t_0 = tl.where(positive, (time - start) / stride, 1.0).to(COMPUTE)
    t_1 = tl.where(positive, (end - time) / stride, 1.0).to(COMPUTE)
    o_0 = tl.load(offsets_ptr + here * 2, mask=positive, other=1.0).to(COMPUTE)
    o_1 = tl.load(offsets_ptr + here * 2 + 1, mask=positive, other=1.0).to(COMPUTE)

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
        quality_ptr = predicted_quality_ptr + first_row * COLUMNS
        if CLS_COLUMN >= 0:
            predicted = tl.load(quality_ptr + here * COLUMNS + CLS_COLUMN, mask=positive, other=0.0).to(COMPUTE)
            h_cls += predicted
            logit = tl.load(logits_ptr + here * num_classes + label, mask=known, other=0.0).to(COMPUTE)
            missed = tl.where(positive, predicted - 1.0 / (1.0 + tl.exp(-logit)), 0.0)
            error += missed * missed
            if unit_predicted_quality_ptr is not None:
                at = unit_predicted_quality_ptr + first_row * COLUMNS + here * COLUMNS + CLS_COLUMN
                tl.store(at, 2.0 * missed, mask=inside)
        if LOC_COLUMN >= 0:
            predicted = tl.load(quality_ptr + here * COLUMNS + LOC_COLUMN, mask=positive, other=0.0).to(COMPUTE)
            h_loc += predicted
            common = tl.maximum(tl.minimum(o_0, t_0) + tl.minimum(o_1, t_1), 0.0)
            union = tl.maximum(tl.maximum(o_0, t_0) + tl.maximum(o_1, t_1), LEAST_UNION)
            missed = tl.where(positive, predicted - common / union, 0.0)
            error += missed * missed
            if unit_predicted_quality_ptr is not None:
                at = unit_predicted_quality_ptr + first_row * COLUMNS + here * COLUMNS + LOC_COLUMN
                tl.store(at, 2.0 * missed, mask=inside)
    h_cls, h_loc = tl.where(positive, h_cls, 0.0), tl.where(positive, h_loc, 0.0)

    away, intersection, raw = diou(o_0, o_1, t_0, t_1, EPS)
    away = tl.where(positive, away, 0.0)
    if unit_offsets_ptr is not None:
        slope_0, slope_1 = one_side(o_0, o_1, t_0, t_1, intersection, raw, EPS)
        at = unit_offsets_ptr + first_row * 2 + here * 2
        tl.store(at, tl.where(positive, slope_0 * h_loc, 0.0), mask=inside)
        tl.store(at + 1, tl.where(positive, slope_1 * h_loc, 0.0), mask=inside)

    # Instances that tie with the chosen one; mostly there are none, and no walk over them.
    limit = tl.where(positive, shortest + TOLERANCE, -float("inf"))
    tie = (second <= limit) & (second < float("inf"))
    some_tie = tl.max(tie.to(tl.int32), 0) > 0
    words = tl.zeros((BLOCK_POINTS, WORDS), tl.int32)
    if some_tie:
        words = tied_classes(
            time, low, high, reach, tie, limit, segments_ptr, labels_ptr, count, num_classes, RADIUS, ASSIGN,
            BLOCK_POINTS, BLOCK_SEGMENTS, WORDS,
        )  # fmt: skip
    weight = tl.where(positive, h_cls, 1.0)[:, None]
    of_class = tl.where(known, label, -1)
    sums = tl.zeros((BLOCK_POINTS, BLOCK_CLASSES), COMPUTE)
    column = tl.arange(0, BLOCK_CLASSES)
    # What does not count is a logit so low that its loss and slope are 0.
    counts = valid[:, None] & (column < num_classes)[None, :]
    coming = tl.load(logits_ptr + here[:, None] * num_classes + column[None, :], mask=counts, other=-1e30)
    for at in range(0, num_classes, BLOCK_CLASSES):
        column = at + tl.arange(0, BLOCK_CLASSES)
        within = inside[:, None] & (column < num_classes)[None, :]
        counts = valid[:, None] & (column < num_classes)[None, :]
        element = here[:, None] * num_classes + column[None, :]
        x = coming.to(COMPUTE)
        ahead = valid[:, None] & (column < num_classes - BLOCK_CLASSES)[None, :]
        coming = tl.load(logits_ptr + element + BLOCK_CLASSES, mask=ahead, other=-1e30)  # on its way meanwhile
        hot = of_class[:, None] == column[None, :]
        if some_tie:
            word = tl.sum(tl.where(tl.arange(0, WORDS)[None, :] == at // 32, words, 0), 1)
            hot = hot | (((word[:, None] >> (column % 32)[None, :]) & 1) != 0)
        if SPREAD == 0:
            value, slope = focal_of_class(x, hot, ALPHA, GAMMA, tl.float64 == COMPUTE, APPROXIMATE)
        else:
            t = tl.where(hot, 1.0, 0.0).to(COMPUTE) * KEEP + SPREAD
            value, slope = focal(x, t, ALPHA, GAMMA, tl.float64 == COMPUTE, APPROXIMATE)
            value, slope = tl.where(counts, value, 0.0), tl.where(counts, slope, 0.0)
        sums += value
        if unit_logits_ptr is not None:
            tl.store(unit_logits_ptr + first_row * num_classes + element, slope * weight, mask=within)
    row_sum = tl.sum(sums, 1)
    tl.store(label_ptr + first_row + here, label, mask=inside)
    of_points_ptr += first_row
    tl.store(of_points_ptr + here, row_sum, mask=inside)
    tl.store(of_points_ptr + num_rows + here, away, mask=inside)
    tl.store(of_points_ptr + 2 * num_rows + here, distance, mask=inside)

    part = parts_ptr + program
    tl.store(part, tl.sum(positive.to(COMPUTE), 0))
    tl.store(part + programs, tl.sum(h_cls, 0))
    tl.store(part + 2 * programs, tl.sum(h_loc, 0))
    tl.store(part + 3 * programs, tl.sum(h_cls * row_sum, 0))
    tl.store(part + 4 * programs, tl.sum(h_loc * away, 0))
    tl.store(part + 5 * programs, tl.sum(tl.where(positive, 0.0, row_sum), 0))
    tl.store(part + 6 * programs, tl.sum(error, 0))
    tl.debug_barrier()  # the sums of the whole program are written before it counts as finished
    if tl.atomic_add(counter_ptr, 1) == programs - 1:
        finalise(
            parts_ptr, programs, normalizer_ptr, total_ptr, cls_ptr, loc_ptr, sensitivity_ptr, num_positives_ptr,
            updated_ptr, factors_ptr, NORMALIZE and CLS_SENSITIVE, NORMALIZE and LOC_SENSITIVE, MOMENTUM,
            LOCATION_WEIGHT, TINY, COMPUTE, BLOCK_PROGRAMS,
        )  # fmt: skip
        tl.store(counter_ptr, 0)


class Tiles(NamedTuple):
    """How a program is cut: points and classes (at most 32, one word) of its tile of logits, and its warps."""

    points: int
    classes: int
    warps: int


def tiles(classes: int, wide: bool) -> Tiles:
    """Choose the tiles for a number of classes; ``wide`` where any number is in double precision.

    16 points make many small programs: 568 of them from 2 x 4,536 points, which an H100's 132 processors hold all at
    once and share out evenly. Four warps wait less than two, though what is computed once for a point is
    repeated in every warp.
    """
    if wide:
        return Tiles(16, 32, 8)
    return Tiles(16, 16 if classes <= 16 else 32, 4)


def detection_loss(given: Operands) -> Outputs:
    """Compute in one launch."""
    found = given.outputs()
    dtype, device = found.total.dtype, found.total.device
    compute = _launch.triton_type(dtype)
    assign_dtype, assign = _launch.compute_type(given.points, given.segments)
    videos, num_points, classes = given.logits.shape
    cut = tiles(classes, torch.float64 in (dtype, assign_dtype))
    pack = math.gcd(classes, 8)
    programs = max(videos * _launch.cdiv(num_points, cut.points), 1)
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
            packs=classes // pack,
            num_segments=given.segments.shape[0],
            PACK=pack,
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
            APPROXIMATE=can_approximate(dtype),
            BLOCK_POINTS=cut.points,
            BLOCK_CLASSES=cut.classes,
            WORDS=_launch.next_power_of_2(_launch.cdiv(classes, 32)),
            BLOCK_SEGMENTS=BLOCK_SEGMENTS,
            BLOCK_TABLE=BLOCK_TABLE,
            BLOCK_PROGRAMS=BLOCK_PROGRAMS,
            num_warps=cut.warps,
            enable_fp_fusion=True,
            # Five of the programs with four warps on a processor, which holds all of the above at once.
            **(_launch.register_limit(96) if cut.warps == 4 else {}),
        )
    return found
