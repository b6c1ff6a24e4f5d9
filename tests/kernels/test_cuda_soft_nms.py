# SPDX-License-Identifier: Apache-2.0
"""CUDA soft-NMS gives the bits of the reference and of the C++, in any order of threads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from asl_fast.ops import _dispatch, _soft_nms_native
from tests.kernels import cuda_on_host
from tests.kernels import soft_nms_cases as cases


@pytest.fixture
def run(cuda_device: torch.device) -> Callable[..., cases.Padded]:
    return cases.runner(_dispatch.load("soft_nms", "cuda"), cuda_device)


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_equals_the_reference(case: cases.Case, run: Callable[..., cases.Padded]) -> None:
    cases.compare(case.arguments(), run)


@pytest.mark.parametrize("name", cases.GOLDEN)
def test_equals_the_reference_on_golden_input(name: str, run: Callable[..., cases.Padded]) -> None:
    for arguments in cases.golden(name):
        cases.compare(arguments, run)


@given(cases.drawn())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_the_reference_on_drawn_input(run: Callable[..., cases.Padded], arguments: cases.Arguments) -> None:
    cases.compare(arguments, run)


def test_values_that_are_not_finite(run: Callable[..., cases.Padded]) -> None:
    cases.compare_not_finite(run)


def test_other_dtypes_and_layouts(run: Callable[..., cases.Padded]) -> None:
    cases.compare_layouts(run)


@pytest.mark.parametrize("voting_threshold", [0.0, 0.6])
def test_the_same_bits_in_any_order_of_threads(run: Callable[..., cases.Padded], voting_threshold: float) -> None:
    arguments = cases.scene(300, labels=3, videos=2, voting_threshold=voting_threshold)
    library = cuda_on_host.library()
    results: list[cases.Padded] = []
    try:
        for seed in range(3):
            library.cuda_on_host_set_order(seed)
            results.append(run(arguments))
    finally:
        library.cuda_on_host_set_order(1)
    first: tuple[Tensor, ...] = results[0]
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_more_videos_than_blocks(run: Callable[..., cases.Padded], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_soft_nms_native, "MOST_BLOCKS", 3)
    cases.compare(cases.scene(300, labels=2, videos=20, max_segments=4, voting_threshold=0.4), run)
