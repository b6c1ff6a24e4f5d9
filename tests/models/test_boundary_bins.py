# SPDX-License-Identifier: Apache-2.0
"""Distances as expectations over positions: the formula point by point, and its gradient."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from asl_fast.layers.joined_levels import join_levels
from asl_fast.models.boundary_bins import BoundaryDistributionHead
from asl_fast.models.config import DetectorConfig
from asl_fast.models.detector import ActionDetector
from asl_fast.models.heads import squareplus
from tests.models.test_detector import SMALL, build

BINS = 5
CONFIG = replace(SMALL, offset_bins=BINS)


def head_of(config: DetectorConfig) -> BoundaryDistributionHead:
    head = build(config).regression_head
    assert isinstance(head, BoundaryDistributionHead)
    return head


def spelled_out(likely: torch.Tensor, expected: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """Compute the distances (T, 2) of one level from its responses (T, 2) and (T, 2 * (BINS + 1)), point by point."""
    length = len(likely)
    found = []
    for t in range(length):
        for side, sign in enumerate((-1, 1)):
            scores = []
            for b in range(BINS + 1):
                at = t + sign * b
                response = likely[at, side] if 0 <= at < length else likely.new_zeros(())
                # Channels come in the order of time.
                channel = BINS - b if side == 0 else b
                scores.append(response + expected[t, side * (BINS + 1) + channel])
            shares = torch.stack(scores).softmax(0)
            found.append(factor * sum(b * share for b, share in enumerate(shares)))
    return torch.stack(found).view(length, 2)


@pytest.mark.parametrize("lengths", [(12, 6, 3), (4, 2, 1)])
def test_distances_are_their_formula_on_every_level(lengths: tuple[int, ...]) -> None:
    head = head_of(CONFIG)
    generator = torch.Generator().manual_seed(0)
    levels = [torch.randn(2, length, 16, generator=generator, dtype=torch.float64) for length in lengths]
    masks = [torch.arange(length) < torch.tensor([[length], [-(-length // 2)]]) for length in lengths]
    joined = join_levels(levels, masks, 1)
    with torch.no_grad():
        together = joined.split(head(joined))
        for level, (x, mask) in enumerate(zip(levels, masks, strict=True)):
            alone = join_levels([x], [mask], 1)
            likely, expected = head.boundaries(alone), head.tower(alone)
            factor = squareplus(head.scales[level]())
            for row in range(2):
                wanted = spelled_out(likely[row], expected[row], factor) * mask[row, :, None]
                torch.testing.assert_close(together[level][row], wanted, rtol=1e-12, atol=1e-12)


def test_every_part_is_trained_and_none_can_die() -> None:
    detector = build(CONFIG)
    output = detector(torch.randn(2, 16, 10, dtype=torch.float64), torch.ones(2, 16, dtype=torch.bool))
    output.joined_offsets.square().sum().backward()
    head = detector.regression_head
    assert isinstance(head, BoundaryDistributionHead)
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and bool((parameter.grad != 0).any()), name
    with torch.no_grad():  # factors below 0, where a ReLU would give up
        for scale in head.scales:
            scale.scale.fill_(-5.0)
    output = detector(torch.randn(2, 16, 10, dtype=torch.float64), torch.ones(2, 16, dtype=torch.bool))
    assert (output.joined_offsets[output.joined_mask] > 0).all()
    (slope,) = torch.autograd.grad(output.joined_offsets.sum(), head.scales[0].scale)
    assert slope > 0


def test_distances_start_amid_the_ranges() -> None:
    torch.manual_seed(0)
    detector = ActionDetector(replace(SMALL, num_levels=4, offset_bins=16))
    with torch.no_grad():
        output = detector(torch.randn(1, 128, 10), torch.ones(1, 128, dtype=torch.bool))
    for offsets in output.offsets[:3]:
        assert 1.0 < float(offsets.mean()) < 5.0


def test_no_instances_and_bfloat16() -> None:
    detector = ActionDetector(CONFIG)
    with torch.autocast("cpu", torch.bfloat16):
        output = detector(torch.randn(1, 8, 10), torch.zeros(1, 8, dtype=torch.bool))
        assert not output.joined_offsets.any()
        output = detector(torch.randn(1, 8, 10), torch.ones(1, 8, dtype=torch.bool))
    assert torch.isfinite(output.joined_offsets).all() and (output.joined_offsets[output.joined_mask] > 0).all()
