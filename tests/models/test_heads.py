# SPDX-License-Identifier: Apache-2.0
"""Boundary distances are positive, start at a sensible size, and always let a gradient through."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from asl_fast.models.config import DetectorConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.models.heads import SOFTNESS, squareplus
from asl_fast.training.presets import BENCHMARK_PRESETS

SMALL = DetectorConfig(feature_dim=10, num_classes=3, width=16, num_levels=3, num_heads=2, attention_windows=(5,))
RELU = replace(SMALL, offset_activation="relu")


def batch(detector: ActionDetector) -> tuple[torch.Tensor, torch.Tensor]:
    features = torch.randn(2, 16, detector.config.feature_dim, generator=torch.Generator().manual_seed(1))
    return features, torch.arange(16) < torch.tensor([[16], [11]])


def with_dead_relu(config: DetectorConfig, bias: float) -> ActionDetector:
    """Make a detector whose offset head gives so negative a number at every point."""
    torch.manual_seed(0)
    detector = ActionDetector(config)
    output = detector.regression_head.tower.output
    assert output.bias is not None
    with torch.no_grad():
        output.bias.fill_(bias)
    return detector


def test_squareplus_is_its_formula() -> None:
    x = torch.cat(
        [torch.linspace(-30, 30, 1201, dtype=torch.float64), torch.tensor([0.0, -1e-9, 1e-9, -1e4, 1e4]).double()]
    )
    x.requires_grad_()
    y = squareplus(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    near = x.abs() < 100
    torch.testing.assert_close(y[near], ((x + torch.sqrt(x * x + 4 * SOFTNESS**2)) / 2)[near], rtol=1e-10, atol=0)
    torch.testing.assert_close(y * (y - x), torch.full_like(x, SOFTNESS**2), rtol=1e-6, atol=0)
    away = x != 0
    torch.testing.assert_close(slope[away], (y / (2 * y - x))[away], rtol=1e-10, atol=0)
    assert (slope[~away] == 1.0).all() and not away.all()
    assert torch.autograd.gradcheck(squareplus, (torch.linspace(-3, 3, 12, dtype=torch.float64, requires_grad=True),))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_squareplus_has_a_gradient_everywhere(dtype: torch.dtype) -> None:
    x = torch.tensor([-1e6, -1e4, -300.0, -20.0, -1.0, 0.0, 1.0, 20.0, 1e4, 1e6], dtype=dtype, requires_grad=True)
    y = squareplus(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert (y > 0).all() and (slope > 0).all() and torch.isfinite(y).all() and torch.isfinite(slope).all()
    far = (SOFTNESS / x[:4].double()) ** 2
    torch.testing.assert_close(slope[:4].double(), far, rtol=0.05, atol=0)
    assert (slope[:4].double() > F.softplus(x[:4].double()).clamp(max=1e-9)).all(), "slower than an exponential"
    assert squareplus(x.new_tensor([float("nan")])).isnan().all() and squareplus(x.new_zeros(0, 2)).shape == (0, 2)


@pytest.mark.parametrize("bias", [-5.0, -1000.0])
def test_no_state_is_without_gradient(bias: float) -> None:
    """Where a ReLU has closed for good, training goes on."""
    for config, lives in ((RELU, False), (SMALL, True)):
        detector = with_dead_relu(config, bias)
        output = detector(*batch(detector))
        offsets = output.joined_offsets[output.joined_mask]
        assert lives == bool((offsets > 0).any())
        inside = detector.regression_head.tower.output
        gradients = torch.autograd.grad(offsets.sum(), [inside.weight, inside.bias], retain_graph=True)
        assert all(lives == bool((g != 0).all()) for g in gradients)
        for level in range(config.num_levels):  # of each point alone, and of both boundaries
            for point in output.offsets[level][output.masks[level]]:
                for distance in point:
                    (slope,) = torch.autograd.grad(distance, inside.bias, retain_graph=True)
                    assert lives == bool((slope != 0).any())


@pytest.mark.parametrize(("config", "recovers"), [(RELU, False), (SMALL, True)])
def test_a_closed_head_opens_again(config: DetectorConfig, recovers: bool) -> None:
    detector = with_dead_relu(config, -5.0)
    features, mask = batch(detector)
    optimizer = torch.optim.AdamW(detector.regression_head.parameters(), lr=1e-2)
    for _ in range(150):
        output = detector(features, mask)
        error = (output.joined_offsets[output.joined_mask] - 2.5).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert (error.item() < 0.5) == recovers
    assert recovers or error.item() == 2.5


@pytest.mark.parametrize("blocks", [0, 1])
def test_heads_with_blocks_of_their_own_share_the_backbone_alone(blocks: int) -> None:
    detector = ActionDetector(replace(SMALL, head_blocks=blocks, fpn=True))
    output = detector(*batch(detector))
    names = [name for name, _ in detector.named_parameters()]
    moved = []
    for outcome in (output.joined_logits, output.joined_offsets):
        slopes = torch.autograd.grad(outcome.sum(), list(detector.parameters()), retain_graph=True, allow_unused=True)
        moved.append({name.split(".")[0] for name, slope in zip(names, slopes, strict=True) if slope is not None})
    assert moved[0] & moved[1] == ({"backbone"} if blocks else {"backbone", "neck"})
    assert {name.split(".")[0] for name in names} == moved[0] | moved[1], "every part is used"


def test_padding_has_no_distance() -> None:
    detector = ActionDetector(SMALL)
    output = detector(*batch(detector))
    assert not output.joined_offsets[~output.joined_mask].any()
    assert (output.joined_offsets[output.joined_mask] > 0).all()


@pytest.mark.parametrize("name", [*BENCHMARK_PRESETS, "one unbounded level", "tiny ranges"])
def test_distances_start_amid_the_ranges(name: str) -> None:
    """Before the first step the larger distance lies where the levels look for instances, at most points of each."""
    if name in BENCHMARK_PRESETS:
        model = BENCHMARK_PRESETS[name]().model
        ranges = model.ranges_grid
        config = replace(SMALL, num_levels=model.num_levels, first_level=model.first_level, regression_ranges=ranges)
    elif name == "tiny ranges":
        config = replace(SMALL, num_levels=2, regression_ranges=((0.0, 0.1), (0.1, 0.2)))
    else:
        config = replace(SMALL, num_levels=1)
    torch.manual_seed(3)
    detector = ActionDetector(config)
    output = detector(torch.randn(1, 2 ** (config.num_levels + 3), 10), torch.ones(1, 2 ** (config.num_levels + 3)) > 0)
    for distances, points in zip(output.offsets, output.points, strict=True):
        largest = distances.amax(-1) * points[:, 3]
        if name == "tiny ranges":
            assert (largest > 0).all()
        else:
            amid = (largest >= points[:, 1] * 0.5) & (largest <= points[:, 2])
            assert amid.float().mean() > 0.5
