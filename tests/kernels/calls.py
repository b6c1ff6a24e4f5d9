# SPDX-License-Identifier: Apache-2.0
"""One small call of every launcher in every floating type, for ahead-of-time compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from asl_fast.kernels import (
    assign_points,
    contrastive_similarity,
    contrastive_similarity_backward,
    detection_loss,
    detection_loss_backward,
    diou_loss,
    local_attention,
    segment_iou,
    segment_iou_ragged,
    sensitivity_focal_loss,
    soft_nms,
)

from asl_fast.reference import detection_loss as detection_reference
from asl_fast.reference import detection_loss_backward as detection_backward_reference
from asl_fast.reference.assign_points import Operands as AssignPoints
from asl_fast.reference.diou_loss import Operands as DIoU
from asl_fast.reference.soft_nms import METHODS
from asl_fast.reference.soft_nms import Operands as SoftNMS
from tests.kernels.examples import DETECTION_SETTINGS
from tests.kernels.loss_checks import focal_operands

Call = tuple[str, Callable[..., Any], tuple[Any, ...]]

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
ROWS, CLASSES = 1024, 20


def _contrastive(dtype: torch.dtype, name: str, channels: int) -> list[Call]:
    instances = 40
    features, mask = torch.zeros(2, 64, channels, dtype=dtype), torch.ones(2, 64, dtype=torch.bool)
    segments, labels = torch.ones(instances, 2), torch.zeros(instances, dtype=torch.int64)
    gaussians = torch.ones(CLASSES, 3)
    given = (features, mask, segments, labels, torch.tensor([0, instances, instances]), gaussians, gaussians)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    vectors, stats = torch.ones(3, instances, channels, dtype=wide), torch.ones(3, 3, instances, dtype=wide)
    saved = (vectors, stats, torch.zeros(instances, 12, dtype=torch.int32), stats[0, 0, 0])
    forward = contrastive_similarity.contrastive_similarity_forward
    backward = contrastive_similarity_backward.contrastive_similarity_backward
    return [
        (f"contrastive-{name}", forward, (*given, stats[0, 0, 2], 0.2, 0.07, 0.3)),
        (f"contrastive-backward-{name}", backward, (*stats[0, 0, :2], *given, *saved, 0.07, 0.3, True, True)),
        (
            f"contrastive-features-backward-{name}",
            backward,
            (None, stats[0, 0, 1], *given, *saved, 0.07, 1.0, True, False),
        ),
    ]


def _of(dtype: torch.dtype, rows: int = ROWS, classes: int = CLASSES) -> list[Call]:
    name = str(dtype).removeprefix("torch.") if rows > 1 else "one-" + str(dtype).removeprefix("torch.")
    logits, ids = torch.zeros(rows, classes, dtype=dtype), torch.zeros(rows, dtype=torch.int64)
    weights, mask = torch.ones(rows, dtype=dtype), torch.ones(rows, dtype=torch.bool)
    focal = sensitivity_focal_loss.sensitivity_focal_loss
    sparse = focal_operands(logits, ids, weights, mask, label_smoothing=0.1, reduction="mean")
    dense = focal_operands(logits, logits, logits, gamma=1.5)
    pairs, points = torch.ones(rows, 2, dtype=dtype), torch.ones(rows, 4, dtype=dtype)
    square = torch.ones(rows, rows, dtype=dtype)
    window = 19
    bounds = torch.tensor([0, rows])
    assignment = AssignPoints(
        points=points,
        segments=pairs,
        labels=ids,
        video_offsets=bounds,
        num_classes=classes,
        center_sampling_radius=1.5,
        tie_tolerance=1e-3,
    )
    iou, iou_backward = segment_iou.segment_iou, segment_iou.segment_iou_backward
    ragged, ragged_backward = segment_iou_ragged.segment_iou_ragged, segment_iou_ragged.segment_iou_ragged_backward
    forward, backward = _detection(dtype, rows, classes)
    calls: list[Call] = [
        (f"focal-mean-sparse-{name}", focal, (sparse,)),
        (f"focal-none-dense-{name}", focal, (dense,)),
        (f"diou-mean-{name}", diou_loss.diou_loss, (DIoU(pairs, pairs, weights, "mean", 1e-8, True, True, True),)),
        (f"iou-pairs-{name}", iou, (pairs, pairs, False, True)),
        (f"iou-aligned-{name}", iou, (pairs, pairs, True, True)),
        (f"iou-pairs-backward-{name}", iou_backward, (square, pairs, pairs, False, True)),
        (f"iou-aligned-backward-{name}", iou_backward, (weights, pairs, pairs, True, True)),
        (f"iou-ragged-{name}", ragged, (pairs, pairs, bounds, bounds, rows, True)),
        (f"iou-ragged-backward-{name}", ragged_backward, (weights, pairs, pairs, bounds, bounds, bounds, True)),
        (f"assign-{name}", assign_points.assign_points, (assignment,)),
    ]
    calls += _contrastive(dtype, name, 512 if rows > 1 else 1)
    calls += [(f"{kind}-{name}", detection_loss.detection_loss, (given,)) for kind, given in forward.items()]
    calls += [
        (f"{kind}-{name}", detection_loss_backward.detection_loss_backward, (given,))
        for kind, given in backward.items()
    ]
    if dtype == torch.float64:
        return calls  # attention is computed in float32
    attention, attention_backward = local_attention.local_attention, local_attention.local_attention_backward
    for channels in (64, 128):
        q, lse = torch.zeros(1, 4, rows, channels, dtype=dtype), torch.zeros(1, 4, rows)
        valid, bias = mask[None], torch.zeros(4, window, dtype=dtype) if channels == 64 else None
        calls.append((f"attention-{channels}-{name}", attention, (q, q, q, valid, bias, window)))
        arguments = (q, q, q, q, valid, bias, q, lse, window)
        calls.append((f"attention-{channels}-backward-{name}", attention_backward, arguments))
    return calls


def _detection(dtype: torch.dtype, rows: int, classes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Operands of the forward and of the backward pass, for ActionFormer's loss and with all of ASL."""
    pairs, raw = torch.ones(2, rows, 2, dtype=dtype), torch.zeros(classes, 3)
    asl = detection_reference.Operands(
        logits=torch.zeros(2, rows, classes, dtype=dtype),
        offsets=pairs,
        predicted_quality=pairs,
        mask=torch.ones(2, rows, dtype=torch.bool),
        points=torch.ones(rows, 4),
        segments=torch.ones(rows, 2),
        labels=torch.zeros(rows, dtype=torch.int64),
        video_offsets=torch.tensor([0, rows, rows]),
        raw_mu=raw,
        raw_sigma=raw,
        normalizer=torch.tensor(1.0),
        **DETECTION_SETTINGS,
    )
    found = asl.outputs()  # the compiler does not look at values
    asl_backward = detection_backward_reference.BackwardOperands(
        grad_total=found.total,
        grad_cls=found.cls,
        grad_loc=found.loc,
        grad_sensitivity=found.sensitivity,
        grad_mu=found.mu,
        grad_sigma=found.sigma,
        unit_logits=found.unit_logits,
        unit_offsets=found.unit_offsets,
        unit_predicted_quality=found.unit_predicted_quality,
        label=found.label,
        of_points=found.of_points,
        factors=found.factors,
        raw_mu=raw,
        raw_sigma=raw,
        gaussian_form=asl.gaussian_form,
        cls_learns=True,
        loc_learns=True,
    )
    forward, backward = {"detection-asl": asl}, {"detection-backward-asl": asl_backward}
    if dtype == torch.float32:  # the variants differ in what is left out, not in types
        forward["detection-plain"] = asl._replace(
            predicted_quality=None,
            raw_mu=None,
            raw_sigma=None,
            gaussian_form=[],
            class_level=False,
            cls_sensitive=False,
            loc_sensitive=False,
            cls_column=-1,
            loc_column=-1,
            normalize=False,
            label_smoothing=0.1,
            momentum=1.0,
            location_weight=0.0,
            need_gaussians=False,
        )
        backward["detection-backward-plain"] = asl_backward._replace(
            grad_cls=None,
            grad_loc=None,
            grad_sensitivity=None,
            grad_mu=None,
            grad_sigma=None,
            unit_predicted_quality=pairs[:0],
            raw_mu=None,
            raw_sigma=None,
            gaussian_form=[],
            cls_learns=False,
            loc_learns=False,
        )
    return forward, backward


def _soft_nms() -> list[Call]:
    """Every method, with and without labels, one video and many."""
    segments, scores, ids = torch.ones(ROWS, 2), torch.ones(ROWS), torch.zeros(ROWS, dtype=torch.int64)
    calls: list[Call] = []
    for method, (labels, videos) in enumerate(((None, ids), (ids, None), (ids, ids))):
        rule = (METHODS[method], 0.5, 0.1, 1e-3, 200, 0.7, method != 1)
        calls.append((f"soft-nms-{method}", soft_nms.soft_nms, (SoftNMS(segments, scores, labels, videos, *rule),)))
    return calls


# Triton compiles a size of 1 as a constant, which its interpreter does not show.
CALLS: list[Call] = [call for dtype in FLOATS for call in _of(dtype)] + _of(torch.float32, 1, 1) + _soft_nms()
