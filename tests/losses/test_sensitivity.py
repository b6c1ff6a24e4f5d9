# SPDX-License-Identifier: Apache-2.0
"""The Action Sensitivity Evaluator's two levels and the small functions around them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from asl_fast.losses.sensitivity import (
    MU_INIT,
    ClassGaussians,
    InstanceEvaluator,
    profile_misfit,
)
from asl_fast.ops.quality import offset_iou


@given(st.floats(-1e6, 1e6), st.floats(0.1, 5.0), st.floats(0.1, 5.0))
def test_any_parameter_is_inside_the_bounds_and_keeps_its_gradient(raw: float, below: float, above: float) -> None:
    gaussians = ClassGaussians(1, mu_bound=above, sigma_min=math.exp(-below), sigma_max=math.exp(above))
    with torch.no_grad():
        gaussians.mu_bias.fill_(raw)
    centre = gaussians.mu[0, 0]
    assert -above < centre.item() < above
    (gradient,) = torch.autograd.grad(centre, gaussians.mu_bias)
    assert 0 < gradient[0, 0].item() <= 1

    gaussians.double()  # the logarithm of a width in float32 has an error as large as the margin
    with torch.no_grad():
        gaussians.sigma_bias.fill_(raw)
    log_width = gaussians.sigma.log()[0, 0]
    assert -below < log_width.item() < above
    (gradient,) = torch.autograd.grad(log_width, gaussians.sigma_bias)
    assert 0 < gradient[0, 0].item() <= 1


def test_gaussians_start_at_the_papers_values_with_full_gradient() -> None:
    gaussians = ClassGaussians(4)
    assert torch.equal(gaussians.mu, torch.tensor(MU_INIT).expand(4, 3))
    assert torch.equal(gaussians.sigma, torch.ones(4, 3))
    for value, raw in ((gaussians.mu, gaussians.mu_bias), (gaussians.sigma, gaussians.sigma_bias)):
        (gradient,) = torch.autograd.grad(value.sum(), raw)
        assert torch.equal(gradient, torch.ones(4, 3))


@pytest.mark.parametrize("lr", [1e-2, 1.0])
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_gaussians_stay_in_bounds_and_come_back_from_them(sign: float, lr: float) -> None:
    gaussians = ClassGaussians(2, mu_bound=0.5, sigma_min=0.1, sigma_max=5.0)
    optimizer = torch.optim.Adam(gaussians.parameters(), lr=lr)

    def push(direction: float, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            (direction * (gaussians.mu.sum() + gaussians.sigma.sum())).backward()
            optimizer.step()

    def check() -> None:
        assert ((gaussians.mu - torch.tensor(MU_INIT)).abs() < 0.5).all()
        assert ((gaussians.sigma > 0.1) & (gaussians.sigma < 5.0)).all()

    push(sign, 1000)
    check()
    far = gaussians.mu.detach().clone()
    push(-sign, 1500)
    check()
    assert (sign * (gaussians.mu - far) > 0.5).all()


def test_gaussians_forward() -> None:
    gaussians = ClassGaussians(3)
    with torch.no_grad():
        gaussians.mu_bias.normal_(generator=torch.Generator().manual_seed(0))
        gaussians.sigma_bias.normal_(generator=torch.Generator().manual_seed(1))
    distance, labels = torch.tensor([[-0.4, 0.1]], dtype=torch.float64), torch.tensor([[2, 0]])
    for kind, p in enumerate(gaussians(distance, labels)):
        for i in range(2):
            mu, sigma = gaussians.mu[labels[0, i], kind].item(), gaussians.sigma[labels[0, i], kind].item()
            wanted = math.exp(-((distance[0, i].item() - mu) ** 2) / (2 * sigma**2))
            assert p[0, i].item() == pytest.approx(wanted, rel=1e-12)


def test_gaussians_reject_impossible_bounds() -> None:
    with pytest.raises(ValueError, match=r"got 2\.0, 1\.0, 5\.0"):
        ClassGaussians(2, sigma_min=2.0)
    with pytest.raises(ValueError, match="mu_bound"):
        ClassGaussians(2, mu_bound=0.0)
    with pytest.raises(ValueError, match="num_classes"):
        ClassGaussians(0)


def levels(dtype: torch.dtype = torch.float32) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    g = torch.Generator().manual_seed(0)
    lengths = [[12, 7], [6, 4], [3, 1]]
    masks = [torch.arange(max(n)) < torch.tensor(n)[:, None] for n in lengths]
    return [torch.randn(2, max(n), 16, generator=g).to(dtype) for n in lengths], masks


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_evaluator_is_a_padded_convolution_on_every_level(kernel_size: int) -> None:
    torch.manual_seed(0)
    evaluator = InstanceEvaluator(16, hidden_dim=8, kernel_size=kernel_size)
    features, masks = levels()
    quality = evaluator(features, masks)
    assert quality.shape == (2, 21, 2)
    begin = 0
    for level, mask in zip(features, masks, strict=True):
        hidden = F.conv1d(
            (level * mask[..., None]).transpose(1, 2),
            evaluator.conv.weight,
            evaluator.conv.bias,
            padding=kernel_size // 2,
        ).relu()
        for branch, output in enumerate(evaluator.outputs):
            wanted = torch.sigmoid(output(hidden[:, 8 * branch : 8 * branch + 8].transpose(1, 2)))[..., 0] * mask
            torch.testing.assert_close(quality[:, begin : begin + level.shape[1], branch], wanted)
        begin += level.shape[1]


def test_evaluator_ignores_masked_features() -> None:
    evaluator = InstanceEvaluator(16)
    features, masks = levels()
    poisoned = [torch.where(mask[..., None], level, torch.nan) for level, mask in zip(features, masks, strict=True)]
    assert torch.equal(evaluator(poisoned, masks), evaluator(features, masks))


def test_evaluator_rejects_an_even_kernel() -> None:
    with pytest.raises(ValueError, match="kernel_size odd"):
        InstanceEvaluator(16, kernel_size=4)


def test_offset_iou_by_hand() -> None:
    predicted = torch.tensor([[2.0, 2.0], [1.0, 0.0], [0.0, 0.0], [0.0, 3.0]])
    target = torch.tensor([[1.0, 3.0], [1.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    assert offset_iou(predicted, target).tolist() == pytest.approx([3 / 5, 1.0, 0.0, 0.0])


def test_profile_misfit_ignores_level_and_amplitude() -> None:
    g = torch.Generator().manual_seed(0)
    inside = torch.rand(2, 40, generator=g) < 0.9
    instance, label = torch.arange(80).view(2, 40) // 10, torch.arange(80).view(2, 40) // 40
    p = torch.rand(2, 40, generator=g, dtype=torch.float64, requires_grad=True)
    level, amplitude = torch.rand(8, generator=g)[instance], torch.tensor([0.3, 2.0])[label]

    def misfit(quality: torch.Tensor) -> torch.Tensor:
        return profile_misfit(p, quality, inside, instance, label, 8, 2)

    # p explains everything but for the constant that keeps the fit defined.
    assert misfit(level + amplitude * p).item() == pytest.approx(0.0, abs=1e-3)
    assert misfit(level - amplitude * p).item() == pytest.approx(2.0, abs=1e-3)
    assert misfit(torch.rand(2, 40, generator=g)).item() > 0.8
    constant = misfit(level)
    assert constant.item() == pytest.approx(0.0, abs=1e-12)
    (gradient,) = torch.autograd.grad(constant, p)
    assert gradient.isfinite().all()


def test_profile_misfit_fits_each_profile_by_itself() -> None:
    g = torch.Generator().manual_seed(0)
    instance, label = torch.arange(80).view(2, 40) // 10, torch.arange(80).view(2, 40) // 40
    p, quality = (torch.rand(3, 2, 40, generator=g, dtype=torch.float64) for _ in range(2))
    inside = torch.rand(3, 2, 40, generator=g) < 0.7
    inside[2] = False
    together = profile_misfit(p, quality, inside, instance, label, 8, 2)
    one_by_one = [profile_misfit(*each, instance, label, 8, 2) for each in zip(p, quality, inside, strict=True)]
    torch.testing.assert_close(together, torch.stack(one_by_one), rtol=1e-12, atol=0)
    assert together[2] == 0


def test_profile_misfit_recovers_a_planted_gaussian() -> None:
    """The quality's level varies between instances and its amplitude is small: p must still find the place."""
    g = torch.Generator().manual_seed(0)
    classes, instances, points = 6, 120, 14
    label = (torch.arange(instances) % classes)[:, None].expand(-1, points)
    mu, sigma = torch.linspace(-0.35, 0.35, classes), torch.tensor([0.15, 0.4, 0.2, 0.3, 0.12, 0.25])
    distance = torch.rand(instances, points, generator=g) - 0.5
    shape = torch.exp(-((distance - mu[label]) ** 2) / (2 * sigma[label] ** 2))
    quality = 0.4 * torch.rand(instances, 1, generator=g) + 0.3 * shape + 0.05 * torch.randn(shape.shape, generator=g)
    instance = torch.arange(instances)[:, None].expand(-1, points)
    gaussians = ClassGaussians(classes)
    optimizer = torch.optim.Adam(gaussians.parameters(), lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        p_cls, _, _ = gaussians(distance, label)
        everywhere = torch.ones_like(instance, dtype=torch.bool)
        profile_misfit(p_cls, quality, everywhere, instance, label, instances, classes).backward()
        optimizer.step()
    assert (gaussians.mu[:, 0] - mu).abs().max() < 0.05
    assert (gaussians.sigma[:, 0] / sigma).log().abs().max() < 0.3
