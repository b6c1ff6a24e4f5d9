# SPDX-License-Identifier: Apache-2.0
"""Times of any size and values at the ends of the number range: precision is kept, and the reference is followed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from asl_fast import (
    RaggedTargets,
    assign_points,
    backend,
    contrastive_similarity_loss,
    diou_loss,
    segment_diou,
    segment_iou,
    segment_iou_ragged,
    sensitivity_focal_loss,
)
from asl_fast.ops.detection_loss import detection_loss
from asl_fast.ops.local_attention import local_attention
from tests.ops import checks

LABELS, BOUNDS = torch.tensor([0, 1, 0, 2, 1, 0]), torch.tensor([0, 4, 6])
SEGMENTS = torch.tensor([[1.0, 9], [10, 20], [2, 8.25], [12.5, 25], [0, 30], [4, 4.5]], dtype=torch.float64)
EXTREMES = (0.0, 5e-324, 1e-310, 1e-45, 1e-40, 1.2e-38, 1e19, 1e38, 1e300, math.inf, -math.inf, -1e-40, math.nan)


def points(unit: float) -> Tensor:
    """Two videos of 80 moments, half a second apart; distances stay in strides."""
    times = torch.arange(80, dtype=torch.float64) / 2 * unit
    return torch.stack(
        (times, torch.zeros(80), torch.full((80,), 1e6 * unit), torch.full((80,), 0.5 * unit)), -1
    ).double()


def at(times: Tensor, since: float) -> Tensor:
    """Points whose first column counts from another moment."""
    return torch.cat((times[:, :1] + since, times[:, 1:]), 1)


def _assigned(segments: Tensor, since: float, unit: float) -> Sequence[Tensor]:
    return assign_points(at(points(unit), since), RaggedTargets(segments, LABELS, BOUNDS), 3)


def _detection_loss(segments: Tensor, since: float, unit: float) -> Sequence[Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 80, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    offsets = torch.rand(2, 80, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    targets, valid = RaggedTargets(segments, LABELS, BOUNDS), torch.ones(2, 80, dtype=torch.bool)
    result = detection_loss(
        logits, offsets, valid, at(points(unit), since), targets, torch.tensor(9.0, dtype=torch.float64)
    )
    return [result.total.detach(), result.num_positives, *torch.autograd.grad(result.total, (logits, offsets))]


TIMED: dict[str, Callable[[Tensor, float, float], Sequence[Tensor]]] = {
    "segment_iou": lambda segments, since, unit: [segment_iou(segments, segments)],
    "segment_diou": lambda segments, since, unit: [segment_diou(segments, segments)],
    "segment_iou_ragged": lambda segments, since, unit: [segment_iou_ragged(segments, segments, BOUNDS, BOUNDS).values],
    "assign_points": _assigned,
    "detection_loss": _detection_loss,
}


@pytest.mark.parametrize("name", ["cpu", "reference"])
@pytest.mark.parametrize(("since", "unit"), [(1.7e9, 1.0), (1.7e15, 4.0)], ids=["Unix seconds", "Unix microseconds"])
@pytest.mark.parametrize("op", TIMED)
def test_times_since_1970_give_the_bits_of_times_since_zero(op: str, since: float, unit: float, name: str) -> None:
    """Quarters of a second and whole microseconds are exact in float64, however large."""
    segments = SEGMENTS * unit
    with backend(name):
        for found, expected in zip(
            TIMED[op](segments + since, since, unit), TIMED[op](segments, 0.0, unit), strict=True
        ):
            assert torch.equal(found, expected) and float(expected.double().abs().sum()) > 0


def _values(number: int, dtype: torch.dtype, extreme: float) -> Tensor:
    """Ordinary numbers between 0 and 1 in which one in seven is the extreme one."""
    drawn = torch.rand(number, generator=torch.Generator().manual_seed(1)).to(dtype)
    drawn[3::7] = torch.tensor(extreme, dtype=torch.float64).to(dtype)
    return drawn


def _attention(x: Tensor) -> Tensor:
    spread = x.reshape(1, 2, 30, 4)
    usual = torch.linspace(-1, 1, 240, dtype=x.dtype).reshape(1, 2, 30, 4)
    return local_attention(usual, usual.flip(2), spread, torch.ones(1, 30, dtype=torch.bool), window=5)


def _contrastive(x: Tensor) -> Tensor:
    targets = RaggedTargets(SEGMENTS[:4].to(x.dtype), LABELS[:4] % 2, torch.tensor([0, 2, 4]))
    mu, sigma = torch.full((2, 3), 0.1, dtype=x.dtype), torch.full((2, 3), 0.5, dtype=x.dtype)
    return contrastive_similarity_loss(x.reshape(2, 30, 4), torch.ones(2, 30, dtype=torch.bool), targets, mu, sigma)


def _gaussians(x: Tensor) -> Tensor:
    targets = RaggedTargets(SEGMENTS[:4].to(x.dtype), LABELS[:4] % 2, torch.tensor([0, 2, 4]))
    features = torch.linspace(-1, 1, 240, dtype=x.dtype).reshape(2, 30, 4).sin()
    return contrastive_similarity_loss(
        features, torch.ones(2, 30, dtype=torch.bool), targets, x[:6].reshape(2, 3), x[:6].flip(0).reshape(2, 3)
    )


VALUED: dict[str, Callable[[Tensor], Tensor]] = {
    "diou_loss": lambda x: diou_loss(x.reshape(-1, 2).abs(), x.flip(0).reshape(-1, 2).abs()),
    "sensitivity_focal_loss": lambda x: sensitivity_focal_loss(
        x.reshape(-1, 4), (x.detach() > 0.5).to(x).reshape(-1, 4)
    ),
    "local_attention": _attention,
    "contrastive_similarity": _contrastive,
    "contrastive_similarity, Gaussians": _gaussians,
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", VALUED)
def test_denormal_and_infinite_values_follow_the_reference(op: str, dtype: torch.dtype) -> None:
    """NaN and infinity stand in the same places, all else agrees up to rounding; or the same words refuse it.

    A loss that is NaN has slopes of no meaning, which are not compared.
    """
    finite = 0
    for extreme in EXTREMES:
        outcomes = []
        for name in ("cpu", "reference"):
            with backend(name):
                try:
                    value, grads = checks.value_and_grads(VALUED[op], _values(240, dtype, extreme).requires_grad_())
                    outcomes.append([value] if value.isnan().all() else [value, *grads])
                except ValueError as error:
                    outcomes.append([str(error)])
        for found, expected in zip(*outcomes, strict=True):
            if isinstance(found, str):
                assert found == expected
            else:
                tolerance = 2e-5 if dtype == torch.float32 else 1e-9
                torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance / 2, equal_nan=True)
                finite += bool(found.isfinite().all())
    assert finite >= len(EXTREMES) // 2
