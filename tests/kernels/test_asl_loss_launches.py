# SPDX-License-Identifier: Apache-2.0
"""The loss as training calls it on a GPU: a detector's outputs in bfloat16, joined, in at most six launches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton", minversion="3.5")

from asl_fast.kernels.launch_counter import counter

from asl_fast import ASLLoss, RaggedTargets
from asl_fast.backend import backend as forced
from asl_fast.models.config import DetectorConfig
from asl_fast.models.detector import ActionDetector, DetectorOutput
from asl_fast.training.state import TrainingStep
from tests.kernels.operators import Operators, launches, look_inside

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CLASSES = (20, 65, 300)
SEGMENTS = torch.tensor([[3.2, 9.1], [20.3, 41.0], [5.3, 17.0], [5.3, 17.0], [30.1, 33.7]])


def training(classes: int) -> tuple[TrainingStep, DetectorOutput, RaggedTargets]:
    """Make a step of training up to the loss, with what autocast makes of a detector's outputs.

    The evaluator of the instance level, a network of its own, is left out.
    """
    torch.manual_seed(0)
    config = DetectorConfig(feature_dim=8, num_classes=classes, width=16, num_levels=3, num_heads=2)
    loss = ASLLoss(classes, 16, instance_level=False)
    step = TrainingStep(ActionDetector(config), loss, autocast=True).to(DEVICE)
    features = torch.randn(2, 64, 8, device=DEVICE)
    mask = torch.arange(64, device=DEVICE) < torch.tensor([[64], [45]], device=DEVICE)
    with torch.autocast(DEVICE, torch.bfloat16), torch.no_grad():
        output: DetectorOutput = step.detector(features, mask)
    # Leaves, so that a gradient goes no further.
    output = replace(
        output,
        joined_logits=output.joined_logits.requires_grad_(),
        joined_offsets=output.joined_offsets.requires_grad_(),
        features=[level.requires_grad_() for level in output.features],
    )
    labels = torch.tensor([0, 2, 1, 3, 2]) * (classes - 1) // 3
    return step, output, RaggedTargets(SEGMENTS, labels, torch.tensor([0, 2, 5])).to(DEVICE)


def leaves(step: TrainingStep, output: DetectorOutput) -> list[Tensor]:
    """Of the detector's outputs and the Gaussians, what the loss sends a gradient to."""
    return [output.joined_logits, output.joined_offsets, output.features[0], *step.loss.no_weight_decay_parameters()]


@pytest.mark.parametrize("classes", CLASSES)
def test_six_launches_and_no_other_operator(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    step, output, targets = training(classes)
    assert output.joined_logits.dtype == torch.bfloat16
    step.predictions(output, joined=True)  # points are joined once
    counter(output.joined_logits)  # made once for each stream
    operators, hidden, seed = Operators(), Operators(), torch.ones((), device=DEVICE)
    ops = ["detection_loss", "contrastive_similarity_loss"]
    look_inside(monkeypatch, [*ops, *(f"{op}_backward" for op in ops)], DEVICE, hidden)
    with forced("triton"), launches(monkeypatch, operators, hidden) as launched, operators:
        total = step.loss(**step.predictions(output, joined=True), targets=targets)["total"]
        # Four bytes, the normaliser: PyTorch takes a derivative of operators alone that write to none of their inputs.
        assert operators.seen == ["asl_fast::detection_loss", "aten::copy_", "asl_fast::contrastive_similarity_loss"]
        operators.seen.clear()
        grads = torch.autograd.grad(total, leaves(step, output), seed)
    backward = ["asl_fast::contrastive_similarity_loss_backward", "asl_fast::detection_loss_backward"]
    assert operators.seen == backward and hidden.seen == []
    assert len(launched) <= 6
    detection = [name for name in launched if name.startswith("detection_loss")]
    assert detection == ["detection_loss_fwd_kernel", "detection_loss_bwd_kernel"]
    for grad, leaf in zip(grads, leaves(step, output), strict=True):
        assert grad.dtype == leaf.dtype and bool(grad.isfinite().all()) and bool(grad.any())


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("implementation", ["reference", "triton"])
def test_as_if_cast_and_cut_into_levels_first(implementation: str, classes: int) -> None:
    step, output, targets = training(classes)

    def losses(joined: bool) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        step.loss.loss_normalizer.fill_(100.0)
        with forced(implementation):
            found: dict[str, Any] = step.loss(**step.predictions(output, joined=joined), targets=targets)
            return found, torch.autograd.grad(found["total"], leaves(step, output), retain_graph=True)

    (found, grads), (wanted, expected) = losses(True), losses(False)
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        torch.testing.assert_close(found[name], value, rtol=2e-6, atol=0)  # sums of other groups of points
    assert bool((~output.joined_mask).any()) and not bool(grads[0][~output.joined_mask].any())
    for one, other in zip(grads, expected, strict=True):
        # A gradient in bfloat16 was rounded before its factor was known, and after.
        eps = 2 * torch.finfo(one.dtype).eps
        torch.testing.assert_close(one.float(), other.float(), rtol=2e-6 + eps, atol=1e-6 * float(other.abs().max()))
