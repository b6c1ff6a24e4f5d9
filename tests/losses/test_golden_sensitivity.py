# SPDX-License-Identifier: Apache-2.0
"""The class-level Gaussians and the weighted losses against ego4d_asl, the authors' code, quirks mapped.

Its Gaussians see x = (centre - t) / (stride * length), that is -d / stride: "left" peaks at the end of an instance, and
coarse levels are nearly constant. Its losses multiply both regression weights' mean with the classification weight.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from asl_fast.ops.assign_points import assign_points
from asl_fast.ops.diou_loss import diou_loss
from asl_fast.ops.ragged import RaggedTargets
from asl_fast.ops.sensitivity_focal_loss import sensitivity_focal_loss
from asl_fast.reference.detection_loss_gaussians import gaussian
from tests.shared import golden_arrays

PARAMETERS = ("mu", "sigma", "mu_reg_left", "sigma_reg_left", "mu_reg_right", "sigma_reg_right")


@cache
def golden(name: str) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    data = golden_arrays(name)
    arrays = {key: torch.from_numpy(data[key]) for key in data if data[key].dtype.kind in "fiub"}
    return arrays, json.loads(str(data["configs"]))


def test_gaussian() -> None:
    data, _ = golden("sensitivity_weights")
    torch.testing.assert_close(gaussian(data["nd_x"], data["nd_mu"], data["nd_sigma"]), data["nd_out"])
    standard = gaussian(data["nd_x"], torch.tensor(0.0), torch.tensor(1.0))
    torch.testing.assert_close(standard, data["nd_out_default"])


@pytest.mark.parametrize("tag", ["init_radius", "random_radius", "random_none"])
@pytest.mark.parametrize("video", range(8))
def test_weights_of_assigned_points(video: int, tag: str) -> None:
    data, configs = golden("sensitivity_weights")
    config = next(c for c in configs if c["tag"] == tag)
    segments, labels, points = data[f"v{video}__seg_grid"], data[f"v{video}__labels"], data["points"]
    assigned = assign_points(
        points,
        RaggedTargets.from_list([(segments, labels)]),
        int(data["num_classes"]),
        center_sampling_radius=config["radius"] if config["center_sample"] == "radius" else None,
    )
    positive = data[f"v{video}__{tag}__pos"].long()
    pairs = assigned.class_targets[0].nonzero()
    assert torch.equal(pairs, data[f"v{video}__{tag}__cls_idx"].long())
    assert torch.equal(assigned.positive[0].nonzero()[:, 0], positive)
    torch.testing.assert_close(assigned.offsets[0, positive], data[f"v{video}__{tag}__reg_pos"])

    x = -assigned.distance[0, positive] / points[positive, 3]
    label = labels[assigned.instance[0, positive]]
    parameters = [data[f"{config['params']}__{name}"].clone().requires_grad_() for name in PARAMETERS]
    of_class = [parameter[label] for parameter in parameters]
    p_cls, p_left, p_right = (gaussian(x, of_class[i], of_class[i + 1]) for i in (0, 2, 4))
    # The distance to the centre is a difference of grid positions up to 1024 in float32.
    for ours, name in ((p_cls, "cls"), (p_left, "left"), (p_right, "right")):
        torch.testing.assert_close(ours, data[f"v{video}__{tag}__prob_{name}"], rtol=2e-4, atol=1e-6)
    grads = torch.autograd.grad((p_cls + 2 * p_left + 3 * p_right).sum(), parameters)
    torch.testing.assert_close(torch.stack(grads), data[f"v{video}__{tag}__param_grads"], rtol=5e-4, atol=2e-4)


def weighted_losses(tag: str) -> tuple[dict[str, Tensor], dict[str, Any], list[Tensor], list[Tensor]]:
    data, configs = golden("sensitivity_losses")
    config = next(c for c in configs if c["tag"] == tag)
    mask = data[f"mask_{config['mask']}"]
    targets = RaggedTargets.from_list([(data[f"gt_segments_{b}"], data[f"gt_labels_{b}"]) for b in range(3)])
    assigned = assign_points(data["points"], targets, int(data["num_classes"]))
    assert torch.equal(assigned.class_targets.to(torch.uint8), data["cls_targets"])
    positive = assigned.positive & mask
    p_cls, p_left, p_right = (data[f"{tag}__prob_{name}"] for name in ("cls", "left", "right"))
    h_loc = (p_left + p_right) / 2 * p_cls
    logits, offsets = data["logits"].clone().requires_grad_(), data["offsets"].clone().requires_grad_()
    cls = sensitivity_focal_loss(
        logits,
        assigned.class_targets,
        torch.where(positive, p_cls, 1.0),
        mask,
        label_smoothing=config["label_smoothing"],
        reduction="sum",
    )
    loc = diou_loss(
        offsets.flatten(0, 1),
        torch.where(positive[..., None], assigned.offsets, 1.0).flatten(0, 1),
        torch.where(positive, h_loc, 0.0).flatten(),
        reduction="sum",
    )
    normalizer = config["momentum"] * config["init_loss_norm"] + (1 - config["momentum"]) * int(positive.sum())
    assert normalizer == pytest.approx(config["loss_normalizer_after"], rel=1e-12)
    return data, config, [cls / normalizer, loc / normalizer], [logits, offsets]


TAGS = [f"{mask}_{kind}" for mask in ("full", "padded") for kind in ("init", "random", "random_smooth_auto")]


@pytest.mark.parametrize("tag", TAGS)
def test_weighted_losses(tag: str) -> None:
    _, config, (cls, loc), _ = weighted_losses(tag)
    assert cls.item() == pytest.approx(config["cls_loss"], rel=1e-5)
    assert loc.item() == pytest.approx(config["reg_loss"], rel=1e-5)


@pytest.mark.parametrize("tag", [tag for tag in TAGS if tag.endswith("auto")])
def test_total_and_its_gradient_without_the_label_involved_term(tag: str) -> None:
    data, config, (cls, loc), leaves = weighted_losses(tag)
    assert config["al_loss_weight"] == 0
    total = cls + loc * (cls / loc.clamp(min=0.01)).detach()
    assert total.item() == pytest.approx(config["final_loss"], rel=1e-5)
    grad_logits, grad_offsets = torch.autograd.grad(total, leaves)
    torch.testing.assert_close(grad_logits, data[f"{tag}__grad_logits"], rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(grad_offsets, data[f"{tag}__grad_offsets"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("tag", [tag for tag in TAGS if not tag.endswith("auto")])
def test_gradient_of_offsets(tag: str) -> None:
    data, _, (_, loc), leaves = weighted_losses(tag)
    (grad,) = torch.autograd.grad(loc, leaves[1:])
    torch.testing.assert_close(grad, data[f"{tag}__grad_offsets"], rtol=1e-4, atol=1e-6)
