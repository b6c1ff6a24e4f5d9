# SPDX-License-Identifier: Apache-2.0
"""The detection loss on drawn operands: every quick implementation against the equations and the float64 reference."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast import RaggedTargets, backend
from asl_fast.ops.detection_loss import DetectionLoss
from tests.detection_scene import Scene, expected
from tests.drawing import draws
from tests.ops import checks

QUICK = [each for each in checks.implementations("detection_loss") if each.values[0] in ("reference", "cpu")]
CLASSES = 4
LOSSES = ("total", "cls", "loc", "sensitivity", "num_positives", "normalizer")

# Halves of a step: sums are exact, so that equal lengths, shared ends and ends of ranges hit alike in every precision.
halves = st.integers(-8, 72).map(lambda half: half / 2)
spans = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.5, 8.0, 16.0, 512.0, 65536.0])
instances = st.lists(st.tuples(halves, spans, st.integers(0, CLASSES - 1)), max_size=6)
options = st.fixed_dictionaries(
    {},
    optional={
        "p": st.just(False),
        "q": st.just(False),
        "normalize": st.booleans(),
        "label_smoothing": st.sampled_from([0.1]),
        "location_weight": st.sampled_from([0.0, 0.5]),
        "center_sampling_radius": st.sampled_from([None, 0.5]),
        "constant_weights": st.just((1.5, 2.25)),
        "branches": st.sampled_from([("cls",), ("loc",), ("loc", "cls")]),
        "momentum": st.just(0.75),
    },
)
PADDING = torch.tensor([[0.0, 5.0], [math.nan, 3.0], [1.0, math.inf]], dtype=torch.float64)


class Drawn(NamedTuple):
    """A call in float64, and where its instances stop: what follows is padding."""

    scene: Scene
    options: dict[str, Any]
    without_padding: RaggedTargets


@st.composite
def calls(draw: st.DrawFn) -> Drawn:
    """One to three videos on a pyramid of one to 35 steps, with rows of padding behind the instances or without."""
    videos = draw(st.lists(instances, min_size=1, max_size=3))
    length = draw(st.sampled_from([1, 2, 7, 32, 35]))
    levels = []
    for level, (low, high) in enumerate(((0.0, 8.0), (4.0, 16.0), (8.0, 1e5))):
        time = torch.arange(0, length, 2**level, dtype=torch.float64)
        levels.append(torch.stack([time, *(torch.full_like(time, v) for v in (low, high, 2.0**level))], -1))
    points = torch.cat(levels)
    plain = RaggedTargets.from_list(
        [
            (
                torch.tensor([[start, start + span] for start, span, _ in listed], dtype=torch.float64).reshape(-1, 2),
                torch.tensor([label for *_, label in listed], dtype=torch.int64),
            )
            for listed in videos
        ]
    )
    targets = plain
    if draw(st.booleans()):
        segments, labels = torch.cat([plain.segments, PADDING]), torch.cat([plain.labels, torch.tensor([1, -7, 99])])
        targets = plain._replace(segments=segments, labels=labels)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    rows = (len(videos), len(points))

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).float().double()

    mask = torch.rand(rows, generator=generator) < 0.9
    values = (
        normal(*rows, CLASSES) * draw(st.sampled_from([1.0, 30.0])),
        normal(*rows, 2).abs() * draw(st.sampled_from([0.25, 3.0, 4096.0])),
        torch.sigmoid(normal(*rows, 2)).float().double(),
    )
    # What lies under the mask is no number.
    hidden = [value.masked_fill(~mask[..., None], math.nan).requires_grad_() for value in values]
    raw = [normal(CLASSES, 3).requires_grad_() for _ in range(2)]
    return Drawn(Scene(*hidden, *raw, mask, points, targets), draw(options), plain)


def run(name: str, drawn: Drawn, dtype: torch.dtype) -> tuple[DetectionLoss, list[Tensor]]:
    """Return losses, and the gradients of what can be learned from them, computed in ``dtype``."""
    leaves = [leaf.detach().to(dtype).requires_grad_() for leaf in drawn.scene[:5]]
    targets = drawn.scene.targets._replace(segments=drawn.scene.targets.segments.to(dtype))
    data = Scene(*leaves, drawn.scene.mask, drawn.scene.points.to(dtype), targets)
    with backend(name):
        found = data.call(**drawn.options)
        learned = found.total + found.mu.sum() + found.sigma.sum()
        grads = torch.autograd.grad(learned, leaves, allow_unused=True, materialize_grads=True)
    return found, list(grads)


def check_close(found: Tensor, wanted: Tensor, relative: float, absolute: float) -> None:
    """Compare with an absolute tolerance in units of the largest number; what is NaN or infinite has to be alike."""
    finite = wanted[wanted.isfinite()].abs()
    size = max(1.0, float(finite.max())) if finite.numel() else 1.0
    torch.testing.assert_close(found.double(), wanted.double(), rtol=relative, atol=absolute * size, equal_nan=True)


def check_run(
    found: tuple[DetectionLoss, list[Tensor]],
    wanted: tuple[DetectionLoss, list[Tensor]],
    losses: tuple[float, float],
    gradients: tuple[float, float],
) -> None:
    """Compare what two runs gave; the tolerances are relative and absolute, as `check_close` takes them."""
    for field in LOSSES:
        check_close(getattr(found[0], field).detach(), getattr(wanted[0], field).detach(), *losses)
    for one, other in zip(found[1], wanted[1], strict=True):
        check_close(one, other, *gradients)


@pytest.mark.parametrize("name", QUICK)
@given(drawn=calls())
@settings(max_examples=draws(60), deadline=None)
def test_equals_the_equations(name: str, drawn: Drawn) -> None:
    found, _ = run(name, drawn, torch.float64)
    if not int(found.num_positives):
        assert found.loc.item() == found.sensitivity.item() == 0  # where the equations divide by 0
        return
    bare = drawn.scene._replace(targets=drawn.without_padding)
    if bool((bare.offsets.detach() == 0).all(-1).any()):
        return
    for field, wanted in zip(LOSSES, expected(bare, **drawn.options), strict=True):
        check_close(getattr(found, field).detach(), wanted.detach(), 1e-9, 1e-11)


@pytest.mark.parametrize("name", QUICK)
@given(drawn=calls())
@settings(max_examples=draws(60), deadline=None)
def test_float32_equals_the_float64_reference(name: str, drawn: Drawn) -> None:
    found = run(name, drawn, torch.float32)
    check_run(found, run("reference", drawn, torch.float64), losses=(5e-5, 5e-6), gradients=(1e-3, 2e-5))
    for gradient in found[1]:
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("name", QUICK)
@given(
    drawn=calls(),
    odd=st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1e300, 5e-324]),
    leaf=st.integers(0, 4),
    place=st.integers(0, 1 << 30),
)
@settings(max_examples=draws(60), deadline=None)
def test_what_is_no_number_follows_the_reference(name: str, drawn: Drawn, odd: float, leaf: int, place: int) -> None:
    values = drawn.scene[leaf].detach().clone()
    values.view(-1)[place % values.numel()] = odd
    spoilt = drawn._replace(scene=Scene(*(values if i == leaf else each for i, each in enumerate(drawn.scene))))
    found, wanted = (run(each, spoilt, torch.float64) for each in (name, "reference"))
    check_run(found, wanted, losses=(1e-9, 1e-11), gradients=(1e-9, 1e-11))


@pytest.mark.parametrize("name", [each for each in QUICK if each.values[0] != "reference"])
@given(
    drawn=calls(),
    odd=st.sampled_from([-1e38, 1e38, -3e38, 3e38, -1e20, 1e25, -1.0, 1e-45]),
    place=st.none() | st.integers(0, 1 << 30),
)
@settings(max_examples=draws(60), deadline=None)
def test_offsets_at_the_ends_of_float32_follow_the_reference(
    name: str, drawn: Drawn, odd: float, place: int | None
) -> None:
    values = drawn.scene.offsets.detach().clone()
    if place is None:
        values.fill_(odd)
    else:
        values.view(-1)[place % values.numel()] = odd
    spoilt = drawn._replace(scene=drawn.scene._replace(offsets=values))
    found, wanted = (run(each, spoilt, torch.float32) for each in (name, "reference"))
    check_run(found, wanted, losses=(1e-4, 1e-5), gradients=(1e-3, 1e-4))
