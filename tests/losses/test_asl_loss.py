# SPDX-License-Identifier: Apache-2.0
"""ASLLoss against transcriptions of ActionFormer's loss and of the method's equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.loss_equations import Expected, expected_losses
from tests.losses.scene import KEYS, PLAIN, Batch, asl_loss, batch


def by_equations(data: Batch, normalizer: float = 100.0, **options: Any) -> Expected:
    """Apply the equations to the levels of a batch."""
    joined = (torch.cat(levels, 1) for levels in (data.logits, data.offsets, data.masks))
    return expected_losses(*joined, torch.cat(data.points), data.targets, normalizer, **options)


@pytest.mark.parametrize("radius", [1.5, None])
@pytest.mark.parametrize("location_weight", [1.0, 0.5, "auto", -1])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_off_is_the_loss_of_actionformer(smoothing: float, location_weight: Any, radius: float | None) -> None:
    loss = asl_loss(**PLAIN, label_smoothing=smoothing, location_weight=location_weight, center_sampling_radius=radius)
    normalizer = 100.0
    for step in range(3):
        data = batch(step, dtype=torch.float64, grad=True)
        expected = by_equations(
            data,
            normalizer,
            momentum=0.9,
            label_smoothing=smoothing,
            location_weight=0 if location_weight == "auto" else location_weight,
            center_sampling_radius=radius,
        )
        normalizer = float(expected.normalizer)
        out = loss(*data)
        assert set(out) == KEYS
        assert loss.loss_normalizer.item() == pytest.approx(normalizer, rel=1e-6)
        assert out["num_positives"].item() == expected.num_positives.item() > 5
        leaves = [*data.logits, *data.offsets]
        for name in ("cls", "loc", "total"):
            # The normaliser is kept in float32.
            assert out[name].item() == pytest.approx(getattr(expected, name).item(), rel=2e-7)
        ours, wanted = (torch.autograd.grad(x, leaves) for x in (out["total"], expected.total))
        for a, b in zip(ours, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("normalization", ["none", "batch"])
@pytest.mark.parametrize("levels", ["p", "q", "p+q"])
def test_weights_and_evaluator_loss_are_those_of_the_method(levels: str, normalization: str) -> None:
    loss = asl_loss(
        class_level="p" in levels, instance_level="q" in levels, contrastive=False, normalization=normalization
    ).eval()
    data = batch(dtype=torch.float64, grad=True)
    loss.double()
    out = loss(*data)
    expected = by_equations(
        data,
        mu_sigma=None if loss.gaussians is None else (loss.gaussians.mu, loss.gaussians.sigma),
        quality=None if loss.evaluator is None else loss.evaluator(data.features, data.masks),
        normalize=normalization == "batch",
    )
    for name in ("cls", "loc", "sensitivity", "total"):
        torch.testing.assert_close(out[name], getattr(expected, name), rtol=1e-12, atol=0)
    parameters = [*loss.parameters()]
    leaves = [*data.logits, *data.offsets, *parameters]
    ours, theirs = (torch.autograd.grad(x, leaves, allow_unused=True) for x in (out["total"], expected.total))
    for a, b in zip(ours, theirs, strict=True):
        assert a is not None and b is not None
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)


def test_constant_weights() -> None:
    data = batch(dtype=torch.float64)
    loss = asl_loss(**PLAIN, constant_weights=(1.5, 2.3)).eval()
    plain = asl_loss(**PLAIN).eval()(*data)
    out, expected = loss(*data), by_equations(data, constant_weights=(1.5, 2.3))
    for name in ("cls", "loc", "total"):
        torch.testing.assert_close(out[name], getattr(expected, name), rtol=1e-12, atol=0)
    torch.testing.assert_close(out["loc"], 2.3 * plain["loc"], rtol=1e-12, atol=0)
    assert out["cls"] > plain["cls"]
    assert not list(loss.parameters())
