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
from asl_fast.reference.contrastive_similarity import Operands as Contrastive
from asl_fast.reference.local_attention import BackwardOperands as AttentionBackward
from asl_fast.reference.local_attention import Operands as Attention
from asl_fast.reference.segment_iou import BackwardOperands as IoUBackward
from asl_fast.reference.segment_iou import Operands as IoU
from asl_fast.reference.segment_iou_ragged import BackwardOperands as RaggedIoUBackward
from asl_fast.reference.segment_iou_ragged import Operands as RaggedIoU
from asl_fast.reference.soft_nms import METHODS
from asl_fast.reference.soft_nms import Operands as SoftNMS
from tests.kernels.examples import DETECTION_SETTINGS
from tests.kernels.loss_checks import diou_operands, focal_operands

Call = tuple[str, Callable[..., Any], tuple[Any, ...]]

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
ROWS, CLASSES = 1024, 20


def _contrastive(dtype: torch.dtype, name: str, channels: int) -> list[Call]:
    instances, gaussians = 40, torch.ones(CLASSES, 3)
    given = Contrastive(
        features=torch.zeros(2, 64, channels, dtype=dtype),
        mask=torch.ones(2, 64, dtype=torch.bool),
        segments=torch.ones(instances, 2),
        labels=torch.zeros(instances, dtype=torch.int64),
        video_offsets=torch.tensor([0, instances, instances]),
        mu=gaussians,
        sigma=gaussians,
        base=None,
        delta=0.2,
        temperature=0.07,
        weight=0.3,
    )
    found = given.outputs()
    given = given._replace(base=torch.ones_like(found.total))
    both = given.backward(found, grad_total=found.total, grad_loss=found.loss)
    features = given._replace(weight=1.0).backward(found, grad_total=None, grad_loss=found.loss, need_gaussians=False)
    backward = contrastive_similarity_backward.contrastive_similarity_loss_backward
    return [
        (f"contrastive-{name}", contrastive_similarity.contrastive_similarity_loss, (given,)),
        (f"contrastive-backward-{name}", backward, (both,)),
        (f"contrastive-features-backward-{name}", backward, (features,)),
    ]


def _of(dtype: torch.dtype, rows: int = ROWS, classes: int = CLASSES) -> list[Call]:
    name = str(dtype).removeprefix("torch.") if rows > 1 else "one-" + str(dtype).removeprefix("torch.")
    logits, ids = torch.zeros(rows, classes, dtype=dtype), torch.zeros(rows, dtype=torch.int64)
    weights, mask = torch.ones(rows, dtype=dtype), torch.ones(rows, dtype=torch.bool)
    focal = sensitivity_focal_loss.sensitivity_focal_loss
    sparse = focal_operands(logits, ids, weights, mask, label_smoothing=0.1, reduction="mean")
    dense = focal_operands(logits, logits, logits, gamma=1.5)
    pairs, points = torch.ones(rows, 2, dtype=dtype), torch.ones(rows, 4, dtype=dtype)
    bounds = torch.tensor([0, rows])
    diou = diou_operands(pairs, pairs, weights, reduction="mean")
    assignment = AssignPoints(
        points=points,
        segments=pairs,
        labels=ids,
        video_offsets=bounds,
        num_classes=classes,
        center_sampling_radius=1.5,
        tie_tolerance=1e-3,
    )
    forward, backward = _detection(dtype, rows, classes)
    calls: list[Call] = [
        (f"focal-mean-sparse-{name}", focal, (sparse,)),
        (f"focal-none-dense-{name}", focal, (dense,)),
        (f"diou-mean-{name}", diou_loss.diou_loss, (diou,)),
        (f"assign-{name}", assign_points.assign_points, (assignment,)),
    ]
    calls += _iou(dtype, name, rows)
    calls += _contrastive(dtype, name, 512 if rows > 1 else 1)
    calls += [(f"{kind}-{name}", detection_loss.detection_loss, (given,)) for kind, given in forward.items()]
    calls += [
        (f"{kind}-{name}", detection_loss_backward.detection_loss_backward, (given,))
        for kind, given in backward.items()
    ]
    if dtype != torch.float64:  # attention is computed in float32
        calls += _attention(dtype, name, rows)
    return calls


def _iou(dtype: torch.dtype, name: str, rows: int) -> list[Call]:
    pairs, bounds = torch.ones(rows, 2, dtype=dtype), torch.tensor([0, rows])
    all_pairs = IoU(a=pairs, b=pairs, aligned=False, distance=True)
    aligned = all_pairs._replace(aligned=True)
    offsets = {"a_video_offsets": bounds, "b_video_offsets": bounds}
    ragged = RaggedIoU(a=pairs, b=pairs, **offsets, max_pairs=rows, distance=True)
    line, square = torch.ones(rows, dtype=dtype), torch.ones(rows, rows, dtype=dtype)
    ragged_grad = RaggedIoUBackward(grad=line, a=pairs, b=pairs, **offsets, pair_offsets=bounds, distance=True)
    backward = segment_iou.segment_iou_backward
    return [
        (f"iou-pairs-{name}", segment_iou.segment_iou, (all_pairs,)),
        (f"iou-aligned-{name}", segment_iou.segment_iou, (aligned,)),
        (f"iou-pairs-backward-{name}", backward, (IoUBackward(grad=square, **all_pairs._asdict()),)),
        (f"iou-aligned-backward-{name}", backward, (IoUBackward(grad=line, **aligned._asdict()),)),
        (f"iou-ragged-{name}", segment_iou_ragged.segment_iou_ragged, (ragged,)),
        (f"iou-ragged-backward-{name}", segment_iou_ragged.segment_iou_ragged_backward, (ragged_grad,)),
    ]


def _attention(dtype: torch.dtype, name: str, rows: int) -> list[Call]:
    calls: list[Call] = []
    window, mask = 19, torch.ones(1, rows, dtype=torch.bool)
    for channels in (64, 128):
        q, lse = torch.zeros(1, 4, rows, channels, dtype=dtype), torch.zeros(1, 4, rows)
        bias = torch.zeros(4, window, dtype=dtype) if channels == 64 else None
        given = Attention(q=q, k=q, v=q, mask=mask, bias=bias, window=window)
        back = AttentionBackward(grad=q, out=q, lse=lse, **given._asdict())
        calls.append((f"attention-{channels}-{name}", local_attention.local_attention, (given,)))
        calls.append((f"attention-{channels}-backward-{name}", local_attention.local_attention_backward, (back,)))
    return calls


def _detection(dtype: torch.dtype, rows: int, classes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make operands of the forward and of the backward pass, for ActionFormer's loss and with all of ASL."""
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
    """Call every method, with and without labels, one video and many."""
    segments, scores, ids = torch.ones(ROWS, 2), torch.ones(ROWS), torch.zeros(ROWS, dtype=torch.int64)
    calls: list[Call] = []
    for method, (labels, videos) in enumerate(((None, ids), (ids, None), (ids, ids))):
        given = SoftNMS(
            segments=segments,
            scores=scores,
            labels=labels,
            video_index=videos,
            method=METHODS[method],
            sigma=0.5,
            iou_threshold=0.1,
            min_score=1e-3,
            max_segments=200,
            voting_threshold=0.7,
            keep_best=method != 1,
        )
        calls.append((f"soft-nms-{method}", soft_nms.soft_nms, (given,)))
    return calls


# Triton compiles a size of 1 as a constant, which its interpreter does not show.
CALLS: list[Call] = [call for dtype in FLOATS for call in _of(dtype)] + _of(torch.float32, 1, 1) + _soft_nms()
