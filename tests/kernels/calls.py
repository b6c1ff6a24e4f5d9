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

from asl_fast.reference.assign_points import Operands as AssignPoints
from asl_fast.reference.diou_loss import Operands as DIoU
from asl_fast.reference.soft_nms import METHODS
from asl_fast.reference.soft_nms import Operands as SoftNMS
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
    calls += [(f"{kind}-{name}", detection_loss.detection_loss, given) for kind, given in forward.items()]
    calls += [
        (f"{kind}-{name}", detection_loss_backward.detection_loss_backward, given) for kind, given in backward.items()
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


FORM = [0.0, -0.5, 0.5, 0.3, 1.0, 1.4, 1.0]


def _detection(dtype: torch.dtype, rows: int, classes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the forward and of the backward pass, for ActionFormer's loss and with all of ASL."""
    logits, pairs = torch.zeros(2, rows, classes, dtype=dtype), torch.ones(2, rows, 2, dtype=dtype)
    mask, points, raw = torch.ones(2, rows, dtype=torch.bool), torch.ones(rows, 4), torch.zeros(classes, 3)
    truth = (torch.ones(rows, 2), torch.zeros(rows, dtype=torch.int64), torch.tensor([0, rows, rows]))
    end = (1.5, 1e-3, 0.25, 2.0)
    plain = (logits, pairs, None, mask, points, *truth, None, None, torch.tensor(1.0), [], False, [False] * 2)
    plain = (*plain, [-1, -1], [1.0, 1.0], False, *end, 0.1, 1.0, 0.0, [True] * 3 + [False])
    asl = (logits, pairs, pairs, mask, points, *truth, raw, raw, torch.tensor(1.0), FORM, True, [True] * 2)
    asl = (*asl, [0, 1], [1.0, 1.0], True, *end, 0.0, 0.9, 1.0, [True] * 4)
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    wait = torch.float32 if dtype == torch.float16 else dtype
    logits, pairs, one = logits.to(wait), pairs.to(wait), torch.ones((), dtype=compute)
    kept = (torch.zeros(2, rows, dtype=torch.int32), torch.zeros(3, 2, rows, dtype=compute))
    kept = (*kept, torch.ones(7, dtype=compute))
    table = torch.zeros(classes, 3, dtype=compute)
    if dtype != torch.float32:  # the variants differ in what is left out, not in types
        return {"detection-asl": asl}, {
            "detection-backward-asl": (
                *[one] * 4,
                table,
                table,
                logits,
                pairs,
                pairs,
                *kept,
                raw,
                raw,
                FORM,
                [True] * 2,
            )
        }
    return {"detection-plain": plain, "detection-asl": asl}, {
        "detection-backward-plain": (one, *[None] * 5, logits, pairs, pairs[:0], *kept, None, None, [], [False] * 2),
        "detection-backward-asl": (*[one] * 4, table, table, logits, pairs, pairs, *kept, raw, raw, FORM, [True] * 2),
    }


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
