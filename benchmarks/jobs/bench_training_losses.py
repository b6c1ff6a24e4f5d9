# SPDX-License-Identifier: Apache-2.0
"""Label assignment and all loss terms of a batch, forward and backward, on given outputs of a detector.

As training hands them over: on a GPU joined and with logits in bfloat16. "asl" is the whole loss but for the evaluator
of the instance level, a network of its own, which "asl and evaluator" adds; "plain" is ActionFormer's, which its own
code computes too. On a GPU the table also says how many kernels a call launches. At a million points, where only
bandwidth counts, focal and DIoU loss alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from asl_fast import ASLLoss, RaggedTargets, backend
from asl_fast.layers.joined_levels import join_tensors, split_levels
from asl_fast.models.points import LevelPoints
from asl_fast.training.state import make_loss
from benchmarks import actionformer
from benchmarks.ops import bench_diou_loss, bench_sensitivity_focal_loss
from benchmarks.registry import Case, Scale, close
from benchmarks.shapes import Shape, shapes, small_shape

Result = tuple[Tensor, ...]
_GROUPS: tuple[tuple[Scale, Callable[[str], list[Shape]]], ...] = (
    ("small", lambda variant: [small_shape(variant=variant)]),
    ("real", shapes),
)


# Of the presets, and whether the instance level is on.
VARIANTS = {"plain": ("plain", False), "asl": ("asl", False), "asl and evaluator": ("asl", True)}


def cases(device: str) -> list[Case]:
    """Declare ActionFormer's loss and ASL's at every benchmark's batch size; focal and DIoU loss of many points."""
    return [
        *(
            _case(device, each, variant, scale)
            for variant in VARIANTS
            for scale, group in _GROUPS
            for each in group(VARIANTS[variant][0])
        ),
        _focal_and_diou(device),
    ]


def _case(device: str, each: Shape, variant: str, scale: Scale) -> Case:
    # The paper's signal: the evidence in single input frames is a classifier of its own.
    loss_config = replace(each.config.loss, signal="loss", instance_level=VARIANTS[variant][1])
    on_gpu = device.startswith("cuda")

    def make_inputs() -> tuple[Any, ...]:
        generator = torch.Generator().manual_seed(0)
        model = each.config.model
        width = model.neck_width or model.width

        def drawn(length: int, channels: int) -> Tensor:
            return torch.randn(each.batch, length, channels, generator=generator)

        # A GPU gets the levels as the heads of the detector leave them: places between them, and bfloat16.
        gap = model.kernel_size // 2 if on_gpu else 0
        half = torch.bfloat16 if on_gpu else torch.float32
        masks = [torch.ones(each.batch, length, dtype=torch.bool, device=device) for length in each.lengths]
        mask = join_tensors(masks, gap)
        logits = (drawn(mask.shape[1], each.classes) - 3).to(device, half).requires_grad_()
        offsets = drawn(mask.shape[1], 2).abs().to(device).requires_grad_()
        features = [drawn(length, width).to(device).requires_grad_() for length in each.lengths]
        torch.manual_seed(0)
        loss = (
            make_loss(replace(each.config, loss=loss_config)).to(device).eval()
        )  # eval: the normaliser must not differ from call to call
        points = LevelPoints(model.ranges_grid, model.first_level, each.config.data.max_length).to(device)
        return loss, logits, offsets, features, masks, points.joined(each.lengths, gap), each.targets(device), mask

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
        bytes_moved=each.batch * each.num_points * ((4 if on_gpu else 8) * each.classes + 16),
        items=each.batch,
        scale=scale,
        compiled="reference",
        agree=close(2e-2 if on_gpu else 2e-3, 1e-5),  # gradients in bfloat16 are rounded twice
    )


def _focal_and_diou(device: str) -> Case:
    """Run the two large cases of the ops' own benchmarks, one after the other."""
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
    logits: Tensor,
    offsets: Tensor,
    features: list[Tensor],
    masks: list[Tensor],
    points: Tensor,
    targets: RaggedTargets,
    mask: Tensor,
) -> Result:
    """Run the loss module as training uses it, on joined levels."""
    for tensor in (logits, offsets, *features):
        tensor.grad = None
    loss.zero_grad(set_to_none=True)
    terms = loss(logits, offsets, features, masks, points, targets, joined_mask=mask)
    terms["total"].backward()
    return terms["total"].detach(), *_gradients(logits, offsets, features)


def theirs(
    loss: ASLLoss,
    logits: Tensor,
    offsets: Tensor,
    features: list[Tensor],
    masks: list[Tensor],
    points: Tensor,
    targets: RaggedTargets,
    mask: Tensor,
) -> Result:
    """Run ActionFormer's own ``label_points`` and ``losses``, on the levels that it takes apart."""
    levels, pairs = (
        [x.detach().float().requires_grad_() for x in _levels(both, features)] for both in (logits, offsets)
    )
    detector = actionformer.labeller(loss.num_classes)
    # Momentum 1 keeps the normaliser where it is, as evaluation mode does in ours.
    detector.loss_normalizer, detector.loss_normalizer_momentum = float(loss.loss_normalizer), 1.0
    bounds = list(pairwise(targets.video_offsets.tolist()))
    segments, labels = ([column[first:last] for first, last in bounds] for column in (targets.segments, targets.labels))
    per_level = [level[0] for level in _levels(points[None], features)]
    assigned = detector.label_points(per_level, segments, labels)
    found = detector.losses(masks, levels, pairs, *assigned)
    found["final_loss"].backward()
    return found["final_loss"].detach(), *(x.grad for x in (*levels, *pairs) if x.grad is not None)


def _gradients(logits: Tensor, offsets: Tensor, features: list[Tensor]) -> list[Tensor]:
    grads = [tensor.grad for tensor in (logits, offsets) if tensor.grad is not None]
    return [level for grad in grads for level in _levels(grad, features)]


def _levels(joined: Tensor, features: list[Tensor]) -> list[Tensor]:
    """View each level's part of (B, P, ...), without the places between them."""
    lengths = [level.shape[1] for level in features]
    return split_levels(joined, lengths, (joined.shape[1] - sum(lengths)) // max(len(lengths) - 1, 1))
