# SPDX-License-Identifier: Apache-2.0
"""The Triton detection loss equals the float64 reference, within its buffers, in one launch each way."""

from __future__ import annotations

from typing import Any

import pytest
import torch

pytest.importorskip("triton", minversion="3.5")

from asl_fast.kernels import detection_loss as forward
from asl_fast.kernels import detection_loss_backward as backward
from asl_fast.kernels.launch_counter import counter

from asl_fast.backend import backend as forced
from asl_fast.ops.detection_loss import detection_loss
from asl_fast.reference import detection_loss as reference
from asl_fast.reference import detection_loss_backward as reference_backward
from asl_fast.reference.detection_loss_gaussians import gaussian_tables
from tests.detection_scene import INIT, MU_SCALE, SIGMA_SCALES, Scene, scene
from tests.kernels.examples.detection_loss import DETECTION_SETTINGS
from tests.kernels.fences import fenced
from tests.kernels.operators import Operators, launches
from tests.losses.scene import asl_loss, batch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FORM = [*INIT, MU_SCALE, 1.0, *SIGMA_SCALES]
PLAIN_KERNELS = ("detection_loss_fwd_kernel", "detection_loss_bwd_kernel")
CONTRASTIVE_KERNELS = ("pool_kernel", "log_sums_kernel", "kept_gradient_kernel", "input_gradient_kernel")


def compare(found: Any, expected: Any) -> None:
    for name, one, other in zip(expected._fields, found, expected, strict=True):
        assert one.shape == other.shape and one.is_contiguous(), name
        if not one.is_floating_point():
            assert torch.equal(one, other), name
            continue
        eps = 2 * torch.finfo(one.dtype).eps  # what waits for its factor may be bfloat16
        size = max(1.0, float(other.abs().max())) if other.numel() else 1.0
        torch.testing.assert_close(
            one.double(), other.double(), rtol=2e-5 + eps, atol=2e-6 * size, msg=lambda m, n=name: f"{n}: {m}"
        )


def operands(data: Scene, dtype: torch.dtype, **changed: Any) -> reference.Operands:
    """Everything on, nothing that carries gradient."""
    leaves = {name: getattr(data, name).detach().to(dtype) for name in ("logits", "offsets")}
    return reference.Operands(
        **leaves,
        predicted_quality=data.quality.detach().to(dtype),
        mask=data.mask,
        points=data.points,
        segments=data.targets.segments,
        labels=data.targets.labels,
        video_offsets=data.targets.video_offsets,
        raw_mu=data.raw_mu.detach(),
        raw_sigma=data.raw_sigma.detach(),
        normalizer=torch.tensor(90.0),
        **(DETECTION_SETTINGS | {"gaussian_form": FORM} | changed),
    )


def backward_operands(
    given: reference.Operands, found: reference.Outputs, dtype: torch.dtype
) -> reference_backward.BackwardOperands:
    """Return what a backward pass takes, from gradients of every output that has one."""
    losses = {"grad_total": 0.5, "grad_cls": -1.0, "grad_loc": 2.0, "grad_sensitivity": 3.0}
    scalars = {name: torch.full((), value, dtype=dtype) for name, value in losses.items()}
    table = torch.linspace(-1, 1, found.mu.numel(), dtype=torch.float64).view(found.mu.shape).to(dtype)
    kept = ("unit_logits", "unit_offsets", "unit_predicted_quality", "label", "of_points", "factors")
    return reference_backward.BackwardOperands(
        **scalars,
        grad_mu=table,
        grad_sigma=table,
        **{name: getattr(found, name) for name in kept},
        raw_mu=given.raw_mu,
        raw_sigma=given.raw_sigma,
        gaussian_form=given.gaussian_form,
        cls_learns=True,
        loc_learns=True,
    )


@pytest.mark.parametrize(("classes", "dtype"), [(1, torch.float32), (20, torch.bfloat16), (33, torch.float16),
                                                (5, torch.float64)])  # fmt: skip
def test_equals_the_reference(classes: int, dtype: torch.dtype) -> None:
    given = operands(scene(classes, 24), dtype, label_smoothing=0.1, location_weight=-1.0)
    with fenced():
        found = forward.detection_loss(given)
    names = ("logits", "offsets", "predicted_quality", "raw_mu", "raw_sigma")
    wide = given._replace(**{name: getattr(given, name).double() for name in names})
    expected = reference.detection_loss(wide)
    compare(found, expected)
    with fenced():
        grads = backward.detection_loss_backward(backward_operands(given, found, found.total.dtype))
    compare(grads, reference_backward.detection_loss_backward(backward_operands(wide, expected, torch.float64)))


@pytest.mark.parametrize("classes", [1, 15, 16, 33])
def test_gradients_of_more_and_of_fewer_logits_in_a_row_than_in_a_program(
    classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backward, "BLOCK", 8)
    given = operands(scene(classes, 4), torch.float32)
    wanted = backward_operands(given, reference.detection_loss(given), torch.float32)
    with fenced():
        found = backward.detection_loss_backward(wanted)
    compare(found, reference_backward.detection_loss_backward(wanted))


