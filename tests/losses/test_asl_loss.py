# SPDX-License-Identifier: Apache-2.0
"""ASLLoss against transcriptions of ActionFormer's loss and of the method's equations."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from asl_fast.losses import ASLLoss
from asl_fast.ops.assign_points import assign_points
from tests.losses.scene import CLASSES, KEYS, PLAIN, Batch, asl_loss, batch


@pytest.fixture(params=["fused", "composed"], autouse=True)
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether one op computes the loss, or several."""
    fused = request.param == "fused"
    monkeypatch.setattr(ASLLoss, "_is_fused", lambda self: fused and self.normalization != "instance")


def focal(logits: Tensor, targets: Tensor) -> Tensor:
    """(N,) summed over classes."""
    probability = torch.sigmoid(logits)
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    agreement = probability * targets + (1 - probability) * (1 - targets)
    alpha = 0.25 * targets + 0.75 * (1 - targets)
    return (alpha * (1 - agreement) ** 2 * cross_entropy).sum(-1)


def diou(predicted: Tensor, target: Tensor) -> Tensor:
    a, b = (torch.stack([-x[..., 0], x[..., 1]], -1) for x in (predicted, target))
    inter = torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])
    union = a[..., 1] - a[..., 0] + b[..., 1] - b[..., 0] - inter
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    return 1 - inter / union + ((a.sum(-1) - b.sum(-1)) / 2 / hull) ** 2


class Expected(NamedTuple):
    """What the equations need, positives compacted as in ActionFormer."""

    valid: Tensor
    positive: Tensor
    logits: Tensor
    offsets: Tensor
    targets: Tensor
    target_offsets: Tensor
    distance: Tensor
    instance: Tensor


def compact(data: Batch, radius: float | None = 1.5) -> Expected:
    assigned = assign_points(torch.cat(data.points), data.targets, CLASSES, center_sampling_radius=radius)
    valid = torch.cat(data.masks, 1)
    positive = assigned.positive & valid
    dtype = data.logits[0].dtype
    return Expected(
        valid,
        positive,
        torch.cat(data.logits, 1),
        torch.cat(data.offsets, 1)[positive],
        assigned.class_targets.to(dtype),
        assigned.offsets[positive].to(dtype),
        assigned.distance[positive].to(dtype),
        assigned.instance[positive],
    )


@pytest.mark.parametrize("radius", [1.5, None])
@pytest.mark.parametrize("location_weight", [1.0, 0.5, "auto", -1])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_all_off_is_the_loss_of_actionformer(smoothing: float, location_weight: Any, radius: float | None) -> None:
    loss = asl_loss(**PLAIN, label_smoothing=smoothing, location_weight=location_weight, center_sampling_radius=radius)
    normalizer = 100.0
    for step in range(3):
        data = batch(step, dtype=torch.float64, grad=True)
        e = compact(data, radius)
        normalizer = 0.9 * normalizer + 0.1 * max(int(e.positive.sum()), 1)
        targets = e.targets[e.valid] * (1 - smoothing) + smoothing / (CLASSES + 1)
        cls = focal(e.logits[e.valid], targets).sum() / normalizer
        loc = diou(e.offsets, e.target_offsets).sum() / normalizer
        weight = location_weight
        if location_weight in ("auto", -1):
            weight = cls.item() / max(loc.item(), 0.01)
        out = loss(*data)
        assert set(out) == KEYS
        assert loss.loss_normalizer.item() == pytest.approx(normalizer, rel=1e-6)
        assert out["num_positives"].item() == int(e.positive.sum()) > 5
        leaves = [*data.logits, *data.offsets]
        for ours, wanted in ((out["cls"], cls), (out["loc"], loc), (out["total"], cls + weight * loc)):
            assert ours.item() == pytest.approx(wanted.item(), rel=2e-7)  # the normaliser is kept in float32
        ours, wanted = (torch.autograd.grad(x, leaves) for x in (out["total"], cls + weight * loc))
        for a, b in zip(ours, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("normalization", ["none", "batch", "instance"])
@pytest.mark.parametrize("levels", ["p", "q", "p+q"])
def test_weights_and_evaluator_loss_are_those_of_the_method(levels: str, normalization: str) -> None:
    loss = asl_loss(
        class_level="p" in levels, instance_level="q" in levels, contrastive=False, normalization=normalization
    ).eval()
    data = batch(dtype=torch.float64, grad=True)
    loss.double()
    out = loss(*data)
    e = compact(data)
    label = data.targets.labels[e.instance]
    h_cls = h_loc = torch.zeros_like(e.distance)
    sensitivity = torch.zeros((), dtype=torch.float64)
    if loss.class_level:
        assert loss.gaussians is not None
        mu, sigma = loss.gaussians.mu[label], loss.gaussians.sigma[label]
        p = [torch.exp(-((e.distance - mu[:, k]) ** 2) / (2 * sigma[:, k] ** 2)) for k in range(3)]
        h_cls, h_loc = p[0], p[1] + p[2]
    if loss.evaluator is not None:
        q = loss.evaluator(data.features, data.masks)[e.positive]
        logit = e.logits[e.positive].gather(1, label[:, None])[:, 0]
        inter = torch.minimum(e.offsets, e.target_offsets).sum(-1)
        overlap = inter / (e.offsets.sum(-1) + e.target_offsets.sum(-1) - inter)
        sensitivity = F.mse_loss(q[:, 0], logit.sigmoid().detach()) + F.mse_loss(q[:, 1], overlap.detach())
        h_cls, h_loc = h_cls + q[:, 0].detach(), h_loc + q[:, 1].detach()
    if normalization == "batch":
        h_cls, h_loc = h_cls / h_cls.mean(), h_loc / h_loc.mean()
    if normalization == "instance":
        for g in sorted(set(e.instance.tolist())):
            own = e.instance == g
            h_cls = torch.where(own, h_cls / h_cls[own].mean(), h_cls)
            h_loc = torch.where(own, h_loc / h_loc[own].mean(), h_loc)
    weight = torch.ones_like(e.valid, dtype=torch.float64).masked_scatter(e.positive, h_cls)
    cls = (focal(e.logits, e.targets) * weight)[e.valid].sum() / 100
    loc = (diou(e.offsets, e.target_offsets) * h_loc).sum() / 100
    total = cls + loc + sensitivity
    for name, wanted in (("cls", cls), ("loc", loc), ("sensitivity", sensitivity), ("total", total)):
        torch.testing.assert_close(out[name], wanted, rtol=1e-12, atol=0)
    parameters = [*loss.parameters()]
    leaves = [*data.logits, *data.offsets, *parameters]
    ours, theirs = (torch.autograd.grad(x, leaves, allow_unused=True) for x in (out["total"], total))
    for a, b in zip(ours, theirs, strict=True):
        assert a is not None and b is not None
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-14)


def test_constant_weights() -> None:
    data = batch(dtype=torch.float64)
    loss = asl_loss(**PLAIN, constant_weights=(1.5, 2.3)).eval()
    plain = asl_loss(**PLAIN).eval()(*data)
    out = loss(*data)
    e = compact(data)
    extra = 0.5 * focal(e.logits[e.positive], e.targets[e.positive]).sum() / 100
    torch.testing.assert_close(out["cls"], plain["cls"] + extra, rtol=1e-12, atol=0)
    torch.testing.assert_close(out["loc"], 2.3 * plain["loc"], rtol=1e-12, atol=0)
    assert not list(loss.parameters())
