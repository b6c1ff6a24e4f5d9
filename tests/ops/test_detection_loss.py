# SPDX-License-Identifier: Apache-2.0
"""The fused loss equals the equations, in values and gradients; registration, compilation, edges, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from asl_fast import RaggedTargets, assign_points, backend
from asl_fast.ops.detection_loss import detection_loss
from asl_fast.reference.detection_loss import Operands
from tests.detection_scene import Scene, expected, scene
from tests.kernels import examples
from tests.kernels.examples.detection_loss import WITHOUT_ASL
from tests.ops import checks

OPTIONS: list[dict[str, Any]] = [
    {},
    {"normalize": False, "label_smoothing": 0.1},
    {"p": False, "q": False, "location_weight": 0.0},
    {"p": False, "q": False, "constant_weights": (1.5, 2.3), "center_sampling_radius": None},
    {"p": False, "momentum": 0.9},
    {"q": False, "branches": ("loc",), "location_weight": 0.5},
    {"branches": ("loc", "cls")},
    {"branches": ("cls",)},
]


def gradients(data: Scene, value: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(value, data[:5], retain_graph=True, materialize_grads=True, allow_unused=True))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", checks.implementations("detection_loss"))
def test_equals_the_equations(name: str, options: dict[str, Any]) -> None:
    dtype = torch.float64 if name != "triton" else torch.float32
    wide = scene(dtype=torch.float64)
    data = Scene(*(x.detach().to(dtype).requires_grad_() for x in wide[:5]), *wide[5:])
    wanted = expected(wide, **options)
    with backend(name):
        found = data.call(**options)
        exact = {"rtol": 1e-10, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 2e-5, "atol": 1e-6}
        for one, other in zip(found[:6], wanted, strict=True):
            torch.testing.assert_close(one.double(), other.double(), **exact)
        for one, other in zip(found[:4], wanted[:4], strict=True):
            if other.requires_grad:
                for ours, theirs in zip(gradients(data, one), gradients(wide, other), strict=True):
                    torch.testing.assert_close(ours.double(), theirs, **exact)


@pytest.mark.parametrize("name", checks.implementations("detection_loss"))
def test_gaussians_are_handed_on_with_gradient(name: str) -> None:
    data = scene()
    with backend(name):
        found = data.call()
        (found.mu.sum() * 3 + (found.sigma * found.mu.detach()).sum()).backward()
    mu, sigma = data.raw_mu.detach().double().requires_grad_(), data.raw_sigma.detach().double().requires_grad_()
    form = data.gaussians()
    centre = torch.tensor(form.mu_init).double() + form.mu_scale * torch.atan(mu / form.mu_scale)
    scale = torch.where(sigma < 0, *form.sigma_scales).double()
    width = torch.exp(scale * torch.atan(sigma / scale))
    torch.testing.assert_close(found.mu.detach().double(), centre.detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.sigma.detach().double(), width.detach(), rtol=1e-6, atol=1e-6)
    (centre.sum() * 3 + (width * centre.detach()).sum()).backward()
    for raw, wanted in ((data.raw_mu, mu), (data.raw_sigma, sigma)):
        assert raw.grad is not None and wanted.grad is not None
        torch.testing.assert_close(raw.grad.double(), wanted.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.segments_finest, data.targets.segments)


def test_gradients_are_those_of_the_values() -> None:
    data = scene(3, 16, torch.float64, (2, 1))

    def cls_and_loc(logits: Tensor, offsets: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
        found = data._replace(logits=logits, offsets=offsets, raw_mu=mu, raw_sigma=sigma).call(location_weight=2.0)
        return found.cls + 2 * found.loc

    assert torch.autograd.gradcheck(cls_and_loc, (data.logits, data.offsets, data.raw_mu, data.raw_sigma))

    def mean_square(quality: Tensor) -> Tensor:  # h takes the quality as a constant
        return data._replace(quality=quality).call().sensitivity

    assert torch.autograd.gradcheck(mean_square, (data.quality,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_registration(dtype: torch.dtype) -> None:
    def cast(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            return value.detach().to(dtype).requires_grad_(value.requires_grad)
        return value

    given = Operands(*map(cast, examples.arguments("detection_loss")))
    assert isinstance(op := torch.ops.asl_fast.detection_loss.default, torch._ops.OpOverload)
    assert set(torch.library.opcheck(op, given).values()) == {"SUCCESS"}
    plain = given._replace(**WITHOUT_ASL, need_predicted_quality=False)
    assert set(torch.library.opcheck(op, plain).values()) == {"SUCCESS"}
    unneeded = plain._replace(need_logits=False, need_offsets=False)
    assert set(torch.library.opcheck(op, unneeded, test_utils="test_faketensor").values()) == {"SUCCESS"}
    if dtype == torch.float32:
        backward = torch.ops.asl_fast.detection_loss_backward.default
        given = examples.arguments("detection_loss_backward")
        assert set(torch.library.opcheck(backward, given).values()) == {"SUCCESS"}


def test_compiles_without_a_graph_break() -> None:
    data = scene()
    others = data[5:]  # torch 2.6 cannot trace the slice of a named tuple

    def total(*leaves: Tensor) -> Tensor:
        found = Scene(*leaves, *others).call(momentum=0.9)
        return found.total + found.mu.sum() + found.cls

    checks.compiles(total, *data[:5])


def test_half_precision_and_any_layout() -> None:
    data = scene()

    def total(logits: Tensor, offsets: Tensor, quality: Tensor) -> Tensor:
        return data._replace(logits=logits, offsets=offsets, quality=quality).call().total

    checks.half_precision(total, *data[:3])
    checks.any_layout(total, *data[:3])


@pytest.mark.parametrize("name", checks.implementations("detection_loss"))
def test_nothing_to_find(name: str) -> None:
    data = scene(counts=(0, 0))
    with backend(name):
        found = data.call(momentum=0.9)
        found.total.backward()
    assert found.num_positives.item() == 0 and found.normalizer.item() == pytest.approx(81.1)
    assert found.loc.item() == found.sensitivity.item() == 0 and found.total.item() == found.cls.item() > 0
    for leaf in data[1:5]:
        assert leaf.grad is not None and torch.count_nonzero(leaf.grad) == 0
    assert data.logits.grad is not None and bool((data.logits.grad != 0).any(-1)[data.mask].all())


@pytest.mark.parametrize("name", checks.implementations("detection_loss"))
def test_what_lies_under_the_mask_does_not_matter(name: str) -> None:
    data = scene()
    with torch.no_grad(), backend(name):
        expected = data.call()
        for tensor in data[:3]:
            tensor[~data.mask] = torch.nan
        for one, other in zip(data.call(), expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("name", checks.implementations("detection_loss"))
def test_padded_instances_take_no_part(name: str) -> None:
    data = scene()
    segments, labels, video_offsets = data.targets
    rows = torch.tensor([[0.0, 20.0], [3.0, 9.0], [torch.nan, 1.0]])
    targets = RaggedTargets(torch.cat([segments, rows]), torch.cat([labels, torch.tensor([1, -7, 99])]), video_offsets)
    with backend(name):
        expected, found = data.call(momentum=0.9), data._replace(targets=targets).call(momentum=0.9)
        for one, other in zip(gradients(data, found.total), gradients(data, expected.total), strict=True):
            assert torch.equal(one, other)
    assert found.segments_finest.shape == (len(segments) + 3, 2)
    found = found._replace(segments_finest=found.segments_finest[: len(segments)])
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_positives_are_those_of_the_assignment() -> None:
    data = scene()
    assigned = assign_points(data.points, data.targets, 5)
    assert data.call().num_positives.item() == int((assigned.positive & data.mask).sum()) > 10
    assert bool((assigned.class_targets.sum(-1) > 1).any()), "the scene has instances that tie"


def test_errors_name_the_argument() -> None:
    data = scene()
    common = (data.points, data.targets, torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"offsets must be \(2, 56, 2\)"):
        detection_loss(data.logits, data.offsets[:, :5], data.mask, *common)
    with pytest.raises(TypeError, match="mask must be bool"):
        detection_loss(data.logits, data.offsets, data.mask.int(), *common)
    with pytest.raises(ValueError, match=r"predicted_quality must be \(2, 56, 1\)"):
        detection_loss(data.logits, data.offsets, data.mask, *common, predicted_quality=data.quality, branches=("cls",))
    with pytest.raises(ValueError, match="'box'"):
        data.call(branches=("box",))
    with pytest.raises(ValueError, match=r"gaussians.mu must be \(5, 3\)"):
        data._replace(raw_mu=data.raw_mu[:3]).call()
    with pytest.raises(ValueError, match=r"labels must lie in \[0, 4\], got 9 to 9"):
        targets = RaggedTargets(torch.tensor([[1.0, 9.0]]), torch.tensor([9]), torch.tensor([0, 1, 1]))
        data._replace(targets=targets).call()
    with pytest.raises(TypeError, match="labels must be int64"):
        data._replace(targets=data.targets._replace(labels=data.targets.labels.int())).call()
    with pytest.raises(ValueError, match=r"none of them 0, got \(2, 0, 5\)"):
        detection_loss(data.logits[:, :0], data.offsets, data.mask, *common)
