# SPDX-License-Identifier: Apache-2.0
"""Soft-NMS on drawn input: every implementation gives the reference's bits, and what soft-NMS never does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asl_fast import backend, soft_nms
from tests.drawing import draws
from tests.ops import checks

OTHERS = [case for case in checks.implementations("soft_nms") if case.values[0] == "cpu"]  # GPU: tests/kernels

# Coarse values, so that ties, touching, identical, empty and reversed segments are common; fine ones for the roundings.
BOUNDARY = st.one_of(st.integers(-8, 24).map(lambda x: x / 4), st.floats(-100, 100, width=32))
SCORE = st.one_of(st.sampled_from([0.0, 0.001, 0.5, 1.0, 0.25]), st.floats(0, 1, width=32), st.floats(-1, 0, width=32))


@st.composite
def candidates(draw: st.DrawFn) -> dict[str, Any]:
    count = draw(st.integers(0, 24))
    repeat = draw(st.sampled_from([1, 1, 3]))

    def column(values: st.SearchStrategy[Any], dtype: torch.dtype, *shape: int) -> Tensor:
        total = count
        for size in shape:
            total *= size
        drawn = draw(st.lists(values, min_size=total, max_size=total))
        return torch.tensor(drawn, dtype=dtype).reshape(count, *shape).repeat(repeat, *[1] * len(shape))

    return {
        "segments": column(BOUNDARY, torch.float32, 2),
        "scores": column(SCORE, torch.float32),
        "labels": column(st.integers(-1, 1), torch.int64) if draw(st.booleans()) else None,
        "video_index": column(st.integers(0, 2), torch.int64) if draw(st.booleans()) else None,
    }


OPTIONS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["gaussian", "linear", "hard"]),
        "sigma": st.sampled_from([0.5, 0.9, 1e-3, 1e3, 1e-30]),
        "iou_threshold": st.sampled_from([0.1, 0.5, 1.0, 1e-6]),
        "min_score": st.sampled_from([0.0, 0.001, 0.01, 0.5]),
        "max_segments": st.sampled_from([None, 1, 3, 200]),
        "keep_best": st.booleans(),
    }
)


@pytest.mark.parametrize("implementation", OTHERS)
@given(candidates(), OPTIONS)
@settings(deadline=None, max_examples=draws(100))
def test_every_implementation_gives_the_bits_of_the_reference(
    implementation: str, given_input: dict[str, Any], options: dict[str, Any]
) -> None:
    with backend("reference"):
        expected = soft_nms(**given_input, **options)
    with backend(implementation):
        found = soft_nms(**given_input, **options)
    for one, other in zip(found, expected, strict=True):
        assert (one is None and other is None) or (one is not None and other is not None and torch.equal(one, other))


@pytest.mark.parametrize("implementation", OTHERS)
@given(candidates(), OPTIONS, st.sampled_from([0.05, 0.5, 0.75, 1.0]))
@settings(deadline=None, max_examples=draws(50))
def test_every_implementation_votes_as_the_reference(
    implementation: str, given_input: dict[str, Any], options: dict[str, Any], threshold: float
) -> None:
    with backend("reference"):
        expected = soft_nms(**given_input, **options, voting_threshold=threshold)
    with backend(implementation):
        found = soft_nms(**given_input, **options, voting_threshold=threshold)
    assert torch.equal(found.indices, expected.indices)
    # Both sum in float64 and round once; only the order of summation differs.
    torch.testing.assert_close(found.segments, expected.segments, rtol=2e-7, atol=1e-30)


@given(candidates(), OPTIONS)
@settings(deadline=None, max_examples=draws(50))
def test_never_raises_a_score_and_keeps_the_best(given_input: dict[str, Any], options: dict[str, Any]) -> None:
    scores = given_input["scores"]
    result = soft_nms(**given_input, **options)
    assert len(result.indices.unique()) == len(result.indices)
    assert bool((result.scores <= scores[result.indices]).all())
    floor = -1.0 if options["keep_best"] else options["min_score"]
    assert bool((result.scores >= floor).all())
    videos = given_input["video_index"]
    for video in [None] if videos is None else videos.unique().tolist():
        rows = torch.arange(len(scores)) if video is None else torch.nonzero(videos == video)[:, 0]
        of_video = torch.ones_like(result.scores, dtype=torch.bool) if video is None else result.video_index == video
        own, decayed = result.indices[of_video], result.scores[of_video]
        assert options["max_segments"] is None or len(own) <= options["max_segments"]
        falls = decayed[1:] < decayed[:-1]
        assert bool((falls | ((decayed[1:] == decayed[:-1]) & (own[1:] > own[:-1]))).all())
        if len(rows) and (options["keep_best"] or float(scores[rows].max()) >= options["min_score"]):
            assert own[0] == rows[scores[rows].argmax()]
            assert decayed[0] == scores[own[0]]


@given(candidates(), OPTIONS, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=draws(50))
def test_order_of_the_input_matters_only_for_ties(
    given_input: dict[str, Any], options: dict[str, Any], random: Any
) -> None:
    count = len(given_input["scores"])
    # All scores different, so that no two candidates tie before they are decayed.
    given_input["scores"] = torch.linspace(0.9, 0.1, count)
    order = torch.tensor(random.sample(range(count), count), dtype=torch.int64)
    result = soft_nms(**given_input, **options)
    shuffled = soft_nms(**{k: v[order] if v is not None else None for k, v in given_input.items()}, **options)
    if len(result.scores.unique()) == len(result.scores) and len(result.scores) < (options["max_segments"] or 1000):
        assert torch.equal(order[shuffled.indices], result.indices)
        assert torch.equal(shuffled.scores, result.scores)


@pytest.mark.parametrize("implementation", OTHERS)
@pytest.mark.parametrize("method", ["gaussian", "linear", "hard"])
def test_crowded_input(implementation: str, method: Any) -> None:
    """Many selections per class, so that candidates are brought up to date many times."""
    random = torch.Generator().manual_seed(3)
    centre, length = 40 * torch.rand(800, generator=random), 8 * torch.rand(800, generator=random)
    given_input = {
        "segments": torch.stack((centre - length, centre + length), dim=1),
        "scores": torch.rand(800, generator=random),
        "method": method,
        "iou_threshold": 0.7,
        "min_score": 1e-4,
        "max_segments": None,
    }
    with backend("reference"):
        expected = soft_nms(**given_input)
    with backend(implementation):
        found = soft_nms(**given_input)
    assert len(expected.indices) > 50
    assert torch.equal(found.indices, expected.indices)
    assert torch.equal(found.scores, expected.scores)
