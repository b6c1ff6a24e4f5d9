# SPDX-License-Identifier: Apache-2.0
"""Operands of the whole loss of a detector: one realistic call, and those that are compiled ahead of time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from asl_fast.reference.detection_loss import Operands, Outputs
from asl_fast.reference.detection_loss_backward import BackwardOperands
from tests.kernels.examples._scene import CLASSES, VIDEOS, Call, Size
from tests.kernels.examples.assign_points import assign

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

# What is left out of the operands for ActionFormer's loss: no evaluator, no Gaussians, no weights.
WITHOUT_ASL: dict[str, Any] = {
    "predicted_quality": None,
    "raw_mu": None,
    "raw_sigma": None,
    "gaussian_form": [],
    "class_level": False,
    "cls_sensitive": False,
    "loc_sensitive": False,
    "cls_column": -1,
    "loc_column": -1,
    "need_gaussians": False,
}


def detection(generator: torch.Generator) -> Operands:
    """Everything on; the second video without instances."""
    scene = assign(generator)
    rows = (VIDEOS, len(scene.points))
    return Operands(
        logits=(torch.randn(*rows, CLASSES, generator=generator) - 2).requires_grad_(),
        offsets=(3 * torch.rand(*rows, 2, generator=generator)).requires_grad_(),
        predicted_quality=torch.rand(*rows, 2, generator=generator).requires_grad_(),
        mask=torch.rand(rows, generator=generator) < 0.8,
        points=scene.points,
        segments=scene.segments,
        labels=scene.labels,
        video_offsets=scene.video_offsets,
        raw_mu=torch.randn(CLASSES, 3, generator=generator).requires_grad_(),
        raw_sigma=torch.randn(CLASSES, 3, generator=generator).requires_grad_(),
        normalizer=torch.tensor(90.0),
        **DETECTION_SETTINGS,
    )


def detection_backward(generator: torch.Generator) -> BackwardOperands:
    """Of the same, from all six gradients."""
    given = detection(generator)
    with torch.no_grad():
        found = Outputs(*torch.ops.asl_fast.detection_loss.default(*given))

    def grad(of: Tensor) -> Tensor:
        return torch.randn(of.shape, generator=generator)

    return BackwardOperands(
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


EXAMPLES = {"detection_loss": detection, "detection_loss_backward": detection_backward}


def calls(size: Size) -> list[Call]:
    """Forward and backward pass, with all of ASL and for ActionFormer's loss."""
    dtype, rows, classes = size.dtype, size.rows, size.classes
    pairs, raw = torch.ones(size.videos, rows, 2, dtype=dtype), torch.zeros(classes, 3)
    asl = Operands(
        logits=torch.zeros(size.videos, rows, classes, dtype=dtype),
        offsets=pairs,
        predicted_quality=pairs,
        mask=torch.ones(size.videos, rows, dtype=torch.bool),
        points=torch.ones(rows, 4),
        segments=torch.ones(size.instances, 2),
        labels=torch.zeros(size.instances, dtype=torch.int64),
        video_offsets=size.video_offsets,
        raw_mu=raw,
        raw_sigma=raw,
        normalizer=torch.tensor(1.0),
        **DETECTION_SETTINGS,
    )
    found = asl.outputs()  # the compiler does not look at values
    asl_backward = BackwardOperands(
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
    calls_made = [
        Call(f"detection-asl-{size.name}", "detection_loss", asl),
        Call(f"detection-backward-asl-{size.name}", "detection_loss_backward", asl_backward),
    ]
    if dtype == torch.float32:  # the variants differ in what is left out, not in types
        plain = asl._replace(
            **WITHOUT_ASL,
            normalize=False,
            label_smoothing=0.1,
            momentum=1.0,
            location_weight=0.0,
        )
        plain_backward = asl_backward._replace(
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
        calls_made += [
            Call(f"detection-plain-{size.name}", "detection_loss", plain),
            Call(f"detection-backward-plain-{size.name}", "detection_loss_backward", plain_backward),
        ]
    return calls_made
