# SPDX-License-Identifier: Apache-2.0
"""Label assignment and all loss terms of a batch, forward and backward, on given outputs of a detector.

"asl" is the whole loss; "plain" is ActionFormer's, which its own code computes too. On a GPU the table also says how
many kernels a call launches. At a million points, where only bandwidth counts, focal and DIoU loss alone.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from asl_fast import ASLLoss, RaggedTargets, backend
from asl_fast.training.state import make_loss
from benchmarks import actionformer
from benchmarks.ops import bench_diou_loss, bench_sensitivity_focal_loss
from benchmarks.registry import Case, Scale, close, report
from benchmarks.shapes import Shape, shapes, small_shape

Result = tuple[Tensor, ...]
_GROUPS: tuple[tuple[Scale, Callable[[str], list[Shape]]], ...] = (
    ("small", lambda variant: [small_shape(variant=variant)]),
    ("real", shapes),
)


def cases(device: str) -> list[Case]:
    """Every benchmark at its own batch size, ActionFormer's loss and ASL's; focal and DIoU loss of many points."""
    return [
        *(
            _case(device, each, variant, scale)
            for variant in ("plain", "asl")
            for scale, group in _GROUPS
            for each in group(variant)
        ),
        _focal_and_diou(device),
    ]


def _case(device: str, each: Shape, variant: str, scale: Scale) -> Case:
    loss_config = each.config.loss

    def make_inputs() -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(0)
        width = each.config.model.neck_width or each.config.model.width

        def drawn(length: int, channels: int) -> Tensor:
            return torch.randn(each.batch, length, channels, generator=generator)

        logits = [(drawn(length, each.classes) - 3).to(device).requires_grad_() for length in each.lengths]
        offsets = [drawn(length, 2).abs().to(device).requires_grad_() for length in each.lengths]
        features = [drawn(length, width).to(device).requires_grad_() for length in each.lengths]
        masks = [torch.ones(each.batch, length, dtype=torch.bool, device=device) for length in each.lengths]
        torch.manual_seed(0)
        loss = make_loss(each.config).to(device).eval()  # eval: the normaliser must not differ from call to call
        return loss, logits, offsets, features, masks, each.points(device), each.targets(device)

    def reference(*inputs: Any) -> Result:
        with backend("reference"):
            return fused(*inputs)

    baselines: dict[str, Callable[..., Any]] = {"reference": reference}
    alike = loss_config.label_smoothing == 0 and loss_config.location_weight == 1
    if variant == "plain" and alike and actionformer.load() is not None:
        baselines["ActionFormer"] = theirs
    return Case(
        f"{variant}, {each.name}: {each.batch} x {each.num_points:,} points x {each.classes}",
        make_inputs,
        fused,
        baselines,
        # Logits, offsets and features are read, and their gradients written, at least once.
        bytes_moved=8 * each.batch * each.num_points * (each.classes + 2),
        items=each.batch,
        scale=scale,
        compiled="reference",
        agree=close(2e-3, 1e-5),
    )


def _focal_and_diou(device: str) -> Case:
    """The two large cases of the ops' own benchmarks, one after the other."""
    parts = [
        next(case for case in cases if case.scale == "large")
        for cases in (bench_sensitivity_focal_loss.cases(device), bench_diou_loss.cases(device))
    ]

    def both(runs: list[Callable[..., Result]]) -> Callable[..., Result]:
        def run(*inputs: Tensor) -> Result:
            return *runs[0](*inputs[:3]), *runs[1](*inputs[3:])

        return run

    return Case(
        "focal + DIoU: 1,000,000 points x 20, dense targets",
        lambda: (*parts[0].make_inputs(), *parts[1].make_inputs()),
        both([part.run for part in parts]),
        {name: both([part.baselines[name] for part in parts]) for name in ("eager", "reference")},
        bytes_moved=sum(part.bytes_moved for part in parts),
        scale="large",
        agree=close(1e-3, 1e-4),
    )


def fused(
    loss: ASLLoss,
    logits: list[Tensor],
    offsets: list[Tensor],
    features: list[Tensor],
    masks: list[Tensor],
    points: list[Tensor],
    targets: RaggedTargets,
) -> Result:
    """The loss module as training uses it."""
    _forget(logits, offsets, features)
    loss.zero_grad(set_to_none=True)
    terms = loss(logits, offsets, features, masks, points, targets)
    terms["total"].backward()
    return terms["total"].detach(), *_gradients(logits, offsets)


def theirs(
    loss: ASLLoss,
    logits: list[Tensor],
    offsets: list[Tensor],
    features: list[Tensor],
    masks: list[Tensor],
    points: list[Tensor],
    targets: RaggedTargets,
) -> Result:
    """ActionFormer's own ``label_points`` and ``losses``."""
    _forget(logits, offsets, features)
    detector = actionformer.labeller(loss.num_classes)
    # Momentum 1 keeps the normaliser where it is, as evaluation mode does in ours.
    detector.loss_normalizer, detector.loss_normalizer_momentum = float(loss.loss_normalizer), 1.0
    bounds = list(pairwise(targets.offsets.tolist()))
    segments, labels = ([column[first:last] for first, last in bounds] for column in (targets.segments, targets.labels))
    found = detector.losses(masks, logits, offsets, *detector.label_points(points, segments, labels))
    found["final_loss"].backward()
    return found["final_loss"].detach(), *_gradients(logits, offsets)


def _forget(*groups: list[Tensor]) -> None:
    for group in groups:
        for tensor in group:
            tensor.grad = None


def _gradients(*groups: list[Tensor]) -> list[Tensor]:
    return [tensor.grad for group in groups for tensor in group if tensor.grad is not None]


if __name__ == "__main__":
    report(cases("cpu"))
