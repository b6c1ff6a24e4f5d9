# SPDX-License-Identifier: Apache-2.0
"""What a reciprocal that NVIDIA's ``rcp.approx.f32`` rounds wrongly by one unit does to losses, gradients and IoUs.

The instruction is right to one unit in the last place (PTX ISA, "rcp"). Here a reciprocal is computed exactly and moved
by that unit, always up, always down, or one way or the other from number to number, so that every result is as far away
as it can be; then it is held against float64.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton", minversion="3.5")

import triton
import triton.language as tl
from asl_fast.kernels import _launch, segment_iou, sensitivity_focal_loss
from asl_fast.kernels import detection_loss as detection

from asl_fast.reference import segment_iou as iou_reference
from asl_fast.reference.segment_iou import Operands
from asl_fast.reference.sensitivity_focal_loss import sensitivity_focal_loss as focal_reference
from tests.kernels.loss_checks import focal_operands, widened
from tests.kernels.test_detection_loss import compare, operands, reference, scene

pytestmark = pytest.mark.skipif(not _launch.INTERPRETED, reason="a GPU has the instruction itself")

UNIT = 2.0**-23  # the last place of a float32, relative, at most


@triton.jit
def up(x):
    return (1.0 / x).to(tl.int32, bitcast=True) + 1


@triton.jit
def down(x):
    return (1.0 / x).to(tl.int32, bitcast=True) - 1


@triton.jit
def either(x):
    return (1.0 / x).to(tl.int32, bitcast=True) + 2 * ((x.to(tl.int32, bitcast=True) >> 3) & 1) - 1


MOVED = {"up": up, "down": down, "either": either}
moved = up


@triton.jit
def moved_inverse_of_sum(e, APPROXIMATE: tl.constexpr):
    return moved(e + 1.0).to(tl.float32, bitcast=True)


@triton.jit
def moved_quotient(a, length, APPROXIMATE: tl.constexpr):
    return a * moved(length + 1.1754943508222875e-38).to(tl.float32, bitcast=True)


@pytest.fixture(params=list(MOVED), autouse=True)
def wrong_by_a_unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "moved", MOVED[request.param])
    monkeypatch.setattr(sensitivity_focal_loss, "inverse_of_sum", moved_inverse_of_sum)
    monkeypatch.setattr(segment_iou, "quotient", moved_quotient)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("target", [-1, 0])
def test_focal_loss_of_a_class(gamma: float, target: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three factors are off by a unit each, and five roundings by half a unit may fall otherwise: 8 units at most.

    With the exponential, whose argument is rounded and may be 28, and some 20 roundings, results are off by 6e-6.
    """
    given = focal_operands(torch.linspace(-28, 28, 2001)[:, None], torch.full((2001,), target), gamma=gamma)
    found, expected = sensitivity_focal_loss.sensitivity_focal_loss(given), focal_reference(widened(given))
    monkeypatch.undo()
    exact = sensitivity_focal_loss.sensitivity_focal_loss(given)
    for name in ("loss", "grad_logits"):
        one, other, right = (getattr(outputs, name).double() for outputs in (found, exact, expected))
        assert not torch.equal(one, other)
        assert ((one - other) / right).abs().max() <= 8 * UNIT
        assert ((one - right) / right).abs().max() <= 7e-6


def test_focal_loss_of_soft_targets() -> None:
    """Within what the tests of that loss allow."""
    generator = torch.Generator().manual_seed(0)
    given = focal_operands(4 * torch.randn(150, 21, generator=generator), torch.rand(150, 21, generator=generator))
    found, expected = sensitivity_focal_loss.sensitivity_focal_loss(given), focal_reference(widened(given))
    torch.testing.assert_close(found.loss.double(), expected.loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.grad_logits.double(), expected.grad_logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_detection_loss(label_smoothing: float) -> None:
    """Every result within what the tests of that loss allow."""
    given = operands(scene(20, 24), torch.float32, label_smoothing=label_smoothing)
    found = detection.detection_loss(given)
    names = ("logits", "offsets", "predicted_quality", "raw_mu", "raw_sigma")
    compare(found, reference.detection_loss(given._replace(**{name: getattr(given, name).double() for name in names})))


@pytest.mark.parametrize("distance", [False, True])
def test_iou(distance: bool) -> None:
    """Two units of a quotient of at most 1, and one for the difference of two."""
    generator = torch.Generator().manual_seed(0)
    start, length = torch.rand(2, 60, generator=generator)
    segments = torch.stack((start, start + length), -1)
    given = Operands(a=segments[:30], b=segments[30:], aligned=False, distance=distance)
    found = segment_iou.segment_iou(given).iou
    expected = iou_reference.segment_iou(given._replace(a=given.a.double(), b=given.b.double())).iou
    assert UNIT / 2 < (found.double() - expected).abs().max() <= 3 * UNIT
