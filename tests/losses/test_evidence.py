# SPDX-License-Identifier: Apache-2.0
"""The frame classifier and the fit of the Gaussians to it: what learns from what, and bad input."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from asl_fast.losses import ASLLoss
from asl_fast.losses.evidence import FrameEvidence
from asl_fast.losses.sensitivity import ClassGaussians
from asl_fast.ops.ragged import RaggedTargets
from tests.losses.scene import CLASSES, DIM, batch

FRAME_DIM = 6


def loss_with_evidence(**options: Any) -> ASLLoss:
    torch.manual_seed(0)
    return ASLLoss(CLASSES, DIM, frame_dim=FRAME_DIM, signal="evidence", **options)


def frames_of(mask: torch.Tensor) -> torch.Tensor:
    return torch.randn(*mask.shape, FRAME_DIM, generator=torch.Generator().manual_seed(1))


def test_each_loss_teaches_its_own_part() -> None:
    data = batch()
    evidence, gaussians = FrameEvidence(FRAME_DIM, CLASSES), ClassGaussians(CLASSES)
    torch.nn.init.normal_(evidence.classifier.weight)
    frames = frames_of(data.masks[0]).requires_grad_()
    cross_entropy, misfit = evidence.losses(frames, data.masks[0], data.targets, gaussians)
    classifier, sensitivity = list(evidence.parameters()), list(gaussians.parameters())
    for value, taught, left_alone in ((cross_entropy, classifier, sensitivity), (misfit, sensitivity, classifier)):
        gradients = torch.autograd.grad(value, taught, retain_graph=True)
        assert all(torch.count_nonzero(gradient) for gradient in gradients)
        others = torch.autograd.grad(value, [*left_alone, frames], retain_graph=True, allow_unused=True)
        assert all(gradient is None or torch.count_nonzero(gradient) == 0 for gradient in others)


def test_padding_does_not_count() -> None:
    data = batch()
    evidence, gaussians = FrameEvidence(FRAME_DIM, CLASSES), ClassGaussians(CLASSES)
    torch.nn.init.normal_(evidence.classifier.weight)
    mask = data.masks[0]
    frames = frames_of(mask)
    padded = torch.where(mask[..., None], frames, torch.nan)
    wanted, found = (evidence.losses(each, mask, data.targets, gaussians) for each in (frames, padded))
    assert [value.item() for value in found] == [value.item() for value in wanted]


def test_batch_without_actions() -> None:
    targets = RaggedTargets(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    mask = torch.ones(2, 8, dtype=torch.bool)
    evidence, gaussians = FrameEvidence(FRAME_DIM, CLASSES), ClassGaussians(CLASSES)
    cross_entropy, misfit = evidence.losses(frames_of(mask), mask, targets, gaussians)
    # Everything is background, and at first every class is as likely as it.
    assert cross_entropy.item() == pytest.approx(torch.tensor(CLASSES + 1.0).log().item())
    assert misfit.item() == 0
    (cross_entropy + misfit).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in evidence.parameters())


@pytest.mark.parametrize("column", [1, 2])
def test_start_and_end_are_held_inside_the_action(column: int) -> None:
    """An untrained classifier finds nothing, so all that is left of the misfit is what holds mu."""
    evidence, gaussians = FrameEvidence(FRAME_DIM, CLASSES), ClassGaussians(CLASSES)
    data = batch(videos=[([[2.5, 11.5]], [1]), ([[20.5, 49.5]], [2])])
    frames, mask = frames_of(data.masks[0]), data.masks[0]
    # Of 9 + 24 frames (the second video ends at 45) 9 show class 1.
    beyond, inside = (0.2, -0.2) if column == 2 else (-0.2, 0.2)
    for raw in (beyond, inside):
        with torch.no_grad():
            gaussians.mu_bias.zero_()
            gaussians.mu_bias[1, column] = raw
        misfit = evidence.losses(frames, mask, data.targets, gaussians)[1]
        excess = max(gaussians.mu[1, column].abs().item() - 0.5, 0)
        assert (excess > 0.1) == (raw == beyond)
        assert misfit.item() == pytest.approx(10 * 9 / 33 * excess**2 / 2, abs=1e-6)
        gradient = torch.autograd.grad(misfit, gaussians.mu_bias)[0]
        assert (gradient[1, column].item() * raw > 0.01) == (raw == beyond)
        gradient[1, column] = 0
        assert gradient.abs().max() < 1e-6


def test_gaussians_learn_from_the_evidence_alone() -> None:
    data, loss = batch(grad=True), loss_with_evidence()
    out = loss(*data, frames=(frames_of(data.masks[0]), data.masks[0]))
    assert loss.gaussians is not None
    others = torch.autograd.grad(
        out["total"] - out["fit"],
        list(loss.gaussians.parameters()),
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    assert all(torch.count_nonzero(gradient) == 0 for gradient in others)
    leaves = [*data.logits, *data.offsets, *data.features]
    assert all(gradient is None for gradient in torch.autograd.grad(out["fit"], leaves, allow_unused=True))


def test_frames_and_their_size_are_asked_for() -> None:
    with pytest.raises(ValueError, match="frame_dim"):
        ASLLoss(CLASSES, DIM, signal="evidence")
    with pytest.raises(ValueError, match="pass frames="):
        loss_with_evidence()(*batch())
    data = batch()
    with pytest.raises(ValueError, match=r"frames must be \(B, T, 6\)"):
        loss_with_evidence()(*data, frames=(torch.zeros(2, 8, FRAME_DIM + 1), torch.ones(2, 8, dtype=torch.bool)))
    # Without the class level nothing learns from frames, so none are needed.
    ASLLoss(CLASSES, DIM, signal="evidence", class_level=False)(*data)
