# SPDX-License-Identifier: Apache-2.0
"""The Triton contrastive loss equals the float64 reference, forward and backward, and stays within its buffers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

pytest.importorskip("triton")

from asl_fast.kernels import contrastive_similarity, contrastive_similarity_backward

from tests.kernels import contrastive_similarity_cases as cases
from tests.kernels.contrastive_similarity_cases import Passes, SharedTests, compare, scene
from tests.kernels.fences import fenced


def launchers() -> Passes:
    forward = contrastive_similarity.contrastive_similarity_loss
    return Passes(forward, contrastive_similarity_backward.contrastive_similarity_loss_backward)


@pytest.fixture
def passes() -> Iterator[Passes]:
    with fenced():
        yield launchers()


class TestAsEveryKernel(SharedTests):
    pass


def test_float64_stays(passes: Passes) -> None:
    given = scene((5, 6), 7, torch.float64)
    compare(passes, given._replace(segments=given.segments.double()))


def test_buffers_grow_linearly_with_the_instances() -> None:
    cases.check_buffers_grow_linearly(launchers(), fenced)
