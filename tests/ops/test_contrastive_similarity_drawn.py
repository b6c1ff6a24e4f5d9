# SPDX-License-Identifier: Apache-2.0
"""The contrastive loss on drawn operands: every quick implementation against the formula in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast import backend
from asl_fast.ops.contrastive_similarity import add_contrastive_similarity_loss
from asl_fast.ops.ragged import RaggedTargets
from asl_fast.reference import contrastive_similarity as reference
from tests.drawing import draws
from tests.ops import checks

QUICK = [
    each for each in checks.implementations("contrastive_similarity_loss") if each.values[0] in ("reference", "cpu")
]
CLASSES, WEIGHT = 3, 0.5

# On quarters of a step, with centres on eighths, which frame is nearest is decided alike in every precision.
quarters = st.integers(-12, 80).map(lambda quarter: quarter / 4)
spans = st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 64.0, 4096.0])
instances = st.lists(st.tuples(quarters, spans, st.integers(0, CLASSES - 1)), max_size=5)
videos = st.lists(st.tuples(st.integers(0, 17), instances), min_size=1, max_size=3)
eighths = st.lists(st.integers(-10, 10).map(lambda eighth: eighth / 8), min_size=3 * CLASSES, max_size=3 * CLASSES)
widths = st.lists(st.sampled_from([0.25, 1.0, 30.0]), min_size=3 * CLASSES, max_size=3 * CLASSES)
PADDING = torch.tensor([[0.0, 5.0], [math.nan, 3.0], [1.0, math.inf]], dtype=torch.float64)


def call(name: str, dtype: torch.dtype, given_: reference.Operands) -> tuple[Tensor, list[Tensor]]:
    """Return total + loss and their gradients of features, mu, sigma and base, computed in ``dtype``."""
    leaves = [x.detach().to(dtype).requires_grad_() for x in (given_.features, given_.mu, given_.sigma, given_.base)]
    targets = RaggedTargets(given_.segments.to(dtype), given_.labels, given_.video_offsets)
    with backend(name):
        total, loss = add_contrastive_similarity_loss(
            leaves[3], given_.weight, leaves[0], given_.mask, targets, leaves[1], leaves[2],
            delta=given_.delta, temperature=given_.temperature,
        )  # fmt: skip
        return (total + loss).detach(), list(torch.autograd.grad(total + loss, leaves))


def formula(given_: reference.Operands) -> tuple[Tensor, list[Tensor]]:
    """Return the same by automatic differentiation of the formula, in float64 and without padding."""
    given_ = given_.without_padding()
    leaves = [x.detach().double().requires_grad_() for x in (given_.features, given_.mu, given_.sigma, given_.base)]
    loss = reference.plain_loss(given_._replace(features=leaves[0], mu=leaves[1], sigma=leaves[2]))
    value = leaves[3] + given_.weight * loss + loss
    return value.detach(), list(torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True))


@st.composite
def operands(draw: st.DrawFn) -> reference.Operands:
    """Operands in float64: videos of 0 to 17 frames, with rows of padding behind the last instance or without."""
    drawn = draw(videos)
    rows = [row for _, listed in drawn for row in listed]
    counts = torch.tensor([0, *(len(listed) for _, listed in drawn)])
    segments = torch.tensor([[start, start + span] for start, span, _ in rows], dtype=torch.float64).reshape(-1, 2)
    labels = torch.tensor([label for *_, label in rows], dtype=torch.int64)
    if draw(st.booleans()):
        segments = torch.cat([segments, PADDING])
        labels = torch.cat([labels, torch.tensor([1, -7, 99])])
    frames = torch.tensor([count for count, _ in drawn])
    length = int(frames.max()) + draw(st.integers(0, 2))
    mask = torch.arange(length) < frames[:, None]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1 << 30)))
    features = torch.randn(len(drawn), length, draw(st.integers(2, 6)), generator=generator, dtype=torch.float64)
    return reference.Operands(
        # What lies under the mask is no number.
        features=features.masked_fill(~mask[..., None], math.nan),
        mask=mask,
        segments=segments,
        labels=labels,
        video_offsets=counts.cumsum(0),
        mu=torch.tensor(draw(eighths), dtype=torch.float64).reshape(CLASSES, 3),
        sigma=torch.tensor(draw(widths), dtype=torch.float64).reshape(CLASSES, 3),
        base=torch.tensor(1.5, dtype=torch.float64),
        delta=draw(st.sampled_from([0.0, 0.25, 0.5, 8.0])),
        temperature=draw(st.sampled_from([0.07, 1.0, 50.0])),
        weight=WEIGHT,
        keep_similarities=draw(st.booleans()),
    )


@pytest.mark.parametrize("name", QUICK)
@given(given_=operands(), power=st.sampled_from([-90, 0, 90]))
@settings(max_examples=draws(60), deadline=None)
def test_equals_the_formula_in_float64(name: str, given_: reference.Operands, power: int) -> None:
    """At lengths of vectors from 1e-27 to 1e27, which the directions do not depend on."""
    given_ = given_._replace(features=given_.features * 2.0**power)
    value, grads = call(name, torch.float64, given_)
    wanted, wanted_grads = formula(given_)
    torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12)
    # The gradient of a direction: parts of the size of one over the length cancel.
    sizes = (2.0**-power, 1.0, 1.0, 1.0)
    for found, expected, size in zip(grads, wanted_grads, sizes, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-8 * size)


@pytest.mark.parametrize("name", QUICK)
@given(given_=operands())
@settings(max_examples=draws(60), deadline=None)
def test_float32_equals_the_formula_in_float64(name: str, given_: reference.Operands) -> None:
    given_ = given_._replace(features=given_.features.float().double(), sigma=given_.sigma.float().double())
    value, grads = call(name, torch.float32, given_)
    wanted, wanted_grads = formula(given_)
    # Exponents reach 1 / 0.07: an error of 1e-7 in a cosine grows fifteenfold.
    torch.testing.assert_close(value.double(), wanted, rtol=1e-4, atol=1e-5)
    # What cancels in the gradient of sigma was multiplied by z^2 / sigma, up to 7^2 / 0.25 here, and by 1 / 0.07.
    for found, expected, rounding in zip(grads, wanted_grads, (1e-4, 1e-4, 4e-4, 1e-4), strict=True):
        size = float(expected.abs().max()) if expected.numel() else 0.0
        torch.testing.assert_close(found.double(), expected, rtol=2e-3, atol=2e-4 * size + rounding)
        assert not found.numel() or bool(found.isfinite().all())


@pytest.mark.parametrize("name", QUICK)
@given(given_=operands(), odd=st.sampled_from([math.nan, math.inf, -math.inf]), place=st.integers(0, 1 << 30))
@settings(max_examples=draws(60), deadline=None)
def test_what_is_no_number_follows_the_formula(name: str, given_: reference.Operands, odd: float, place: int) -> None:
    """A frame that an instance looks at and that is NaN or infinite makes the loss NaN, and no frame makes it wrong."""
    seen = given_.mask.nonzero()
    if not len(seen):
        return
    video, frame = seen[place % len(seen)].tolist()
    features = given_.features.clone()
    features[video, frame, 0] = odd
    value, _ = call(name, torch.float64, given_._replace(features=features))
    wanted, _ = formula(given_._replace(features=features))
    torch.testing.assert_close(value, wanted, rtol=1e-10, atol=1e-12, equal_nan=True)
