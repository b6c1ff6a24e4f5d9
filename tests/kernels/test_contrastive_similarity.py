# SPDX-License-Identifier: Apache-2.0
"""The Triton contrastive loss equals the float64 reference, forward and backward, and stays within its buffers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("triton")

from asl_fast.kernels import contrastive_similarity, contrastive_similarity_backward

from tests.kernels import contrastive_similarity_cases as cases
from tests.kernels.contrastive_similarity_cases import Passes, compare, scene
from tests.kernels.fences import fenced


def launchers() -> Passes:
    forward = contrastive_similarity.contrastive_similarity_loss
    return Passes(forward, contrastive_similarity_backward.contrastive_similarity_loss_backward)


@pytest.fixture
def passes() -> Iterator[Passes]:
    with fenced():
        yield launchers()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_equals_the_reference(passes: Passes, dtype: torch.dtype) -> None:
    compare(passes, scene((5, 0, 8), 40, dtype))


@pytest.mark.parametrize("delta", [0.0, 0.45])
@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_ranges_and_temperatures(passes: Passes, delta: float, temperature: float) -> None:
    compare(passes, scene((6, 7), 5, seed=1)._replace(temperature=temperature, delta=delta))


def test_float64_stays(passes: Passes) -> None:
    given = scene((5, 6), 7, torch.float64)
    compare(passes, given._replace(segments=given.segments.double()))


@pytest.mark.parametrize("count", [0, 1])
def test_few_instances(passes: Passes, count: int) -> None:
    compare(passes, scene((0, count), 20, seed=4))


def test_masked_frames_may_hold_anything(passes: Passes) -> None:
    cases.check_masked_frames_may_hold_anything(passes)


def test_vectors_of_length_zero(passes: Passes) -> None:
    cases.check_vectors_of_length_zero(passes)


def test_gradients_that_are_not_needed(passes: Passes) -> None:
    cases.check_gradients_that_are_not_needed(passes)


def test_buffers_grow_linearly_with_the_instances() -> None:
    sizes = []
    for count in (2, 4, 8):
        with fenced() as buffers:
            cases.run(launchers(), count)
        sizes.append(sum(buffer.numel() for buffer in buffers))
    assert sizes[2] - sizes[1] <= 2.2 * (sizes[1] - sizes[0])