def test_ties_of_more_instances_than_a_block_has() -> None:
    """Every instance of a video is the same, each of another class: all tie, the last one of a block, too."""
    data = scene(40, 8, counts=(70, 33))
    starts = data.targets.video_offsets[:-1].repeat_interleave(data.targets.video_offsets.diff())
    same = data.targets.segments[starts]
    labels = torch.arange(len(same)) % 40
    given = operands(data, torch.float32, label_smoothing=0.0)._replace(segments=same, labels=labels)
    found = forward.detection_loss(given)
    assert int(found.num_positives) > 0
    compare(found, reference.detection_loss(given))


def test_arc_tangent_of_raw_parameters_of_any_size() -> None:
    raw = torch.tensor([0.0, 1e-30, 1e-4, 0.1, 0.4, 0.41, 1.0, 30.0, 1e4, 1e30]).repeat_interleave(2)
    raw[1::2] *= -1
    data = scene(len(raw), 8, counts=(1, 1))
    data = data._replace(raw_mu=raw[:, None].repeat(1, 3), raw_sigma=raw[:, None].repeat(1, 3))
    wide = gaussian_tables(data.raw_mu.detach(), data.raw_sigma.detach(), FORM, torch.float64)
    with forced("triton"):
        found = data.to(DEVICE).call()
    for ours, theirs in zip((found.mu, found.sigma), wide, strict=False):
        torch.testing.assert_close(ours.cpu().double(), theirs, rtol=3e-7, atol=1e-7)


@pytest.mark.parametrize("asl", [False, True])
def test_one_launch_forward_one_backward_and_no_other_operator(asl: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data, (normalizer, seed) = scene().to(DEVICE), torch.tensor([90.0, 1.0], device=DEVICE)
    counter(data.logits)  # made once for each stream
    quality, gaussians = (data.quality, data.gaussians()) if asl else (None, None)
    with forced("triton"), launches(monkeypatch) as launched, Operators() as operators:
        found = detection_loss(
            data.logits, data.offsets, data.mask, data.points, data.targets, normalizer,
            predicted_quality=quality, gaussians=gaussians, momentum=0.9,
        )  # fmt: skip
        ours = ["asl_fast::detection_loss"]
        assert operators.seen == ours
        leaves = data[:5] if asl else data[:2]
        grads = torch.autograd.grad(found.total, leaves, seed)
        assert operators.seen == [*ours, "asl_fast::detection_loss_backward"]
    assert launched == ["detection_loss_fwd_kernel", "detection_loss_bwd_kernel"]
    assert all(bool(grad.any()) for grad in grads)


def test_the_counter_is_ready_for_the_next_launch_and_bits_repeat() -> None:
    data = scene(20).to(DEVICE)
    with torch.no_grad(), forced("triton"):
        first, second = data.call(), data.call()
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert counter(data.logits).item() == 0


def test_an_unknown_label_counts_as_no_class() -> None:
    """On a GPU nobody looks at the labels; a wrong one must not write or read elsewhere."""
    given = operands(scene(5, 24), torch.float32)
    with fenced():
        found = forward.detection_loss(given._replace(labels=torch.full_like(given.labels, 77)))
    assert found.total.isfinite() and int(found.num_positives) > 0


@pytest.mark.parametrize("asl", [False, True])
def test_the_whole_loss_takes_two_launches_or_six(asl: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data, off = batch(grad=True), {"class_level": False, "instance_level": False, "contrastive": False}
    loss = asl_loss(**({"instance_level": False} if asl else off)).to(DEVICE)
    levels = [torch.cat([x.detach() for x in group], 1).to(DEVICE) for group in (data.logits, data.offsets, data.masks)]
    logits, offsets = (level.requires_grad_() for level in levels[:2])
    features = [level.detach().to(DEVICE).requires_grad_(asl) for level in data.features]
    points, targets, seed = torch.cat(data.points).to(DEVICE), data.targets.to(DEVICE), torch.ones((), device=DEVICE)
    counter(logits)  # made once for each stream
    leaves = [logits, offsets, *features[: int(asl)], *loss.no_weight_decay_parameters()]
    contrastive = ["asl_fast::contrastive_similarity_loss"] if asl else []
    with forced("triton"), launches(monkeypatch) as launched, Operators() as operators:
        total = loss(logits, offsets, features, levels[2], points, targets)["total"]
        # The copy of the normaliser is a transfer.
        assert operators.seen == ["asl_fast::detection_loss", "aten::copy_", *contrastive]
        operators.seen.clear()
        grads = torch.autograd.grad(total, leaves, seed)
    assert operators.seen == [*(f"{name}_backward" for name in contrastive), "asl_fast::detection_loss_backward"]
    kernels = (*PLAIN_KERNELS, *CONTRASTIVE_KERNELS) if asl else PLAIN_KERNELS
    assert sorted(launched) == sorted(kernels)
    assert all(bool(grad.any()) for grad in grads)
