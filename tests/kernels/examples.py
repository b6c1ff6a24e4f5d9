# SPDX-License-Identifier: Apache-2.0
"""One realistic call of every op that has a kernel: its operands, for tests over all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asl_fast.ops import _library
from asl_fast.reference import contrastive_similarity, local_attention, segment_iou, segment_iou_ragged
from asl_fast.reference.assign_points import Operands as AssignPoints
from asl_fast.reference.detection_loss import Operands as DetectionOperands
from asl_fast.reference.detection_loss import Outputs as DetectionOutputs
from asl_fast.reference.detection_loss_backward import BackwardOperands as DetectionBackwardOperands
from asl_fast.reference.sensitivity_focal_loss import Operands as Focal

Arguments = tuple[Any, ...]

VIDEOS, POINTS, CLASSES, INSTANCES = 2, 96, 7, 9
# Ties broken, ranges left open and NaN in the padding are for the tests of each op.


def _segments(generator: torch.Generator, count: int, longest: float = 40.0) -> Tensor:
    start = torch.rand(count, generator=generator) * (POINTS - longest)
    return torch.stack((start, start + 2 + torch.rand(count, generator=generator) * (longest - 2)), -1)


def _points() -> Tensor:
    """Return (P, 4): time, regression range, stride of two pyramid levels."""
    levels = []
    for stride, low, high in ((1.0, 0.0, 16.0), (2.0, 8.0, 1e4)):
        time = torch.arange(0, POINTS, stride)
        levels.append(torch.stack((time, *(torch.full_like(time, value) for value in (low, high, stride))), -1))
    return torch.cat(levels)


def focal(generator: torch.Generator) -> Focal:
    """Sparse targets, weights and a mask."""
    logits = torch.randn(VIDEOS, POINTS, CLASSES, generator=generator).requires_grad_()
    ids = torch.randint(-1, CLASSES, (VIDEOS, POINTS), generator=generator)
    weights = torch.rand(VIDEOS, POINTS, generator=generator).requires_grad_()
    mask = torch.rand(VIDEOS, POINTS, generator=generator) < 0.8
    return Focal(
        logits=logits,
        targets=ids,
        weights=weights,
        mask=mask,
        alpha=0.25,
        gamma=2.0,
        label_smoothing=0.0,
        reduction="sum",
        need_logits=True,
        need_weights=True,
    )


def diou(generator: torch.Generator) -> Arguments:
    """Weighted mean."""
    pred, target = (torch.rand(POINTS, 2, generator=generator) * 9 for _ in range(2))
    weights = torch.rand(POINTS, generator=generator)
    return pred.requires_grad_(), target, weights.requires_grad_(), "mean", 1e-8, True, False, True


def iou(generator: torch.Generator) -> segment_iou.Operands:
    """All pairs, with the distance term."""
    a, b = _segments(generator, 33).requires_grad_(), _segments(generator, 17).requires_grad_()
    return segment_iou.Operands(a=a, b=b, aligned=False, distance=True)


def iou_backward(generator: torch.Generator) -> segment_iou.BackwardOperands:
    """Of the same."""
    grad = torch.randn(33, 17, generator=generator)
    a, b = _segments(generator, 33), _segments(generator, 17)
    return segment_iou.BackwardOperands(grad=grad, a=a, b=b, aligned=False, distance=True)


def ragged(generator: torch.Generator) -> segment_iou_ragged.Operands:
    """Four videos, two of them without a pair, and room for more; with the distance term."""
    return segment_iou_ragged.Operands(
        a=_segments(generator, 33).requires_grad_(),
        b=_segments(generator, 17).requires_grad_(),
        a_video_offsets=torch.tensor([0, 20, 20, 29, 33]),
        b_video_offsets=torch.tensor([0, 6, 13, 17, 17]),
        max_pairs=200,
        distance=True,
    )


def ragged_backward(generator: torch.Generator) -> segment_iou_ragged.BackwardOperands:
    """Of the same."""
    given = ragged(generator)
    return segment_iou_ragged.BackwardOperands(
        grad=torch.randn(given.max_pairs, generator=generator),
        a=given.a.detach(),
        b=given.b.detach(),
        a_video_offsets=given.a_video_offsets,
        b_video_offsets=given.b_video_offsets,
        pair_offsets=torch.tensor([0, 120, 120, 156, 156]),
        distance=given.distance,
    )


def assign(generator: torch.Generator) -> AssignPoints:
    """Two videos, the second without instances."""
    labels = torch.randint(0, CLASSES, (INSTANCES,), generator=generator)
    return AssignPoints(
        points=_points(),
        segments=_segments(generator, INSTANCES),
        labels=labels,
        video_offsets=torch.tensor([0, INSTANCES, INSTANCES]),
        num_classes=CLASSES,
        center_sampling_radius=1.5,
        tie_tolerance=1e-3,
    )


def nms(generator: torch.Generator) -> Arguments:
    """Three classes of two videos, voting."""
    count = 90
    segments, scores = _segments(generator, count), torch.rand(count, generator=generator)
    labels, video = (torch.randint(0, high, (count,), generator=generator) for high in (3, 2))
    return segments, scores, labels, video.sort().values, "gaussian", 0.5, 0.1, 0.001, 20, 0.7, True


def contrastive(generator: torch.Generator) -> contrastive_similarity.Operands:
    """Two videos of 64 channels, added to another loss."""
    return contrastive_similarity.Operands(
        features=torch.randn(VIDEOS, POINTS, 64, generator=generator).requires_grad_(),
        mask=torch.arange(POINTS) < torch.tensor([[POINTS], [POINTS - 20]]),
        labels=torch.randint(0, 3, (INSTANCES,), generator=generator),
        mu=(torch.tensor([0.0, -0.5, 0.5]) + 0.2 * torch.randn(CLASSES, 3, generator=generator)).requires_grad_(),
        sigma=(0.3 + torch.rand(CLASSES, 3, generator=generator)).requires_grad_(),
        segments=_segments(generator, INSTANCES),
        video_offsets=torch.tensor([0, INSTANCES - 4, INSTANCES]),
        base=torch.tensor(1.25).requires_grad_(),
        delta=0.2,
        temperature=0.07,
        weight=0.3,
    )


def contrastive_backward(generator: torch.Generator) -> contrastive_similarity.BackwardOperands:
    """Of the same."""
    given = contrastive(generator)
    given = given._make(x.detach() if isinstance(x, Tensor) else x for x in given)
    found = contrastive_similarity.Outputs(*torch.ops.asl_fast.contrastive_similarity_loss.default(*given))
    return given.backward(found, grad_total=torch.tensor(0.5), grad_loss=torch.tensor(-0.2))


def attention(generator: torch.Generator) -> local_attention.Operands:
    """Window 9 over two sequences, one of them padded."""
    q, k, v = (torch.randn(VIDEOS, 2, POINTS, 16, generator=generator).requires_grad_() for _ in range(3))
    mask = torch.arange(POINTS) < torch.tensor([[POINTS], [POINTS - 31]])
    bias = torch.randn(2, 9, generator=generator).requires_grad_()
    return local_attention.Operands(q=q, k=k, v=v, mask=mask, bias=bias, window=9)


def attention_backward(generator: torch.Generator) -> local_attention.BackwardOperands:
    """Of the same."""
    given = attention(generator)
    given = given._replace(**{name: getattr(given, name).detach() for name in ("q", "k", "v", "bias")})
    out, lse = torch.ops.asl_fast.local_attention.default(*given)
    grad = torch.randn(given.q.shape, generator=generator)
    return local_attention.BackwardOperands(grad=grad, out=out, lse=lse, **given._asdict())


FORM = [0.0, -0.5, 0.5, 0.3183, 1.0, 1.466, 1.025]
# All of ASL, without label smoothing.
DETECTION_SETTINGS: dict[str, Any] = {
    "gaussian_form": FORM,
    "class_level": True,
    "cls_sensitive": True,
    "loc_sensitive": True,
    "cls_column": 0,
    "loc_column": 1,
    "cls_constant": 1.0,
    "loc_constant": 1.0,
    "normalize": True,
    "center_sampling_radius": 1.5,
    "tie_tolerance": 1e-3,
    "alpha": 0.25,
    "gamma": 2.0,
    "label_smoothing": 0.0,
    "momentum": 0.9,
    "location_weight": 1.0,
    "need_logits": True,
    "need_offsets": True,
    "need_predicted_quality": True,
    "need_gaussians": True,
}


def detection(generator: torch.Generator) -> DetectionOperands:
    """Everything on; the second video without instances."""
    points, segments, labels, video_offsets, *_ = assign(generator)
    rows = (VIDEOS, len(points))
    return DetectionOperands(
        logits=(torch.randn(*rows, CLASSES, generator=generator) - 2).requires_grad_(),
        offsets=(3 * torch.rand(*rows, 2, generator=generator)).requires_grad_(),
        predicted_quality=torch.rand(*rows, 2, generator=generator).requires_grad_(),
        mask=torch.rand(rows, generator=generator) < 0.8,
        points=points,
        segments=segments,
        labels=labels,
        video_offsets=video_offsets,
        raw_mu=torch.randn(CLASSES, 3, generator=generator).requires_grad_(),
        raw_sigma=torch.randn(CLASSES, 3, generator=generator).requires_grad_(),
        normalizer=torch.tensor(90.0),
        **DETECTION_SETTINGS,
    )


def detection_backward(generator: torch.Generator) -> DetectionBackwardOperands:
    """Of the same, from all six gradients."""
    given = detection(generator)
    with torch.no_grad():
        found = DetectionOutputs(*torch.ops.asl_fast.detection_loss.default(*given))

    def grad(of: Tensor) -> Tensor:
        return torch.randn(of.shape, generator=generator)

    return DetectionBackwardOperands(
        grad_total=grad(found.total),
        grad_cls=grad(found.cls),
        grad_loc=grad(found.loc),
        grad_sensitivity=grad(found.sensitivity),
        grad_mu=grad(found.mu),
        grad_sigma=grad(found.sigma),
        unit_logits=found.unit_logits,
        unit_offsets=found.unit_offsets,
        unit_predicted_quality=found.unit_predicted_quality,
        label=found.label,
        of_points=found.of_points,
        factors=found.factors,
        raw_mu=given.raw_mu.detach(),
        raw_sigma=given.raw_sigma.detach(),
        gaussian_form=given.gaussian_form,
        cls_learns=True,
        loc_learns=True,
    )


EXAMPLES: dict[str, Callable[[torch.Generator], Arguments]] = {
    "sensitivity_focal_loss": focal,
    "diou_loss": diou,
    "segment_iou": iou,
    "segment_iou_backward": iou_backward,
    "segment_iou_ragged": ragged,
    "segment_iou_ragged_backward": ragged_backward,
    "assign_points": assign,
    "soft_nms": nms,
    "contrastive_similarity_loss": contrastive,
    "detection_loss": detection,
    "detection_loss_backward": detection_backward,
    "contrastive_similarity_loss_backward": contrastive_backward,
    "local_attention": attention,
    "local_attention_backward": attention_backward,
}


def arguments(op: str, device: torch.device | str = "cpu", seed: int = 0) -> Arguments:
    """Return the operands of one call of ``op`` on ``device``; the same values on every device."""

    def placed(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.detach().to(device).requires_grad_(value.requires_grad)

    return _library.OPERANDS[op](*map(placed, EXAMPLES[op](torch.Generator().manual_seed(seed))))
